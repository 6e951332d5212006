package hub_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// A fragileLog can fail, and be replaced by what survived of it.
type fragileLog struct {
	mu sync.Mutex
	eventlog.Log
	failed     chan struct{} // closed when it fails
	epochs     eventlog.Timeline
	generation uint64
	stateFails int // how often State still fails
}

func newFragileLog() *fragileLog {
	return &fragileLog{
		Log: eventlog.NewMemory(nil), failed: make(chan struct{}), generation: 1,
		epochs: eventlog.Timeline{{ID: eventlog.NewEpochID(time.Now()), First: 1}},
	}
}

func (l *fragileLog) inner() (eventlog.Log, chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Log, l.failed
}

// failState has State fail so many times.
func (l *fragileLog) failState(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stateFails = n
}

// names returns how the log names positions.
func (l *fragileLog) names() (eventlog.Timeline, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochs, l.generation
}

func (l *fragileLog) Append(ctx context.Context, messages []hub.Message) []eventlog.Appended {
	log, _ := l.inner()
	results := log.Append(ctx, messages)
	epochs, _ := l.names()
	for i := range results {
		results[i].ID = epochs.Position(results[i].ID.Seq)
	}
	return results
}

func (l *fragileLog) State(ctx context.Context) (eventlog.State, error) {
	l.mu.Lock()
	fails := l.stateFails > 0
	if fails {
		l.stateFails--
	}
	l.mu.Unlock()
	if fails {
		return eventlog.State{}, errors.New("not now")
	}
	log, _ := l.inner()
	state, err := log.State(ctx)
	state.Epochs, state.Generation = l.names()
	return state, err
}

func (l *fragileLog) Read(ctx context.Context, q eventlog.Query) (eventlog.Batch, error) {
	log, _ := l.inner()
	if _, generation := l.names(); q.Generation != 0 && q.Generation != generation {
		return eventlog.Batch{}, eventlog.ErrReopened
	}
	q.Generation = 0
	return log.Read(ctx, q)
}

func (l *fragileLog) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	log, failed := l.inner()
	_, current := l.names()
	ctx, cancel := context.WithCancel(ctx)
	return func(yield func([]eventlog.Record, error) bool) {
		defer cancel()
		if generation != current {
			yield(nil, eventlog.ErrReopened)
			return
		}
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-failed:
				cancel()
			case <-stop:
			}
		}()
		for records, err := range log.Tail(ctx, 1, after) {
			if _, current := l.names(); generation != current {
				yield(nil, eventlog.ErrReopened)
				return
			}
			if !yield(records, err) {
				return
			}
		}
		select {
		case <-failed:
			yield(nil, errors.New("the log has failed"))
		default:
		}
	}
}

// fail ends the tails. Callers hold mu.
func (l *fragileLog) fail() {
	close(l.failed)
	l.failed = make(chan struct{})
}

// How a log is opened anew.
type reopening int

const (
	newEpoch  reopening = iota
	sameEpoch           // as a server elsewhere does that has lost its end
	wiped               // it is another log altogether
	cut                 // with a new epoch, and the numbers of what was lost are used again
)

// reopen has the log fail, and be opened anew with its first n records.
func (l *fragileLog) reopen(t *testing.T, n int, how reopening) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := eventlog.NewMemory(nil)
	b, err := l.Log.Read(t.Context(), eventlog.Query{
		Filters: topics.MustFilters("**"), UpTo: uint64(n), MaxRecords: max(1, n), MaxBytes: 1 << 30,
	})
	if err != nil || len(b.Records) != n {
		t.Fatalf("%d records of %d: %v", len(b.Records), n, err)
	}
	for _, rec := range b.Records {
		next.Append(t.Context(), []hub.Message{{Topic: rec.Topic, Data: rec.Data}})
	}
	epoch := eventlog.Epoch{ID: eventlog.NewEpochID(time.Now().Add(time.Second)), First: uint64(n) + 1}
	switch how {
	case sameEpoch:
		if state, err := l.Log.State(t.Context()); err != nil || state.Last != uint64(n) {
			l.generation++
		}
	case wiped:
		l.epochs = eventlog.Timeline{epoch}
		l.generation++
	case newEpoch, cut:
		epoch.Cut = how == cut
		l.epochs = append(l.epochs[:len(l.epochs):len(l.epochs)], epoch)
		l.generation++
	}
	l.fail()
	l.Log.Close()
	l.Log = next
}

// How a log of ten messages is opened anew, and what those who are connected are told.
var openedAnew = []struct {
	name     string
	survives int
	how      reopening
	want     []string // after which comes what is published next
}{
	{"nothing is lost", 10, newEpoch, nil},
	{"nothing is lost, elsewhere", 10, sameEpoch, nil},
	{"the end is lost", 7, newEpoch, []string{"gap lost 0"}},
	{"the end is lost, elsewhere", 7, sameEpoch, []string{"gap lost 0"}},
	{"the last one is lost", 9, newEpoch, []string{"gap lost 0"}},
	{"the last one is lost, elsewhere", 9, sameEpoch, []string{"gap lost 0"}},
	{"the end is lost and used again", 7, cut, []string{"gap lost 0"}},
	{"an end that nobody here has seen is lost and used again", 10, cut, []string{"gap lost 0"}},
	{"everything is lost and used again", 0, cut, []string{"gap lost 0"}},
	{"everything is lost", 0, newEpoch, []string{"gap lost 0"}},
	{"it is another log", 0, wiped, []string{"gap unknown 0"}},
}

// When the log fails and is opened anew, with less than it had, the subscribers
// that are connected are told that messages were lost, and go on.
func TestLogThatIsOpenedAnew(t *testing.T) {
	for _, tt := range openedAnew {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				log := newFragileLog()
				h := newHub(t, log, nil)
				live := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
				behind := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
				ids := publish(t, h, numbered("a", "", 10)...)
				live.want(t, numbered("a", "", 10)...)
				behind.want(t, "a:0", "a:1")
				synctest.Wait()
				log.reopen(t, tt.survives, tt.how)
				time.Sleep(time.Minute)
				synctest.Wait()
				if head := h.Head(); head != uint64(tt.survives) {
					t.Fatalf("the hub's head is %d, want %d", head, tt.survives)
				}
				after := publish(t, h, "a:new", "a:newer")
				live.want(t, append(tt.want, "a:new", "a:newer")...)
				// Who was behind a little still gets what was in memory.
				behind.want(t, numbered("a", "", 10)[2:]...)
				behind.want(t, append(tt.want, "a:new", "a:newer")...)
				if tt.how == sameEpoch {
					return // ids of what was lost cannot be told from new ones
				}
				// New ids are told from those of the first use of their numbers.
				for _, id := range after {
					for _, old := range ids {
						if id == old {
							t.Errorf("the id %s was given twice", id)
						}
					}
				}
				again := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: ids[9]})
				again.want(t, append(tt.want, "a:new", "a:newer")...)
			})
		})
	}
}

// While what is left of the log cannot be found out, the hub follows nothing.
func TestLogThatIsOpenedAnewWithDifficulty(t *testing.T) {
	for name, how := range map[string]reopening{"new epoch": newEpoch, "same epoch": sameEpoch, "wiped": wiped} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				log := newFragileLog()
				h := newHub(t, log, nil)
				live := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
				publish(t, h, numbered("a", "", 10)...)
				live.want(t, numbered("a", "", 10)...)
				log.failState(3)
				log.reopen(t, 0, how)
				time.Sleep(time.Minute)
				// Once more, with what was stored since.
				publish(t, h, "a:once")
				reason := map[reopening]string{newEpoch: "lost", sameEpoch: "lost", wiped: "unknown"}[how]
				live.want(t, "gap "+reason+" 0", "a:once")
				log.failState(1)
				log.reopen(t, 1, newEpoch)
				time.Sleep(time.Minute)
				publish(t, h, "a:twice")
				live.want(t, "a:twice")
			})
		})
	}
}

// A log elsewhere that has lost its end, and goes further again before anyone has
// looked: who is connected is told, though nobody knows how much it was.
func TestLostEndThatIsOvertaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFragileLog()
		h := newHub(t, log, nil)
		live := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		publish(t, h, numbered("a", "", 10)...)
		live.want(t, numbered("a", "", 10)...)
		log.reopen(t, 5, sameEpoch)
		publish(t, h, numbered("a", "new", 8)...) // 6 to 13
		time.Sleep(time.Minute)
		live.want(t, "gap lost 0", "a:new5", "a:new6", "a:new7")
	})
}

// What is published right after the log was opened anew has one id, in the answer
// and in the stream.
func TestIDsAfterTheLogWasOpenedAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFragileLog()
		h := newHub(t, log, nil)
		live := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		publish(t, h, numbered("a", "", 10)...)
		live.want(t, numbered("a", "", 10)...)
		log.mu.Lock()
		log.epochs = append(log.epochs[:1:1], eventlog.Epoch{ID: eventlog.NewEpochID(time.Now().Add(time.Second)), First: 11})
		log.generation++
		log.fail()
		log.mu.Unlock()
		ids := publish(t, h, "a:new", "a:newer")
		for i, want := range []string{"a:new", "a:newer"} {
			if ev, err, _ := live.next(); text(ev, err) != want || ev.ID.String() != ids[i] {
				t.Errorf("%s comes as %s, and was published as %s", text(ev, err), ev.ID, ids[i])
			}
		}
		subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: ids[0]}).want(t, "a:newer")
	})
}

// A log that is opened anew while a stream still looks for the newest message of each topic:
// the search goes on in what the log has now.
func TestLogThatIsOpenedAnewDuringTheSearchForTheNewest(t *testing.T) {
	for name, tt := range map[string]struct {
		survives int
		want     []string
	}{
		"nothing is lost": {10, []string{"t.0:0", "t.1:1", "t.2:2", "t.3:3", "t.4:4", "t.5:5", "t.6:6", "t.7:7", "t.8:8", "t.9:9"}},
		"the end is lost": {7, []string{"gap lost 0", "t.0:0", "t.1:1", "t.2:2", "t.3:3", "t.4:4", "t.5:5", "t.6:6"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				log := newFragileLog()
				h := newHub(t, log, &hub.Options{Window: 2})
				for i := range 10 {
					publish(t, h, fmt.Sprintf("t.%d:%d", i, i))
				}
				synctest.Wait()
				s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("t.*"), From: hub.FromLast()})
				log.reopen(t, tt.survives, newEpoch)
				time.Sleep(time.Minute)
				publish(t, h, "t.x:live")
				s.want(t, append(tt.want, "t.x:live")...)
			})
		})
	}
}

// While the log was opened anew and cannot be read, streams that need it wait, and no other
// stream waits with them. When the hub drains, they end.
func TestStreamsThatWaitForTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newFragileLog()
		h := newHub(t, log, &hub.Options{Window: 2})
		publish(t, h, numbered("a", "", 10)...)
		synctest.Wait()
		var behind []*subscriber
		for range 40 { // more than the pool runs at a time
			behind = append(behind, subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart()}))
		}
		malformed := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: "?"})
		log.reopen(t, 10, newEpoch)
		log.failState(1 << 30)
		ended := make(chan int, len(behind))
		for _, s := range behind[:39] {
			go func() {
				n := 0
				for _, err, ok := s.next(); ok && !stopping(err); _, err, ok = s.next() {
					n++
				}
				ended <- n
			}()
		}
		time.Sleep(time.Second)
		malformed.want(t, "gap malformed 0")
		log.failState(0)
		time.Sleep(time.Minute)
		behind[39].want(t, numbered("a", "", 10)...)
		log.reopen(t, 10, newEpoch)
		log.failState(1 << 30)
		late := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		h.Drain()
		for range 39 {
			if n := <-ended; n != 10 {
				t.Errorf("a stream that waited ends after %d messages", n)
			}
		}
		if ev, err, _ := late.next(); !stopping(err) {
			t.Errorf("then comes %v, %v", ev, err)
		}
		log.failState(0)
	})
}

// A log that fails for a while, and is then as it was, is nobody's concern.
func TestTailThatFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &stutteringLog{Log: eventlog.NewMemory(nil)}
		h := newHub(t, log, nil)
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		for i := range 20 {
			m := fmt.Sprintf("a:%d", i)
			publish(t, h, m)
			s.want(t, m)
		}
		if log.tails < 10 {
			t.Errorf("the tail was asked for %d times: the test is blind", log.tails)
		}
	})
}

// A stutteringLog's tail fails after each step.
type stutteringLog struct {
	eventlog.Log
	tails int
}

func (l *stutteringLog) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	l.tails++
	return func(yield func([]eventlog.Record, error) bool) {
		for records, err := range l.Log.Tail(ctx, generation, after) {
			if yield(records, err) {
				yield(nil, errors.New("a moment"))
			}
			return
		}
	}
}

// A log from which something is missing that this node has not seen: who was
// waiting reads of it in the log.
func TestTailThatJumps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &heldLog{Log: eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour})}
		h := newHub(t, log, nil)
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		publish(t, h, "a:0")
		s.want(t, "a:0")
		log.hold()
		publish(t, h, "b:0") // is held by the tail, that is: the hub sees nothing any more
		synctest.Wait()
		publish(t, h, "a:1", "a:2")
		time.Sleep(2 * time.Hour)
		publish(t, h, "a:3")
		log.release()
		s.want(t, "gap expired 0", "a:3")
	})
}

// A hub that stands on a log with messages begins with the newest of them in
// memory, and goes on where the log ends.
func TestHubOnALogWithMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := eventlog.NewMemory(nil)
		for i := range 100 {
			log.Append(t.Context(), []hub.Message{{Topic: "a", Data: fmt.Sprint(i)}})
		}
		h := newHub(t, log, &hub.Options{Window: 10})
		if h.Head() != 100 || h.InWindow() != 10 {
			t.Fatalf("head %d, %d in the window", h.Head(), h.InWindow())
		}
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		publish(t, h, "a:new")
		s.want(t, "a:new")
	})
}

func TestHubOnALogThatFails(t *testing.T) {
	log := eventlog.NewMemory(nil)
	log.Close()
	if h, err := hub.New(t.Context(), log, nil); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("New: %v, %v", h, err)
	}
}
