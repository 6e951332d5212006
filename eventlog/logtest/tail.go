package logtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// A tailing is a Tail in a goroutine of its own.
type tailing struct {
	batches chan []eventlog.Record
	done    chan error // the error that it ended with, once
	stop    context.CancelFunc
}

// tail begins a Tail of the current generation. It ends with the test.
func tail(t *testing.T, l eventlog.Log, after uint64) *tailing {
	t.Helper()
	generation := state(t, l).Generation
	ctx, cancel := context.WithCancel(t.Context())
	w := &tailing{make(chan []eventlog.Record), make(chan error, 1), cancel}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var last error
		for records, err := range l.Tail(ctx, generation, after) {
			if err != nil {
				last = err
				continue
			}
			select {
			case w.batches <- records:
			case <-ctx.Done():
			}
		}
		w.done <- last
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

// take takes n records, and checks that they are in order.
func (w *tailing) take(t *testing.T, n int) []eventlog.Record {
	t.Helper()
	var records []eventlog.Record
	deadline := time.After(patience)
	for len(records) < n {
		select {
		case batch := <-w.batches:
			if len(batch) == 0 {
				t.Fatal("Tail yields nothing")
			}
			records = append(records, batch...)
		case err := <-w.done:
			t.Fatalf("Tail ends after %d records of %d: %v", len(records), n, err)
		case <-deadline:
			t.Fatalf("Tail yields %d records of %d", len(records), n)
		}
	}
	if len(records) > n {
		t.Fatalf("Tail yields %d records, want %d", len(records), n)
	}
	return records
}

// end waits until the Tail ends, and returns its error.
func (w *tailing) end(t *testing.T) error {
	t.Helper()
	select {
	case batch := <-w.batches:
		t.Fatalf("Tail yields %+v, and should end", batch)
	case err := <-w.done:
		return err
	case <-time.After(patience):
		t.Fatal("Tail does not end")
	}
	return nil
}

var tailCases = []logCase{
	{"Tail/waits", "Tail yields all records after a number, and waits for more", func(t *testing.T, l eventlog.Log) {
		w := tail(t, l, 0)
		want := addTopics(t, l, "a", "b")
		same(t, "the first", w.take(t, 2), want)
		for i := range 20 {
			want := addTopics(t, l, fmt.Sprintf("t.%d", i))
			same(t, "another", w.take(t, 1), want)
		}
	}},
	{"Tail/middle", "Tail begins at any place: it yields the stored records from there on, and then the new ones", func(t *testing.T, l eventlog.Log) {
		want := addTopics(t, l, "a", "b", "c", "d")
		two, end := tail(t, l, 2), tail(t, l, 4)
		same(t, "after 2", two.take(t, 2), want[2:])
		more := addTopics(t, l, "e")
		same(t, "what comes", two.take(t, 1), more)
		same(t, "at the end", end.take(t, 1), more)
	}},
	{"Tail/future", "Tail may begin at a number that the log has not reached", func(t *testing.T, l eventlog.Log) {
		w := tail(t, l, 3)
		want := addTopics(t, l, "a", "b", "c", "d")
		same(t, "after 3", w.take(t, 1), want[3:])
	}},
	{"Tail/many", "while many append, all tails yield the same order, which is that of the log", func(t *testing.T, l eventlog.Log) {
		const appenders, each, tails = 4, 500, 3
		var watching []*tailing
		for i := range tails {
			watching = append(watching, tail(t, l, uint64(i)))
		}
		var wg sync.WaitGroup
		for i := range appenders {
			wg.Go(func() {
				for n := range each {
					a := l.Append(within(t), []eventlog.Message{{Topic: fmt.Sprintf("by.%d", i), Data: fmt.Sprint(n)}})
					if a[0].Err != nil {
						t.Errorf("Append: %v", a[0].Err)
						return
					}
				}
			})
		}
		seen := make([][]eventlog.Record, tails)
		for i, w := range watching {
			seen[i] = w.take(t, appenders*each-i)
		}
		wg.Wait()
		all := everything(t, l, 0, "**")
		for i := range seen {
			same(t, fmt.Sprintf("tail %d", i), seen[i], clearTimes(all[i:], seen[i]))
		}
	}},
	{"Tail/done", "Tail ends without an error when ctx is done", func(t *testing.T, l eventlog.Log) {
		w := tail(t, l, 0)
		addTopics(t, l, "a")
		w.take(t, 1)
		w.stop()
		if err := w.end(t); err != nil {
			t.Errorf("Tail ends with %v", err)
		}
	}},
	{"Tail/closed", "Tail ends without an error when the log is closed", func(t *testing.T, l eventlog.Log) {
		w := tail(t, l, 0)
		addTopics(t, l, "a")
		w.take(t, 1)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := w.end(t); err != nil {
			t.Errorf("Tail ends with %v", err)
		}
	}},
	{"Tail/generation", "with another generation than the current one Tail yields ErrReopened, and no record", func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a", "b")
		current := state(t, l).Generation
		for _, generation := range []uint64{0, current + 1, math.MaxUint64} {
			for _, after := range []uint64{0, 2} {
				var ends []error
				for records, err := range l.Tail(within(t), generation, after) {
					if len(records) != 0 {
						t.Errorf("Tail of generation %d yields %+v", generation, records)
					}
					ends = append(ends, err)
				}
				if len(ends) != 1 || !errors.Is(ends[0], eventlog.ErrReopened) {
					t.Errorf("Tail of generation %d yields the errors %v", generation, ends)
				}
			}
		}
	}},
	{"Tail/break", "a caller may leave the loop over Tail; ranged again, Tail goes on after what it has yielded", func(t *testing.T, l eventlog.Log) {
		want := addTopics(t, l, "a", "b")
		sequence := l.Tail(within(t), state(t, l).Generation, 0)
		var got []eventlog.Record
		for len(got) < 3 {
			if len(got) == len(want) {
				want = append(want, addTopics(t, l, "c")...)
			}
			for records, err := range sequence {
				if err != nil || len(records) == 0 {
					t.Fatalf("Tail yields %v, %v", records, err)
				}
				got = append(got, records...)
				break
			}
		}
		same(t, "the parts", got, want)
	}},
}

// clearTimes returns the read records for a comparison by same, which ignores times. It
// changes the data of a record that Tail has yielded with another time.
func clearTimes(read, yielded []eventlog.Record) []eventlog.Record {
	out := append([]eventlog.Record(nil), read...)
	for i := range out {
		if i < len(yielded) && !yielded[i].Time.Equal(out[i].Time) {
			out[i].Data = fmt.Sprintf("yielded with the time %v, read with %v", yielded[i].Time, out[i].Time)
		}
	}
	return out
}

var closeCases = []logCase{
	{"Close", "after Close, methods return ErrClosed; closing again does nothing; a state from before stays valid", func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a")
		before := state(t, l)
		id := before.Epochs.Position(1)
		for range 2 {
			if err := l.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
		}
		ctx, all := within(t), filters(t, "**")
		errs := map[string]error{"Append": l.Append(ctx, []eventlog.Message{{Topic: "a"}})[0].Err}
		_, errs["State"] = l.State(ctx)
		_, errs["Read"] = l.Read(ctx, eventlog.Query{Filters: all, UpTo: 1, MaxRecords: 1, MaxBytes: 1})
		_, errs["Read of a generation"] = l.Read(ctx, eventlog.Query{Filters: all, UpTo: 1, Generation: before.Generation, MaxRecords: 1, MaxBytes: 1})
		_, _, errs["Newest"] = l.Newest(ctx, all, 0, 1, 1)
		_, errs["Back"] = l.Back(ctx, all, 1, 1)
		_, errs["At"] = l.At(ctx, time.Now())
		_, _, errs["Count"] = l.Count(ctx, all, 0)
		_, errs["Topics"] = l.Topics(ctx, all[0], "", 1)
		_, errs["Remove"] = l.Remove(ctx, []uint64{1})
		_, errs["RemoveTopic"] = l.RemoveTopic(ctx, "a", 1)
		for method, err := range errs {
			if !errors.Is(err, eventlog.ErrClosed) {
				t.Errorf("%s returns %v", method, err)
			}
		}
		for _, err := range l.Tail(ctx, before.Generation, 0) {
			if err != nil {
				t.Errorf("Tail yields %v", err)
			}
		}
		if now := before.Epochs.Position(1); now != id {
			t.Errorf("the id of record 1 was %v and is %v", id, now)
		}
	}},
	{"Close/appenders", "if the log is closed during an Append, each message is stored or gets ErrClosed, and Append returns", func(t *testing.T, l eventlog.Log) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					a := l.Append(within(t), []eventlog.Message{{Topic: "a"}, {Topic: "b"}})
					for _, a := range a {
						if a.Err != nil && !errors.Is(a.Err, eventlog.ErrClosed) {
							t.Errorf("Append: %v", a.Err)
						}
					}
					if a[1].Err != nil {
						return
					}
				}
			})
		}
		for state(t, l).Last < 100 {
			time.Sleep(time.Millisecond)
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wg.Wait()
	}},
}
