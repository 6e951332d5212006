// Package logtest has the tests that every [hub.Log] passes: the contract that the
// comments of the interface state, rule by rule.
package logtest

import (
	"context"
	"testing"
	"time"

	"example.com/tidings/hub"
)

// A Kit is how the tests get a log.
type Kit struct {
	// Open returns a new, empty log that retains all that is appended, and for
	// which a key's window is longer than a test lasts. The tests close it.
	Open func(t *testing.T) hub.Log

	// OpenSmall returns a new, empty log that retains about maxBytes, and nothing
	// that is older than maxAge; 0 stands for no bound. If OpenSmall is nil, the
	// tests of retention are skipped.
	OpenSmall func(t *testing.T, maxBytes int64, maxAge time.Duration) hub.Log

	// Reopen opens a log again that Open has returned, and that is closed. It is
	// nil for logs that do not outlast their closing.
	Reopen func(t *testing.T) hub.Log
}

// patience is how long a test waits for what must come. It only catches a hang.
const patience = 20 * time.Second

// A logCase is a rule of [hub.Log], and what checks it.
type logCase struct {
	name string
	rule string
	run  func(t *testing.T, l hub.Log)
}

// Run runs all tests, each with a log of its own.
func Run(t *testing.T, kit Kit) {
	for _, group := range [][]logCase{appendCases, readCases, lookupCases, newestCases, tailCases, closeCases} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				t.Log("the rule: " + c.rule)
				c.run(t, closed(t, kit.Open(t)))
			})
		}
	}
	t.Run("Small", func(t *testing.T) {
		if kit.OpenSmall == nil {
			t.Skip("the log has no retention to test")
		}
		for _, c := range smallCases {
			t.Run(c.name, func(t *testing.T) {
				t.Log("the rule: " + c.rule)
				c.run(t, closed(t, kit.OpenSmall(t, c.maxBytes, c.maxAge)))
			})
		}
	})
	t.Run("Reopen", func(t *testing.T) {
		if kit.Reopen == nil {
			t.Skip("the log does not outlast its closing")
		}
		reopen(t, kit)
	})
}

// closed has the log closed at the test's end.
func closed(t *testing.T, l hub.Log) hub.Log {
	t.Helper()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return l
}

// within returns the test's context with an end that only a hang reaches.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// add appends messages, which must be stored anew, and returns their records
// without the time.
func add(t *testing.T, l hub.Log, messages ...hub.Message) []hub.Record {
	t.Helper()
	var records []hub.Record
	for i, a := range l.Append(within(t), messages) {
		if a.Err != nil || a.Repeat {
			t.Fatalf("Append of message %d, %+v: %+v", i, messages[i], a)
		}
		m := messages[i]
		records = append(records, hub.Record{Seq: a.Seq, Topic: m.Topic, Type: m.Type, Data: m.Data})
	}
	return records
}

// addTopics appends a message to each of the topics.
func addTopics(t *testing.T, l hub.Log, topics ...string) []hub.Record {
	t.Helper()
	var messages []hub.Message
	for _, topic := range topics {
		messages = append(messages, hub.Message{Topic: topic, Data: "of " + topic})
	}
	return add(t, l, messages...)
}

// filters parses filters.
func filters(t *testing.T, patterns ...string) []hub.Filter {
	t.Helper()
	fs, err := hub.ParseFilters(patterns...)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// state returns the log's state.
func state(t *testing.T, l hub.Log) hub.State {
	t.Helper()
	st, err := l.State(within(t))
	if err != nil {
		t.Fatalf("State: %v", err)
	}
	return st
}

// everything reads what the filters match up to the end, some at a time, and
// checks each batch.
func everything(t *testing.T, l hub.Log, after uint64, patterns ...string) []hub.Record {
	t.Helper()
	q := hub.Query{Filters: filters(t, patterns...), After: after, UpTo: state(t, l).Last, MaxRecords: 100, MaxBytes: 1 << 20}
	var records []hub.Record
	for q.After < q.UpTo {
		b := readBatch(t, l, q)
		if b.Lost != 0 {
			t.Fatalf("Read(%+v) says that records up to %d are lost", q, b.Lost)
		}
		records = append(records, b.Records...)
		q.After = b.Through
	}
	return records
}

// readBatch reads, and checks what holds for every batch.
func readBatch(t *testing.T, l hub.Log, q hub.Query) hub.Batch {
	t.Helper()
	b, err := l.Read(within(t), q)
	switch {
	case err != nil:
		t.Fatalf("Read(%+v): %v", q, err)
	case b.Through <= q.After || b.Through > q.UpTo:
		t.Fatalf("Read(%+v) reaches through %d", q, b.Through)
	case b.Lost != 0 && (b.Lost <= q.After || b.Lost > b.Through):
		t.Fatalf("Read(%+v) says %d is lost, and reaches through %d", q, b.Lost, b.Through)
	case b.Lost == 0 && b.Expired:
		t.Fatalf("Read(%+v) says that nothing has expired", q)
	case len(b.Records) > q.MaxRecords:
		t.Fatalf("Read(%+v) returns %d records", q, len(b.Records))
	}
	at := max(q.After, b.Lost)
	for _, r := range b.Records {
		if r.Seq <= at || r.Seq > b.Through {
			t.Fatalf("Read(%+v) returns record %d after %d, through %d", q, r.Seq, at, b.Through)
		}
		at = r.Seq
	}
	return b
}

// same compares records with those wanted, without the time, which must be set
// and be UTC.
func same(t *testing.T, what string, got, want []hub.Record) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("%s: %d records, want %d; the first that is missing is %+v", what, len(got), len(want), short(want[i]))
		case i >= len(want):
			t.Fatalf("%s: %d records, want %d; the first too many is %+v", what, len(got), len(want), short(got[i]))
		}
		g := got[i]
		if g.Time.IsZero() || g.Time.Location() != time.UTC {
			t.Fatalf("%s: record %d has the time %v", what, g.Seq, g.Time)
		}
		g.Time = want[i].Time
		if g != want[i] {
			t.Fatalf("%s: the record at %d is\n\t%+v, want\n\t%+v", what, i, short(g), short(want[i]))
		}
	}
}

func short(r hub.Record) hub.Record {
	if len(r.Data) > 100 {
		r.Data = r.Data[:100] + "…"
	}
	return r
}
