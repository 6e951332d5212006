package hub_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// A subscriber that falls out of the window reads from the log, and misses
// nothing.
func TestLagReplays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{Window: 4})
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		publish(t, h, "a:live")
		s.want(t, "a:live")
		all := numbered("a", "", 1000)
		publish(t, h, all...)
		publish(t, h, numbered("b", "", 10)...)
		s.want(t, all...)
		publish(t, h, "a:live again")
		s.want(t, "a:live again")
	})
}

// With LagSkip it goes to the head instead, and is told exactly how many of its
// messages it missed.
func TestLagSkips(t *testing.T) {
	for _, filters := range [][]string{{"a"}, {"a", "*"}, {"**"}} {
		t.Run(strings.Join(filters, " "), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHub(t, nil, &hub.Options{Window: 4})
				s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters(filters...), Lag: hub.LagSkip})
				publish(t, h, "a:live")
				s.want(t, "a:live")
				for i := range 100 {
					publish(t, h, fmt.Sprintf("a:%d", i), fmt.Sprintf("b.b:%d", i))
				}
				synctest.Wait()
				missed := 100
				if filters[0] == "**" {
					missed = 200
				}
				s.want(t, fmt.Sprintf("gap lag %d", missed))
				publish(t, h, "a:live again")
				s.want(t, "a:live again")
				// And once more.
				publish(t, h, numbered("a", "", 7)...)
				synctest.Wait()
				s.want(t, "gap lag 7")
			})
		})
	}
}

// What it was asked for from the past is not lag: with LagSkip, too, it comes
// whole.
func TestLagSkipReplaysFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{Window: 4})
		all := numbered("a", "", 1000)
		publish(t, h, all...)
		synctest.Wait()
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), Lag: hub.LagSkip, From: hub.FromStart()})
		s.want(t, all...)
	})
}

// Nothing of what was skipped was the subscriber's: then there is no gap.
func TestLagWithoutLossIsNoGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{Window: 4})
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), Lag: hub.LagSkip})
		publish(t, h, "a:1")
		s.want(t, "a:1") // it stalls here
		publish(t, h, numbered("b", "", 100)...)
		publish(t, h, "a:2")
		synctest.Wait()
		s.want(t, "a:2")
	})
}

// A subscriber that stalls for longer than retention gets one gap, with the
// exact number, and then the rest.
func TestLagBeyondRetention(t *testing.T) {
	for _, filter := range []string{"a", "a.*", "**"} {
		t.Run(filter, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				const each = 1 << 10
				h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: 100 * each}), &hub.Options{Window: 4})
				s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters(filter, "a")})
				publish(t, h, "a:live")
				s.want(t, "a:live")
				pad := strings.Repeat(".", each-entrySize)
				var mine []string
				for i := range 500 {
					for _, topic := range []string{"a", "b.c", "a.b"} {
						m := fmt.Sprintf("%s:%03d%s", topic, i, pad)
						publish(t, h, m)
						if f, _ := topics.ParseFilter(filter); topic == "a" || f.Match(topic) {
							mine = append(mine, m)
						}
					}
					synctest.Wait() // retention is too short for a hub that lags, too
				}
				_, err, _ := s.next()
				var missed int
				if n, _ := fmt.Sscanf(text(hub.Event{}, err), "gap lag %d", &missed); n != 1 || missed == 0 {
					t.Fatalf("first comes %v", err)
				}
				if retained := len(mine) - missed; retained < 25 || retained > 110 {
					t.Errorf("%d of its messages are said to be retained", retained)
				}
				s.want(t, mine[missed:]...)
				publish(t, h, "a:live again")
				s.want(t, "a:live again")
			})
		})
	}
}

// entrySize is what a message with a short topic takes in memory besides its data.
const entrySize = 192 + 4

// Wherever a subscriber began: what it is overtaken by later, it is told of.
func TestLagBeyondRetentionFromAPlaceInThePast(t *testing.T) {
	for name, from := range map[string]hub.From{
		"now": {}, "start": hub.FromStart(), "count": hub.FromCount(100), "time": hub.FromTime(time.Unix(0, 0)), "last": hub.FromLast(),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour}), &hub.Options{Window: 4})
				s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: from})
				publish(t, h, "a:live")
				s.want(t, "a:live")
				publish(t, h, numbered("a", "", 100)...)
				synctest.Wait()
				time.Sleep(2 * time.Hour)
				publish(t, h, numbered("a", "new", 10)...)
				synctest.Wait()
				s.want(t, "gap lag 100")
				s.want(t, numbered("a", "new", 10)...)
			})
		})
	}
}

// The number that was missed is right also when retention goes on while it is found
// out, and after a gap of which it was not known; or it is not given.
func TestMissedIsNeverAGuess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &meddledLog{Log: eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour})}
		h := newHub(t, log, &hub.Options{Window: 4})
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		publish(t, h, "a:live")
		s.want(t, "a:live")
		publish(t, h, numbered("a", "old", 100)...)
		time.Sleep(40 * time.Minute)
		publish(t, h, numbered("a", "mid", 50)...)
		time.Sleep(30 * time.Minute)
		publish(t, h, numbered("a", "new", 10)...)
		synctest.Wait()
		// While it counts, "mid" expires; the batch in hand has it.
		log.beforeCount = func() error { time.Sleep(35 * time.Minute); return nil }
		ev, err, _ := s.next()
		if got := text(ev, err); got != "gap lag 100" && got != "gap expired 0" && got != "gap lag 0" {
			t.Fatalf("first comes %s", got)
		}
		s.want(t, numbered("a", "mid", 50)...)
		s.want(t, numbered("a", "new", 10)...)

		// A gap of unknown size, and then one whose size is known.
		publish(t, h, numbered("a", "x", 100)...)
		synctest.Wait()
		time.Sleep(2 * time.Hour)
		publish(t, h, "a:y")
		synctest.Wait()
		log.beforeCount = func() error { return errors.New("not now") }
		s.want(t, "gap lag 0", "a:y")
		log.beforeCount = nil
		publish(t, h, "a:live again")
		s.want(t, "a:live again")
		publish(t, h, numbered("a", "z", 7)...)
		synctest.Wait()
		time.Sleep(2 * time.Hour)
		publish(t, h, numbered("a", "end", 4)...)
		synctest.Wait()
		s.want(t, "gap lag 7", "a:end0")
	})
}

// A meddledLog has something happen before it counts.
type meddledLog struct {
	eventlog.Log
	beforeCount func() error
}

func (l *meddledLog) Count(ctx context.Context, filters []topics.Filter, after uint64) (n, through uint64, err error) {
	if l.beforeCount != nil {
		if err := l.beforeCount(); err != nil {
			return 0, 0, err
		}
	}
	return l.Log.Count(ctx, filters, after)
}

// What expired concerned others alone: then there is no gap.
func TestExpiryOfWhatOthersGetIsNoGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: 20_000}), &hub.Options{Window: 4})
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		publish(t, h, "a:1")
		s.want(t, "a:1")
		for _, m := range append(numbered("b", "", 1000), "a:2", "b:1", "b:2", "b:3", "b:4", "b:5") {
			publish(t, h, m)
			synctest.Wait() // retention is too short for a hub that lags, too
		}
		s.want(t, "a:2")
	})
}

// Who comes back after retention has passed is told so, without a number.
func TestExpiredID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour}), &hub.Options{Window: 4})
		old := publish(t, h, "a:1", "a:2", "b:3", "b:4", "b:5", "b:6", "b:7")
		time.Sleep(30 * time.Minute)
		publish(t, h, "a:8", "b:9", "b:10", "b:11", "b:12")
		time.Sleep(40 * time.Minute)
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: old[0]})
		s.want(t, "gap expired 0", "a:8")
		subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: old[6]}).want(t, "a:8")
		// From the oldest is just that.
		subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()}).want(t, "a:8")
		subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromCount(9)}).want(t, "a:8")
	})
}

// What retention has removed no stream hands on, from memory neither.
func TestWhatHasExpiredIsNotInTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour}), nil)
		old := publish(t, h, "a:1", "a:2")
		stalled := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()})
		stalled.want(t, "a:1", "a:2")
		publish(t, h, "a:3", "a:4", "a:5")
		time.Sleep(time.Hour + 2*time.Second)
		publish(t, h, "a:6")
		synctest.Wait()
		if n := h.InWindow(); n != 1 {
			t.Errorf("%d messages are in the window, want 1", n)
		}
		subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: old[0]}).want(t, "gap expired 0", "a:6")
		stalled.want(t, "gap lag 3", "a:6")
		// All of it.
		time.Sleep(time.Hour + 2*time.Second)
		synctest.Wait()
		if n := h.InWindow(); n != 0 {
			t.Errorf("%d messages are in the window, want none", n)
		}
		publish(t, h, "a:7")
		stalled.want(t, "a:7")
	})
}

// Whatever a subscriber's pace, the window's size and the retention: what it gets
// and what it is told to have missed, in order, is what was published.
func TestWhatIsHandedOnAndWhatIsMissedAddUp(t *testing.T) {
	for seed := range uint64(40) {
		bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: 5_000 + r.IntN(50_000)}), &hub.Options{Window: 1 + r.IntN(50)})
			lag := hub.Lag(r.IntN(2))
			filters := [][]string{{"a"}, {"*"}, {"a", "b"}, {"**"}}[r.IntN(4)]
			s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters(filters...), Lag: lag})
			first := filters[0]
			if strings.Contains(first, "*") {
				first = "a"
			}
			publish(t, h, first+":begin")
			s.want(t, first+":begin")
			var owed []string
			for range 60 {
				if r.IntN(2) == 0 {
					for range r.IntN(200) {
						m := fmt.Sprintf("%s:%d", []string{"a", "b", "c"}[r.IntN(3)], r.Int())
						publish(t, h, m)
						synctest.Wait() // retention is too short for a hub that lags, too
						topic, _, _ := strings.Cut(m, ":")
						for _, pattern := range filters {
							if f, _ := topics.ParseFilter(pattern); f.Match(topic) {
								owed = append(owed, m)
								break
							}
						}
					}
				}
				for n := r.IntN(100); n > 0 && len(owed) > 0; n-- {
					ev, err, _ := s.next()
					var missed int
					if k, _ := fmt.Sscanf(text(ev, err), "gap lag %d", &missed); k == 1 && missed > 0 && missed <= len(owed) {
						owed = owed[missed:]
						continue
					}
					if got := text(ev, err); got != owed[0] {
						t.Fatalf("seed %d: got %q, want %q", seed, got, owed[0])
					}
					owed = owed[1:]
				}
			}
		})
	}
}

// A subscriber that stalls holds no window of its own: memory does not grow with
// what passes meanwhile.
func TestStalledSubscribersHoldLittle(t *testing.T) {
	const windowBytes, message, stalled = 1 << 20, 32 << 10, 20
	h := newHub(t, eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: windowBytes}), &hub.Options{WindowBytes: windowBytes})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	data := strings.Repeat("x", message)
	begin := heap()
	for range stalled {
		reached := make(chan struct{})
		events, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("a")})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range events {
				close(reached)
				<-ctx.Done()
				return
			}
		}()
		// Each stalls with another window before it.
		for range 40 {
			if _, err := h.Publish(ctx, hub.Message{Topic: "a", Data: strings.Clone(data)}); err != nil {
				t.Fatal(err)
			}
		}
		<-reached
	}
	// The window, the log, what their arrays still refer to, batches that were read from
	// the log just now, what waits for the shard, and two messages for each subscriber; a
	// window for each would be twenty more.
	if grown, most := heap()-begin, 8*windowBytes+stalled*2*message; grown > most {
		t.Errorf("memory has grown by %d bytes, want at most %d", grown, most)
	}
	runtime.KeepAlive(h)
}
