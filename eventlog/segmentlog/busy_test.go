package segmentlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// While many publish, read, look up and remove, and retention removes the oldest, no reader
// is told of a loss, none gets a record that was removed before it asked, and nothing races.
func TestBusy(t *testing.T) {
	opts := Options{Sync: 10 * time.Millisecond, MaxBytes: 1 << 20, segmentBytes: 64 << 10, Logger: quiet()}
	l := opened(t, opts)
	publishMany(t, l, 60_000, 1) // soon the first bucket is full, and the store is written
	n := 12_000
	if *soak > 0 {
		n = 200_000
	}
	var published atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var publishers, others sync.WaitGroup
	for who := range 4 {
		publishers.Go(func() {
			for published.Load() < int64(n) {
				batch := make([]eventlog.Message, 1+rand.IntN(100))
				for i := range batch {
					batch[i] = eventlog.Message{Topic: fmt.Sprintf("t.%d.%d", who, rand.IntN(50)), Data: "data"}
					if rand.IntN(8) == 0 {
						batch[i].Key = fmt.Sprint(rand.IntN(1000))
					}
				}
				for _, a := range l.Append(ctx, batch) {
					if a.Err != nil {
						t.Errorf("Append: %v", a.Err)
						return
					}
				}
				published.Add(int64(len(batch)))
			}
		})
	}
	// gone has what was removed before a reader asks.
	var gone sync.Map
	others.Go(func() {
		for ctx.Err() == nil {
			st, _ := l.State(ctx)
			if st.Last == 0 {
				continue
			}
			// Also neighbours, which a reader meets half erased.
			from := st.First + rand.Uint64N(st.Last-st.First+1)
			seqs := []uint64{from, from + 1, from + 2, from + 10}
			if _, err := l.Remove(ctx, seqs); err != nil && ctx.Err() == nil {
				t.Errorf("Remove: %v", err)
			}
			st, _ = l.State(t.Context())
			for _, seq := range seqs {
				if seq <= st.Last {
					gone.Store(seq, true)
				}
			}
		}
	})
	for _, pattern := range []string{"**", "t.1.*", "t.2.7", "t.*.3 t.0.1"} {
		others.Go(func() {
			filters := topics.MustFilters(strings.Fields(pattern)...)
			after := uint64(0)
			for ctx.Err() == nil {
				st, _ := l.State(ctx)
				if rand.IntN(20) == 0 {
					after = st.First - 1
				}
				next, asked := after+1, []uint64{}
				for seq := next; seq < next+50; seq++ {
					if _, ok := gone.Load(seq); ok {
						asked = append(asked, seq)
					}
				}
				b, err := l.Read(ctx, eventlog.Query{Filters: filters, After: after, UpTo: st.Last, MaxRecords: 200, MaxBytes: 1 << 20})
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("Read: %v", err)
					}
					return
				}
				if b.Reason == sse.GapLost {
					t.Errorf("a reader of %s is told that %d to %d are lost", pattern, after+1, b.Hole)
					return
				}
				at := max(after, b.Hole)
				for _, r := range b.Records {
					if slices.Contains(asked, r.Seq) || pattern == "**" && r.Seq != at+1 {
						t.Errorf("a reader of %s gets %d after %d; removed before it asked were %v", pattern, r.Seq, at, asked)
						return
					}
					at = r.Seq
				}
				after = b.Through
			}
		})
	}
	for range 2 {
		others.Go(func() {
			st, _ := l.State(ctx)
			after := st.Last
			for records, err := range l.Tail(ctx, st.Generation, after) {
				if err != nil {
					t.Errorf("Tail: %v", err)
				}
				for _, r := range records {
					if r.Seq <= after {
						t.Errorf("Tail yields %d after %d", r.Seq, after)
					}
					after = r.Seq
				}
			}
		})
	}
	ask := func(name string, f func(st eventlog.State) error) {
		others.Go(func() {
			for ctx.Err() == nil {
				st, _ := l.State(ctx)
				if err := f(st); err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	ask("Topics and Count", func(st eventlog.State) error {
		_, err := l.Topics(ctx, filterOf("t.*.1"), "", 20)
		_, _, err2 := l.Count(ctx, topics.MustFilters("t.1.*"), rand.Uint64N(st.Last+1))
		return errors.Join(err, err2)
	})
	ask("Newest, Back and At", func(st eventlog.State) error {
		_, _, err := l.Newest(ctx, topics.MustFilters("t.*.1", "t.3.3"), 0, st.Last, 20)
		_, err2 := l.Back(ctx, topics.MustFilters("t.0.*"), 20, st.Last)
		_, err3 := l.At(ctx, time.Now().Add(-time.Duration(rand.IntN(1000))*time.Millisecond))
		return errors.Join(err, err2, err3)
	})
	publishers.Wait()
	cancel()
	others.Wait()
	if t.Failed() {
		return
	}
	l.indexed(t)
	modelOf(t, l).agrees(t, l, "afterwards", rand.New(rand.NewPCG(1, 1)))
	closeLog(t, l)
	l = opened(t, Options{Dir: l.opts.Dir, MaxBytes: opts.MaxBytes, Logger: quiet()})
	l.indexed(t)
	modelOf(t, l).agrees(t, l, "after a restart", rand.New(rand.NewPCG(1, 1)))
	closeLog(t, l)
}
