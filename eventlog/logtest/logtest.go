// Package logtest tests that an [eventlog.Log] keeps its contract: each case checks one rule
// of the interface's comments.
package logtest

import (
	"context"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// A Kit opens the logs that the tests use. The tests close them.
type Kit struct {
	// Open returns a new, empty log. The log retains everything, and the window of its
	// keys is longer than a test lasts.
	Open func(t *testing.T) eventlog.Log

	// OpenSmall returns a new, empty log that retains about maxBytes, and no message that
	// is older than maxAge. 0 stands for no bound. If OpenSmall is nil, the tests of
	// retention are skipped.
	OpenSmall func(t *testing.T, maxBytes int64, maxAge time.Duration) eventlog.Log

	// Reopen opens the log again that Open has returned last, and that is closed. It is
	// nil for logs that keep nothing beyond Close.
	Reopen func(t *testing.T) eventlog.Log

	// OpenClock returns a new, empty log that reads the machine's clocks by a function: the
	// wall clock, and how much time has really passed. It retains no message that is older
	// than maxAge. If OpenClock is nil, the tests of the clock are skipped: the time of the
	// log is that of others, such as a server.
	OpenClock func(t *testing.T, clock func() (wall time.Time, elapsed time.Duration), maxAge, dedupWindow time.Duration) eventlog.Log
}

// patience bounds the wait for a result that must come. It only catches a hang.
const patience = 20 * time.Second

// A logCase is a rule of [eventlog.Log], and its check.
type logCase struct {
	name string
	rule string
	run  func(t *testing.T, l eventlog.Log)
}

// Run runs all tests, each with a log of its own.
func Run(t *testing.T, kit Kit) {
	for _, group := range [][]logCase{appendCases, readCases, lookupCases, newestCases, removeCases, tailCases, closeCases} {
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
	t.Run("Clock", func(t *testing.T) {
		if kit.OpenClock == nil {
			t.Skip("the log's time is that of others")
		}
		for _, c := range clockCases {
			t.Run(c.name, func(t *testing.T) {
				t.Log("the rule: " + c.rule)
				m := &machine{off: c.off}
				c.run(t, closed(t, kit.OpenClock(t, m.clock, clockAge, clockWindow)), m)
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

// closed closes the log at the end of the test. It returns the log without its marks, which are
// checked.
func closed(t *testing.T, l eventlog.Log) eventlog.Log {
	t.Helper()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return checkMarks(t, l)
}

// within returns the test's context with a deadline that only a hang reaches.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// add appends messages, which the log must store anew, and returns their records without
// the time. The id of each must be named by the log's epochs.
func add(t *testing.T, l eventlog.Log, messages ...eventlog.Message) []eventlog.Record {
	t.Helper()
	var records []eventlog.Record
	results := l.Append(within(t), messages)
	epochs := state(t, l).Epochs
	for i, a := range results {
		m := messages[i]
		if a != (eventlog.Appended{ID: epochs.Position(a.ID.Seq)}) {
			t.Fatalf("Append of message %d, %+v: %+v; the epochs are %+v", i, m, a, epochs)
		}
		records = append(records, eventlog.Record{Seq: a.ID.Seq, Topic: m.Topic, Type: m.Type, Data: m.Data})
	}
	return records
}

// addTopics appends a message to each of the topics.
func addTopics(t *testing.T, l eventlog.Log, topics ...string) []eventlog.Record {
	t.Helper()
	var messages []eventlog.Message
	for _, topic := range topics {
		messages = append(messages, eventlog.Message{Topic: topic, Data: "of " + topic})
	}
	return add(t, l, messages...)
}

// filters parses filters.
func filters(t *testing.T, patterns ...string) []topics.Filter {
	t.Helper()
	fs, err := topics.ParseFilters(patterns...)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

// state returns the log's state, and checks the rules that hold for every state.
func state(t *testing.T, l eventlog.Log) eventlog.State {
	t.Helper()
	st, err := l.State(within(t))
	switch {
	case err != nil:
		t.Fatalf("State: %v", err)
	case st.First < 1 || st.First > st.Last+1:
		t.Fatalf("the first record is %d, the last %d", st.First, st.Last)
	case len(st.Epochs) == 0 || st.Epochs[0].First != 1 || st.Epochs[0].ID == "":
		t.Fatalf("the epochs are %+v", st.Epochs)
	case st.Generation == 0:
		t.Fatal("the generation is 0")
	}
	return st
}

// retains checks which records the log retains.
func retains(t *testing.T, l eventlog.Log, first, last uint64) {
	t.Helper()
	if st := state(t, l); st.First != first || st.Last != last {
		t.Fatalf("the log retains %d to %d, want %d to %d", st.First, st.Last, first, last)
	}
}

// everything reads, batch by batch, all records after a number that the filters match, and
// checks each batch.
func everything(t *testing.T, l eventlog.Log, after uint64, patterns ...string) []eventlog.Record {
	t.Helper()
	q := eventlog.Query{Filters: filters(t, patterns...), After: after, UpTo: state(t, l).Last, MaxRecords: 100, MaxBytes: 1 << 20}
	var records []eventlog.Record
	for q.After < q.UpTo {
		b := readBatch(t, l, q)
		if b.Hole != 0 {
			t.Fatalf("Read(%+v) says that records up to %d are lost", q, b.Hole)
		}
		records = append(records, b.Records...)
		q.After = b.Through
	}
	return records
}

// readBatch reads a batch, and checks the rules that hold for every batch.
func readBatch(t *testing.T, l eventlog.Log, q eventlog.Query) eventlog.Batch {
	t.Helper()
	b, err := l.Read(within(t), q)
	switch {
	case err != nil:
		t.Fatalf("Read(%+v): %v", q, err)
	case b.Through <= q.After || b.Through > q.UpTo:
		t.Fatalf("Read(%+v) reaches through %d", q, b.Through)
	case b.Hole != 0 && (b.Hole <= q.After || b.Hole > b.Through):
		t.Fatalf("Read(%+v) says %d is lost, and reaches through %d", q, b.Hole, b.Through)
	case (b.Hole == 0) != (b.Reason == ""):
		t.Fatalf("Read(%+v) gives the reason %q, and the hole ends at %d", q, b.Reason, b.Hole)
	case len(b.Records) > q.MaxRecords:
		t.Fatalf("Read(%+v) returns %d records", q, len(b.Records))
	}
	at := max(q.After, b.Hole)
	for _, r := range b.Records {
		if r.Seq <= at || r.Seq > b.Through {
			t.Fatalf("Read(%+v) returns record %d after %d, through %d", q, r.Seq, at, b.Through)
		}
		at = r.Seq
	}
	return b
}

// readOne reads exactly one record, which must be there.
func readOne(t *testing.T, l eventlog.Log, seq uint64) eventlog.Record {
	t.Helper()
	q := eventlog.Query{Filters: filters(t, "**"), After: seq - 1, UpTo: seq, MaxRecords: 1, MaxBytes: 1}
	b := readBatch(t, l, q)
	if b.Hole != 0 || len(b.Records) != 1 {
		t.Fatalf("Read(%+v) = %+v", q, b)
	}
	return b.Records[0]
}

// same compares records with the wanted ones. Of the time it only checks that it is set,
// and in UTC.
func same(t *testing.T, what string, got, want []eventlog.Record) {
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

func short(r eventlog.Record) eventlog.Record {
	if len(r.Data) > 100 {
		r.Data = r.Data[:100] + "…"
	}
	return r
}
