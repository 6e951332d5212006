package logtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"example.com/tidings/hub"
)

// A tailing is a Tail in a goroutine of its own.
type tailing struct {
	batches chan []hub.Record
	done    chan error // the error that it ended with, once
	stop    context.CancelFunc
}

func tail(t *testing.T, l hub.Log, after uint64) *tailing {
	ctx, cancel := context.WithCancel(t.Context())
	w := &tailing{make(chan []hub.Record), make(chan error, 1), cancel}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var last error
		for records, err := range l.Tail(ctx, after) {
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
func (w *tailing) take(t *testing.T, n int) []hub.Record {
	t.Helper()
	var records []hub.Record
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

// end waits for the end, and returns its error.
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
	{"Tail/waits", "all records after a number, and waits for more", func(t *testing.T, l hub.Log) {
		w := tail(t, l, 0)
		want := addTopics(t, l, "a", "b")
		same(t, "the first", w.take(t, 2), want)
		for i := range 20 {
			want := addTopics(t, l, fmt.Sprintf("t.%d", i))
			same(t, "another", w.take(t, 1), want)
		}
	}},
	{"Tail/middle", "from any place: what is stored there, then what comes", func(t *testing.T, l hub.Log) {
		want := addTopics(t, l, "a", "b", "c", "d")
		two, end := tail(t, l, 2), tail(t, l, 4)
		same(t, "after 2", two.take(t, 2), want[2:])
		more := addTopics(t, l, "e")
		same(t, "what comes", two.take(t, 1), more)
		same(t, "at the end", end.take(t, 1), more)
	}},
	{"Tail/future", "from a place that is not reached yet", func(t *testing.T, l hub.Log) {
		w := tail(t, l, 3)
		want := addTopics(t, l, "a", "b", "c", "d")
		same(t, "after 3", w.take(t, 1), want[3:])
	}},
	{"Tail/many", "appenders and tails at once: all see the same order, which is the log's", func(t *testing.T, l hub.Log) {
		const appenders, each, tails = 4, 500, 3
		var watching []*tailing
		for i := range tails {
			watching = append(watching, tail(t, l, uint64(i)))
		}
		var wg sync.WaitGroup
		for i := range appenders {
			wg.Go(func() {
				for n := range each {
					a := l.Append(within(t), []hub.Message{{Topic: fmt.Sprintf("by.%d", i), Data: fmt.Sprint(n)}})
					if a[0].Err != nil {
						t.Errorf("Append: %v", a[0].Err)
						return
					}
				}
			})
		}
		seen := make([][]hub.Record, tails)
		for i, w := range watching {
			seen[i] = w.take(t, appenders*each-i)
		}
		wg.Wait()
		all := everything(t, l, 0, "**")
		for i := range seen {
			same(t, fmt.Sprintf("tail %d", i), seen[i], clearTimes(all[i:], seen[i]))
		}
	}},
	{"Tail/done", "it ends without an error when ctx is done", func(t *testing.T, l hub.Log) {
		w := tail(t, l, 0)
		addTopics(t, l, "a")
		w.take(t, 1)
		w.stop()
		if err := w.end(t); err != nil {
			t.Errorf("Tail ends with %v", err)
		}
	}},
	{"Tail/closed", "and when the log is closed", func(t *testing.T, l hub.Log) {
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
	{"Tail/break", "the loop may be left", func(t *testing.T, l hub.Log) {
		addTopics(t, l, "a", "b")
		for records, err := range l.Tail(within(t), 0) {
			if err != nil || len(records) == 0 {
				t.Errorf("Tail yields %v, %v", records, err)
			}
			break
		}
	}},
}

// clearTimes checks that records were yielded with the times that they are read
// with, and returns them as same wants them.
func clearTimes(read, yielded []hub.Record) []hub.Record {
	out := append([]hub.Record(nil), read...)
	for i := range out {
		if i < len(yielded) && !yielded[i].Time.Equal(out[i].Time) {
			out[i].Data = fmt.Sprintf("yielded with the time %v, read with %v", yielded[i].Time, out[i].Time)
		}
	}
	return out
}

var closeCases = []logCase{
	{"Close", "after it methods return ErrClosed; closing again does nothing", func(t *testing.T, l hub.Log) {
		addTopics(t, l, "a")
		for range 2 {
			if err := l.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
		}
		ctx, all := within(t), filters(t, "**")
		errs := map[string]error{"Append": l.Append(ctx, []hub.Message{{Topic: "a"}})[0].Err}
		_, errs["State"] = l.State(ctx)
		_, errs["Read"] = l.Read(ctx, hub.Query{Filters: all, UpTo: 1, MaxRecords: 1, MaxBytes: 1})
		_, errs["Get"] = l.Get(ctx, 1)
		_, _, errs["Newest"] = l.Newest(ctx, all, 0, 1, 1)
		_, errs["Back"] = l.Back(ctx, all, 1, 1)
		_, errs["At"] = l.At(ctx, time.Now())
		_, _, errs["Count"] = l.Count(ctx, all, 0)
		_, errs["Topics"] = l.Topics(ctx, all[0], "", 1)
		for method, err := range errs {
			if !errors.Is(err, hub.ErrClosed) {
				t.Errorf("%s returns %v", method, err)
			}
		}
		for _, err := range l.Tail(ctx, 0) {
			if err != nil {
				t.Errorf("Tail yields %v", err)
			}
		}
		if len(l.Epochs()) == 0 {
			t.Error("there is no epoch")
		}
	}},
	{"Close/appenders", "what Append has acknowledged when the log is closed under it is ErrClosed or stored, and it returns", func(t *testing.T, l hub.Log) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					a := l.Append(within(t), []hub.Message{{Topic: "a"}, {Topic: "b"}})
					for _, a := range a {
						if a.Err != nil && !errors.Is(a.Err, hub.ErrClosed) {
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
