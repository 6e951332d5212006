package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/delivery"
)

// bubble runs a test in a bubble of time, where goroutines that are left behind fail it.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// A worker is a task that notes what it is handed.
type worker struct {
	*delivery.Task
	cancel  context.CancelFunc
	stream  delivery.Stream
	aborted atomic.Bool

	mu   sync.Mutex
	got  strings.Builder
	jobs int
	done bool // its loop has ended
}

// work opens a stream on a task, whose goroutine calls each with what it is handed, if that
// is not nil.
func (r *rig) work(t *testing.T, sink delivery.Sink, set string, each func(*worker)) *worker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	w := &worker{cancel: cancel}
	w.Task = r.group.NewTask(sink, func() { w.aborted.Store(true) })
	opened := make(chan struct{})
	if !w.Shard().Do(func() {
		defer close(opened)
		slot, ok := r.shard.OpenTask(w.Task, r.set(set), 0, 7)
		if !ok {
			return
		}
		w.stream = r.shard.Name(slot)
		first := pieces("open ")
		if sink == delivery.Iterator {
			first = nil
		}
		r.shard.Send(slot, first, r.last)
	}) {
		t.Fatal("the shard is closed")
	}
	<-opened
	go func() {
		defer func() {
			w.Leave()
			w.mu.Lock()
			defer w.mu.Unlock()
			w.done = true
		}()
		defer context.AfterFunc(ctx, w.Leave)()
		for w.Next() {
			w.mu.Lock()
			w.jobs++
			w.got.Write(w.Text())
			for _, f := range w.Frames() {
				w.got.WriteString(f.(*note).text)
			}
			w.mu.Unlock()
			if each != nil {
				each(w)
			}
		}
	}()
	return w
}

func (w *worker) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got.String()
}

// parts returns how often it was handed something.
func (w *worker) parts() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.jobs
}

func (w *worker) isDone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// tasks are the sinks that are tasks.
var tasks = map[string]delivery.Sink{"writer": delivery.Writer, "iterator": delivery.Iterator}

// opening returns what a stream on a sink begins with.
func openingOf(sink delivery.Sink) string {
	if sink == delivery.Iterator {
		return ""
	}
	return "open "
}

// Tasks get the frames of their set, each once and in order, and what comes while one works
// at once.
func TestTasksGetWhatTheyAreOwed(t *testing.T) {
	for name, sink := range tasks {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newPortableRig(t, delivery.Options{})
				var all []*worker
				for range 200 {
					all = append(all, r.work(t, sink, "a", nil))
				}
				release := make(chan struct{})
				slow := r.work(t, sink, "a", func(*worker) { <-release })
				other := r.work(t, sink, "b", nil)
				synctest.Wait()
				want := openingOf(sink)
				for i := range 20 {
					text := fmt.Sprintf("%d ", i)
					want += text
					r.append("a", text)
					synctest.Wait()
				}
				for i, w := range all {
					if got := w.text(); got != want {
						t.Fatalf("task %d got %q, want %q", i, got, want)
					}
				}
				if got := other.text(); got != openingOf(sink) {
					t.Errorf("the other set's got %q", got)
				}
				close(release)
				synctest.Wait()
				if got := slow.text(); got != want || slow.parts() != 2 {
					t.Errorf("the slow one got %q in %d parts, want %q in two", got, slow.parts(), want)
				}
				if s := r.stats(); s.Open[sink] != 202 || s.Stalled != 0 || s.Detached != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// Writers that are owed the same share the bytes that they are handed.
func TestWritersShareBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		texts := make([][]byte, 3)
		for i := range texts {
			r.work(t, delivery.Writer, "a", func(w *worker) { texts[i] = w.Text() })
		}
		synctest.Wait()
		r.append("a", "1 ", "2 ", "3 ")
		synctest.Wait()
		for i, text := range texts {
			if string(text) != "1 2 3 " || &text[0] != &texts[0][0] {
				t.Errorf("writer %d has %q of its own", i, text)
			}
		}
	})
}

// A task that hangs in the middle of a burst keeps nothing of the rest: it gets that from
// the feed when it goes on.
func TestTasksThatHangKeepNothing(t *testing.T) {
	for name, sink := range tasks {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newPortableRig(t, delivery.Options{WriteTimeout: time.Hour})
				release := make(chan struct{})
				w := r.work(t, sink, "a", func(w *worker) {
					if w.parts() > 1 || sink == delivery.Iterator {
						<-release
					}
				})
				synctest.Wait()
				var texts []string
				for i := range 1000 {
					texts = append(texts, fmt.Sprintf("%d ", i))
				}
				r.append("a", texts...)
				time.Sleep(time.Second)
				r.do(t, func() {
					if r.sets["a"].Longer(0) {
						t.Error("the set still holds frames")
					}
				})
				close(release)
				synctest.Wait()
				if got, want := w.text(), openingOf(sink)+strings.Join(texts, ""); got != want {
					t.Errorf("it got %d bytes, want %d", len(got), len(want))
				}
			})
		})
	}
}

// A stream takes 48 bytes.
func TestSizeOfAStream(t *testing.T) {
	if delivery.SlotSize != 48 {
		t.Errorf("a slot has %d bytes", delivery.SlotSize)
	}
}

// Tasks that block delay nobody, however many they are.
func TestTasksThatBlockDelayNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		release := make(chan struct{})
		for range 300 {
			r.work(t, delivery.Writer, "a", func(*worker) { <-release })
		}
		var all []*worker
		for range 100 {
			all = append(all, r.work(t, delivery.Writer, "a", nil))
		}
		synctest.Wait()
		want := "open "
		for i := range 500 { // beyond what a set holds
			r.append("a", fmt.Sprintf("%d ", i))
			want += fmt.Sprintf("%d ", i)
			if i%7 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		for i, w := range all {
			if got := w.text(); got != want {
				t.Fatalf("task %d got %q", i, got)
			}
		}
		close(release)
	})
}

// A task that leaves at any time, also while it waits for the baton or has it, takes nothing
// from the others.
func TestTasksThatLeave(t *testing.T) {
	for seed := range uint64(30) {
		bubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			r := newPortableRig(t, delivery.Options{})
			stay := r.work(t, delivery.Writer, "a", nil)
			var others []*worker
			synctest.Wait()
			want := "open "
			for i := range 200 {
				switch random.IntN(4) {
				case 0:
					sink := []delivery.Sink{delivery.Writer, delivery.Iterator}[random.IntN(2)]
					pace := time.Duration(random.IntN(3)) * time.Millisecond
					others = append(others, r.work(t, sink, "a", func(*worker) { time.Sleep(pace) }))
				case 1:
					if len(others) > 0 {
						others[random.IntN(len(others))].cancel()
					}
				case 2:
					time.Sleep(time.Millisecond)
				default:
					text := fmt.Sprintf("%d ", i)
					want += text
					r.append("a", text)
				}
			}
			synctest.Wait()
			time.Sleep(time.Second)
			if got := stay.text(); got != want {
				t.Fatalf("seed %d: got %q, want %q", seed, got, want)
			}
			for _, w := range others {
				w.cancel()
			}
			synctest.Wait()
			if s := r.stats(); s.Streams() != 1 || s.Stalled != 0 || s.Detached != 0 {
				t.Errorf("seed %d: %+v", seed, s)
			}
		})
	}
}

// A writer that takes nothing for the write timeout is broken off; one that gets on is not,
// and an iterator may take its time.
func TestWriteTimeoutOfTasks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		r := newPortableRig(t, delivery.Options{WriteTimeout: timeout})
		release := make(chan struct{})
		hold := func(*worker) { <-release }
		dead := r.work(t, delivery.Writer, "a", hold)
		slow := r.work(t, delivery.Writer, "a", func(w *worker) {
			for range 10 {
				time.Sleep(timeout / 2)
				w.Progress()
			}
		})
		iterates := r.work(t, delivery.Iterator, "a", hold)
		synctest.Wait()
		r.append("a", "1 ")
		time.Sleep(timeout - time.Second)
		if dead.aborted.Load() {
			t.Error("the writer is broken off early")
		}
		time.Sleep(2 * time.Second)
		if reason, clean, _ := dead.Outcome(); !dead.aborted.Load() || reason != delivery.TimedOut || clean {
			t.Errorf("the writer that takes nothing: %v", reason)
		}
		if s := r.stats(); s.Stalled == 0 {
			t.Error("no stream is said to be stalled")
		}
		time.Sleep(20 * timeout)
		if slow.aborted.Load() || slow.text() != "open 1 " {
			t.Errorf("the slow one is broken off, or got %q", slow.text())
		}
		close(release)
		synctest.Wait()
		if got := iterates.text(); got != "1 " || iterates.isDone() {
			t.Errorf("the iterator got %q", got)
		}
	})
}

// Silent writers get their keep-alives in time, early by an eighth at most and not all at
// the same moment. Writers that are handed frames get none, and iterators never.
func TestKeepAlivesOfTasks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const (
			streams = 300
			every   = 16 * time.Second
			rounds  = 4
		)
		r := newPortableRig(t, delivery.Options{KeepAlive: every})
		beats := make([][]time.Time, streams)
		var mu sync.Mutex
		for i := range streams {
			r.work(t, delivery.Writer, "silent", func(w *worker) {
				mu.Lock()
				defer mu.Unlock()
				beats[i] = append(beats[i], time.Now()) // the opening, too
			})
		}
		busy := r.work(t, delivery.Writer, "busy", nil)
		iterates := r.work(t, delivery.Iterator, "silent", nil)
		for range rounds * 8 {
			r.append("busy", "x ")
			time.Sleep(every / 8)
		}
		time.Sleep(every / 8)
		if got := busy.text(); strings.Contains(got, "k;") || iterates.parts() > 0 {
			t.Errorf("the busy one got %q, the iterator %d parts", got, iterates.parts())
		}
		mu.Lock()
		defer mu.Unlock()
		moments := map[time.Time]int{}
		for i, times := range beats {
			if len(times) < rounds+1 {
				t.Fatalf("stream %d got %d keep-alives", i, len(times)-1)
			}
			for j := 1; j < len(times); j++ {
				if gap := times[j].Sub(times[j-1]); gap < every*7/8-200*time.Millisecond || gap > every {
					t.Errorf("stream %d: a keep-alive came after %v", i, gap)
				}
			}
			moments[times[1]]++
		}
		for at, n := range moments {
			if n > streams/5 {
				t.Errorf("%d of %d came at %v", n, streams, at)
			}
		}
	})
}

// No keep-alive is sent when they are off, nor to a writer that works, nor to one that is
// detached while it works.
func TestKeepAlivesThatAreNotDue(t *testing.T) {
	for _, every := range []time.Duration{-1, time.Second} {
		bubble(t, func(t *testing.T) {
			r := newPortableRig(t, delivery.Options{KeepAlive: every, WriteTimeout: time.Hour})
			silent := r.work(t, delivery.Writer, "b", nil)
			release := make(chan struct{})
			works := r.work(t, delivery.Writer, "a", func(*worker) { <-release })
			r.append("a", "x ")
			time.Sleep(time.Minute)
			close(release)
			synctest.Wait()
			if got := works.text(); got != "open x " {
				t.Errorf("KeepAlive %v: the one that works got %q", every, got)
			}
			if got := strings.Count(silent.text(), "k;"); (got > 0) != (every > 0) {
				t.Errorf("KeepAlive %v: the silent one got %d", every, got)
			}
		})
	}
}

// A stream whose time is up gets the last frame, nothing else, and ends as its Ending says.
func TestEndingOfTasks(t *testing.T) {
	for name, sink := range tasks {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, clean %v", name, clean), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newPortableRig(t, delivery.Options{WriteTimeout: time.Hour})
					w := r.work(t, sink, "a", nil)
					release := make(chan struct{})
					stalled := r.work(t, sink, "a", func(*worker) { <-release })
					synctest.Wait()
					r.append("a", "1 ")
					synctest.Wait()
					at := time.Now().Add(time.Minute)
					r.do(t, func() {
						for _, w := range []*worker{w, stalled} {
							r.shard.EndAt(w.stream.Slot, at, delivery.Ending{Last: piece("bye "), Clean: clean})
						}
					})
					time.Sleep(time.Minute - time.Second)
					if w.isDone() {
						t.Fatal("it has ended before its time")
					}
					time.Sleep(2 * time.Second)
					r.append("a", "2 ")
					synctest.Wait()
					want := "open 1 bye "
					if sink == delivery.Iterator {
						want = "1 "
					}
					reason, cleanly, err := w.Outcome()
					if got := w.text(); got != want || !w.isDone() || reason != delivery.Concluded || cleanly != clean || errors.Is(err, delivery.ErrConcluded) == clean {
						t.Errorf("it got %q, and has ended as %v, clean %v, %v", got, reason, cleanly, err)
					}
					if reason, cleanly, _ := stalled.Outcome(); reason != delivery.Concluded || cleanly && sink == delivery.Writer || !stalled.aborted.Load() && sink == delivery.Writer && !clean {
						t.Errorf("the stalled one has ended as %v, aborted %v", reason, stalled.aborted.Load())
					}
					close(release)
					synctest.Wait()
					if s := r.stats(); s.Streams() != 0 || s.Ends[delivery.Concluded] != 2 {
						t.Errorf("%+v", s)
					}
				})
			})
		}
	}
}

// The times of streams that have ended before do not gather.
func TestEndingsThatAreNotNeeded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		stays := r.work(t, delivery.Writer, "a", nil)
		synctest.Wait()
		at := time.Now().Add(time.Hour)
		for range 1000 {
			w := r.work(t, delivery.Writer, "a", nil)
			synctest.Wait()
			r.do(t, func() { r.shard.EndAt(w.stream.Slot, at, delivery.Ending{}) })
			w.cancel()
			synctest.Wait()
		}
		r.do(t, func() {
			if n := r.shard.Scheduled(); n > 200 {
				t.Errorf("%d are kept", n)
			}
			r.shard.EndAt(stays.stream.Slot, at, delivery.Ending{})
		})
		time.Sleep(time.Hour + time.Second)
		if !stays.isDone() {
			t.Error("the one that stays has not ended")
		}
	})
}

// Drain ends each task when it has what it is owed, Close cuts what is left, and a writer
// that is cut is broken off.
func TestDrainAndCloseOfTasks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		idle := r.work(t, delivery.Writer, "a", nil)
		release := make(chan struct{})
		stalled := r.work(t, delivery.Writer, "a", func(*worker) { <-release })
		slow := r.work(t, delivery.Iterator, "a", func(*worker) { <-release })
		synctest.Wait()
		r.append("a", "1 ")
		r.group.Drain()
		synctest.Wait()
		if reason, clean, _ := idle.Outcome(); idle.text() != "open 1 " || !idle.isDone() || reason != delivery.Ended || !clean {
			t.Errorf("the idle one has ended as %v with %q", reason, idle.text())
		}
		r.group.Drained(time.After(time.Second))
		r.group.Close()
		synctest.Wait()
		if reason, clean, _ := stalled.Outcome(); reason != delivery.Cut || clean || !stalled.aborted.Load() {
			t.Errorf("the stalled one has ended as %v", reason)
		}
		close(release)
		synctest.Wait()
		if reason, _, _ := slow.Outcome(); reason != delivery.Cut || !slow.isDone() {
			t.Errorf("the iterator has ended as %v", reason)
		}
		late := r.group.NewTask(delivery.Writer, nil)
		if late.Shard().Do(func() { t.Error("this is called") }) {
			t.Error("a shard that is closed opens a stream")
		}
	})
}

// The bytes that a writer was handed stay as they are, for whoever still reads them.
func TestBytesOfWritersNeverChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		type seen struct{ text, copy []byte }
		var all []seen
		var mu sync.Mutex
		for range 10 {
			r.work(t, delivery.Writer, "a", func(w *worker) {
				mu.Lock()
				all = append(all, seen{w.Text(), bytes.Clone(w.Text())})
				mu.Unlock()
				time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
			})
		}
		for i := range 2000 {
			r.append("a", fmt.Sprintf("%d ", i))
			if i%3 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		for i, s := range all {
			if !bytes.Equal(s.text, s.copy) {
				t.Fatalf("what was handed out as number %d has changed from %q to %q", i, s.copy, s.text)
			}
		}
	})
}
