package hub_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// A countingLog counts what is read from it.
type countingLog struct {
	eventlog.Log
	reads atomic.Int64
}

func (l *countingLog) Read(ctx context.Context, q eventlog.Query) (eventlog.Batch, error) {
	l.reads.Add(1)
	return l.Log.Read(ctx, q)
}

// large returns n messages "topic:prefix0", "topic:prefix1", …, which together are more
// than the sockets hold.
func large(topic, prefix string, n int) []string {
	all := numbered(topic, prefix, n)
	pad := strings.Repeat(".", 2<<10)
	for i := range all {
		all[i] += pad
	}
	return all
}

// A client that stops reading, falls out of the window and then reads on misses
// nothing.
func TestPathLagReplays(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		log := &countingLog{Log: eventlog.NewMemory(nil)}
		s := p.station(t, log, &hub.Options{Window: 4}, nil)
		c := s.stream(t, query("a")).opened(t)
		readOn := s.stall(t, c, "a")
		all := large("a", "", 1000)
		s.publishSeen(t, all...)
		s.publishSeen(t, numbered("b", "", 10)...)
		before := log.reads.Load()
		readOn()
		c.expect(t, data(all)...)
		if log.reads.Load() == before {
			t.Error("nothing was read from the log: the test is blind")
		}
		publish(t, s.Hub, "a:live again")
		c.expect(t, "live again")
	})
}

// With lag=skip it goes to the head instead, and is told exactly how many of its
// messages it missed.
func TestPathLagSkips(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		for _, filters := range []string{"a", "a *", "**"} {
			t.Run(filters, func(t *testing.T) {
				s := p.station(t, nil, &hub.Options{Window: 4}, nil)
				c := s.stream(t, query(filters, "lag", "skip")).opened(t)
				for range 2 {
					readOn := s.stall(t, c, "a")
					// Until the shard takes the stream for stalled, its set keeps frames for
					// it, some more than the window has.
					eventually(t, "the stream is stalled", func() bool {
						n := 0
						for _, shard := range s.Stats().Shards {
							n += shard.Stalled
						}
						return n == 1
					})
					missed := 100
					if filters == "**" {
						missed = 150
					}
					s.publishSeen(t, numbered("a", "", 100)...)
					s.publishSeen(t, numbered("b.b", "", 50)...)
					readOn()
					c.expect(t, fmt.Sprintf("gap lag %d", missed))
					publish(t, s.Hub, "a:live again")
					c.expect(t, "live again")
				}
			})
		}
	})
}

// What it was asked for from the past is not lag: with lag=skip, too, it comes whole,
// at whatever pace it is read.
func TestPathLagSkipReplaysFirst(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, nil, &hub.Options{Window: 4}, nil)
		all := large("a", "", 1000)
		s.publishSeen(t, all...)
		c := s.stream(t, query("a", "lag", "skip", "from", "start"))
		c.opened(t).expect(t, data(all)...)
	})
}

// Nothing of what was passed over was the client's: then there is no gap.
func TestPathLagWithoutLossIsNoGap(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		for _, lag := range []string{"skip", "replay"} {
			s := p.station(t, nil, &hub.Options{Window: 2}, nil)
			c := s.stream(t, query("a", "lag", lag)).opened(t)
			readOn := s.stall(t, c, "a")
			s.publishSeen(t, numbered("b", "", 100)...)
			publish(t, s.Hub, "a:2")
			readOn()
			c.expect(t, "2")
		}
	})
}

// A client that stalls for longer than retention gets one gap, with the exact number,
// and then the rest.
func TestPathLagBeyondRetention(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		const retained = 3 << 19
		for _, filters := range []string{"a", "a a.*", "**"} {
			t.Run(filters, func(t *testing.T) {
				s := p.station(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: retained}), &hub.Options{Window: 4}, nil)
				c := s.stream(t, query(filters)).opened(t)
				publish(t, s.Hub, "a:live")
				c.expect(t, "live")
				readOn := s.stall(t, c, "a")
				var owed []string
				for i, m := range large("a", "", 1500) {
					topic := []string{"a", "a.b", "b.c"}[i%3]
					m = strings.Replace(m, "a:", topic+":", 1)
					s.publishSeen(t, m)
					if topic == "a" || filters == "**" || filters == "a a.*" && topic == "a.b" {
						owed = append(owed, m)
					}
				}
				readOn()
				ev := c.event(t)
				gap, ok := ev.gap()
				left := len(owed) - int(gap.Missed)
				if most := retained / (2 << 10) * len(owed) / 1500; !ok || gap.Reason != sse.GapLag || left < most*8/10 || left > most {
					t.Fatalf("of %d messages it is owed, of which some %d are retained, comes first %+v", len(owed), most, ev)
				}
				c.expect(t, data(owed)[gap.Missed:]...)
				publish(t, s.Hub, "a:live again")
				c.expect(t, "live again")
			})
		}
	})
}

// A log that fails for a while, and is then as it was, is nobody's concern.
func TestPathTailThatFails(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, &brokenTailLog{Log: eventlog.NewMemory(nil)}, nil, nil)
		c := s.stream(t, query("a")).opened(t)
		for i := range 5 {
			publish(t, s.Hub, fmt.Sprintf("a:%d", i))
			c.expect(t, fmt.Sprint(i))
		}
	})
}

// A brokenTailLog's tail fails after each step.
type brokenTailLog struct{ eventlog.Log }

func (l *brokenTailLog) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	return (&stutteringLog{Log: l.Log}).Tail(ctx, generation, after)
}

// A log from which something is missing that this node has not seen: who was waiting
// reads of it in the log, and what is there comes.
func TestPathTailThatJumps(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		log := &jumpyLog{heldLog: heldLog{Log: eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: 2000})}}
		s := p.station(t, log, nil, nil)
		c := s.stream(t, query("a")).opened(t)
		s.publishSeen(t, "a:0")
		c.expect(t, "0")
		log.hold()
		publish(t, s.Hub, "b:0") // is held by the tail, that is: the hub sees nothing any more
		eventually(t, "the tail holds it", func() bool { return log.holding.Load() })
		publish(t, s.Hub, "a:1", "a:2")
		rest := "a:" + strings.Repeat("x", 1700)
		publish(t, s.Hub, rest)
		log.release()
		c.expect(t, "gap expired 0")
		c.expect(t, data([]string{rest})...)
		publish(t, s.Hub, "a:4")
		c.expect(t, "4")
	})
}

// Only what this node's tail skips is missing, and the log has it: everyone gets all.
func TestPathTailThatSkips(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, skippingLog{eventlog.NewMemory(nil)}, &hub.Options{Window: 4}, nil)
		var all []*client
		for _, topics := range []string{"a", "b", "**"} {
			all = append(all, s.stream(t, query(topics)).opened(t))
		}
		var want [3][]string
		for i := range 300 {
			topic, m := []string{"a", "b"}[i%2], fmt.Sprint(i)
			publish(t, s.Hub, topic+":"+m)
			want[i%2], want[2] = append(want[i%2], m), append(want[2], m)
		}
		for i, c := range all {
			c.expect(t, want[i][:len(want[i])-1]...)
			c.conn.Close()
		}
	})
}

// A skippingLog's tail does not yield every third record, nor any that comes with it.
type skippingLog struct{ eventlog.Log }

func (l skippingLog) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		for records, err := range l.Log.Tail(ctx, generation, after) {
			records = slices.DeleteFunc(records, func(rec eventlog.Record) bool { return rec.Seq%3 == 0 && rec.Seq < 300 })
			if !yield(records, err) {
				return
			}
		}
	}
}

// A jumpyLog tells when its tail holds something.
type jumpyLog struct {
	heldLog
	holding atomic.Bool
}

func (l *jumpyLog) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		for records, err := range l.Log.Tail(ctx, generation, after) {
			if held := l.held; held != nil {
				l.holding.Store(true)
				select {
				case <-held:
				case <-ctx.Done():
				}
			}
			if !yield(records, err) {
				return
			}
		}
	}
}
