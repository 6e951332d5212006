package delivery_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/delivery"
)

// bubble runs a test in a synctest bubble, which fails if a goroutine is left behind.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// A worker is a task that records the work it gets.
type worker struct {
	*delivery.Task
	cancel  context.CancelFunc
	stream  delivery.Stream
	aborted atomic.Bool

	mu   sync.Mutex
	got  strings.Builder
	jobs int
	done bool // its goroutine has left
}

// openTask opens a stream on a task, and starts the task's goroutine. If each is not nil, the
// goroutine calls it for each piece of work.
func (r *rig) openTask(t *testing.T, sink delivery.Sink, set string, each func(*worker)) *worker {
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
		first := rawFrames("open ")
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
				w.got.WriteString(f.(*testFrame).text)
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

// jobCount returns how often the task got work.
func (w *worker) jobCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.jobs
}

func (w *worker) isDone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// taskSinks are the sinks of tasks.
var taskSinks = map[string]delivery.Sink{"writer": delivery.Writer, "iterator": delivery.Iterator}

// openingOf returns the first text of a stream.
func openingOf(sink delivery.Sink) string {
	if sink == delivery.Iterator {
		return ""
	}
	return "open "
}

// Each task gets every frame of its set once and in order. A busy task then gets at once all
// frames that arrived while it was busy.
func TestTasksGetEveryFrameOnce(t *testing.T) {
	for name, sink := range taskSinks {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newPortableRig(t, delivery.Options{})
				var all []*worker
				for range 200 {
					all = append(all, r.openTask(t, sink, "a", nil))
				}
				release := make(chan struct{})
				slow := r.openTask(t, sink, "a", func(*worker) { <-release })
				other := r.openTask(t, sink, "b", nil)
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
					t.Errorf("the task of the other set got %q", got)
				}
				close(release)
				synctest.Wait()
				if got := slow.text(); got != want || slow.jobCount() != 2 {
					t.Errorf("the slow task got %q in %d jobs, want %q in 2", got, slow.jobCount(), want)
				}
				if s := r.stats(); s.Open[sink] != 202 || s.Stalled != 0 || s.Detached != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// Writers that lack the same frames share the bytes that they are handed.
func TestWritersShareBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		texts := make([][]byte, 3)
		for i := range texts {
			r.openTask(t, delivery.Writer, "a", func(w *worker) { texts[i] = w.Text() })
		}
		synctest.Wait()
		r.append("a", "1 ", "2 ", "3 ")
		synctest.Wait()
		for i, text := range texts {
			if string(text) != "1 2 3 " || &text[0] != &texts[0][0] {
				t.Errorf("writer %d got %q, want shared bytes of %q", i, text, "1 2 3 ")
			}
		}
	})
}

// A set keeps no frames for a task that blocks in the middle of a burst. When the task goes
// on, the feed provides the frames.
func TestBlockedTasksHoldNoFrames(t *testing.T) {
	for name, sink := range taskSinks {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newPortableRig(t, delivery.Options{WriteTimeout: time.Hour})
				release := make(chan struct{})
				w := r.openTask(t, sink, "a", func(w *worker) {
					if w.jobCount() > 1 || sink == delivery.Iterator {
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
					if r.sets["a"].Exceeds(math.MaxUint64, 0, math.MaxInt) {
						t.Error("the set still holds frames")
					}
				})
				close(release)
				synctest.Wait()
				if got, want := w.text(), openingOf(sink)+strings.Join(texts, ""); got != want {
					t.Errorf("the task got %d bytes, want %d", len(got), len(want))
				}
			})
		})
	}
}

// A stream takes 48 bytes.
func TestSizeOfAStream(t *testing.T) {
	if delivery.SlotSize != 48 {
		t.Errorf("a slot takes %d bytes, want 48", delivery.SlotSize)
	}
}

// Many blocked tasks do not delay the other tasks of their set.
func TestBlockedTasksDelayNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		release := make(chan struct{})
		for range 300 {
			r.openTask(t, delivery.Writer, "a", func(*worker) { <-release })
		}
		var all []*worker
		for range 100 {
			all = append(all, r.openTask(t, delivery.Writer, "a", nil))
		}
		synctest.Wait()
		want := "open "
		for i := range 500 { // more than a stream is handed at once
			r.append("a", fmt.Sprintf("%d ", i))
			want += fmt.Sprintf("%d ", i)
			if i%7 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		for i, w := range all {
			if got := w.text(); got != want {
				t.Fatalf("task %d got %q, want %q", i, got, want)
			}
		}
		close(release)
	})
}

// A task may leave at any time, even while it waits for the baton or holds it. The others
// lose no frame.
func TestTasksThatLeave(t *testing.T) {
	for seed := range uint64(30) {
		bubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			r := newPortableRig(t, delivery.Options{})
			stay := r.openTask(t, delivery.Writer, "a", nil)
			var others []*worker
			synctest.Wait()
			want := "open "
			for i := range 200 {
				switch random.IntN(4) {
				case 0:
					sink := []delivery.Sink{delivery.Writer, delivery.Iterator}[random.IntN(2)]
					pace := time.Duration(random.IntN(3)) * time.Millisecond
					others = append(others, r.openTask(t, sink, "a", func(*worker) { time.Sleep(pace) }))
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

// A writer that takes nothing during the write timeout is aborted. A writer that makes
// progress is not, and an iterator may be slow.
func TestWriteTimeoutOfTasks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		r := newPortableRig(t, delivery.Options{WriteTimeout: timeout})
		release := make(chan struct{})
		hold := func(*worker) { <-release }
		dead := r.openTask(t, delivery.Writer, "a", hold)
		slow := r.openTask(t, delivery.Writer, "a", func(w *worker) {
			for range 10 {
				time.Sleep(timeout / 2)
				w.Progress()
			}
		})
		iterates := r.openTask(t, delivery.Iterator, "a", hold)
		synctest.Wait()
		r.append("a", "1 ")
		time.Sleep(timeout - time.Second)
		if dead.aborted.Load() {
			t.Error("the blocked writer is aborted early")
		}
		time.Sleep(2 * time.Second)
		if reason, _ := dead.Outcome(); !dead.aborted.Load() || reason != delivery.TimedOut {
			t.Errorf("the blocked writer ended as %v, aborted %v", reason, dead.aborted.Load())
		}
		if s := r.stats(); s.Stalled == 0 {
			t.Error("no stream counts as stalled")
		}
		time.Sleep(20 * timeout)
		if slow.aborted.Load() || slow.text() != "open 1 " {
			t.Errorf("the slow writer got %q, aborted %v", slow.text(), slow.aborted.Load())
		}
		close(release)
		synctest.Wait()
		if got := iterates.text(); got != "1 " || iterates.isDone() {
			t.Errorf("the iterator got %q, done %v", got, iterates.isDone())
		}
	})
}

// A silent writer gets a keep-alive in time, at most an eighth early, and not all writers at
// the same moment. Writers that are handed frames get none. Iterators never get one.
func TestKeepAlivesOfTasks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const (
			streams = 300
			every   = 16 * time.Second
			rounds  = 4
		)
		r := newPortableRig(t, delivery.Options{KeepAlive: every})
		received := make([][]time.Time, streams)
		var mu sync.Mutex
		for i := range streams {
			r.openTask(t, delivery.Writer, "silent", func(w *worker) {
				mu.Lock()
				defer mu.Unlock()
				received[i] = append(received[i], time.Now()) // includes the opening
			})
		}
		busy := r.openTask(t, delivery.Writer, "busy", nil)
		iterates := r.openTask(t, delivery.Iterator, "silent", nil)
		for range rounds * 8 {
			r.append("busy", "x ")
			time.Sleep(every / 8)
		}
		time.Sleep(every / 8)
		if got := busy.text(); strings.Contains(got, "k;") || iterates.jobCount() > 0 {
			t.Errorf("the busy writer got %q, the iterator %d jobs", got, iterates.jobCount())
		}
		mu.Lock()
		defer mu.Unlock()
		moments := map[time.Time]int{}
		for i, times := range received {
			if len(times) < rounds+1 {
				t.Fatalf("stream %d got %d keep-alives, want at least %d", i, len(times)-1, rounds)
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
				t.Errorf("%d of %d keep-alives came at %v", n, streams, at)
			}
		}
	})
}

// No keep-alive is sent when they are off, nor to a busy writer, nor to a writer that is
// detached while it is busy.
func TestNoKeepAlive(t *testing.T) {
	for _, every := range []time.Duration{-1, time.Second} {
		bubble(t, func(t *testing.T) {
			r := newPortableRig(t, delivery.Options{KeepAlive: every, WriteTimeout: time.Hour})
			silent := r.openTask(t, delivery.Writer, "b", nil)
			release := make(chan struct{})
			working := r.openTask(t, delivery.Writer, "a", func(*worker) { <-release })
			r.append("a", "x ")
			time.Sleep(time.Minute)
			close(release)
			synctest.Wait()
			if got := working.text(); got != "open x " {
				t.Errorf("KeepAlive %v: the busy writer got %q", every, got)
			}
			if got := strings.Count(silent.text(), "k;"); (got > 0) != (every > 0) {
				t.Errorf("KeepAlive %v: the silent writer got %d keep-alives", every, got)
			}
		})
	}
}

// Drain ends each task that has all its frames. Close cuts the others, and aborts a busy
// writer.
func TestDrainAndCloseOfTasks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		idle := r.openTask(t, delivery.Writer, "a", nil)
		release := make(chan struct{})
		stalled := r.openTask(t, delivery.Writer, "a", func(*worker) { <-release })
		slow := r.openTask(t, delivery.Iterator, "a", func(*worker) { <-release })
		synctest.Wait()
		r.append("a", "1 ")
		r.group.Drain()
		synctest.Wait()
		if reason, _ := idle.Outcome(); idle.text() != "open 1 stopping at 1;" || !idle.isDone() || reason != delivery.Stopping {
			t.Errorf("the idle writer ended as %v, with %q", reason, idle.text())
		}
		r.group.Drained(time.After(time.Second))
		r.group.Close()
		synctest.Wait()
		if reason, _ := stalled.Outcome(); reason != delivery.Cut || !stalled.aborted.Load() {
			t.Errorf("the stalled writer ended as %v, aborted %v", reason, stalled.aborted.Load())
		}
		close(release)
		synctest.Wait()
		if reason, _ := slow.Outcome(); reason != delivery.Cut || !slow.isDone() {
			t.Errorf("the iterator ended as %v, done %v", reason, slow.isDone())
		}
		late := r.group.NewTask(delivery.Writer, nil)
		if late.Shard().Do(func() { t.Error("a closed shard called the function") }) {
			t.Error("a closed shard accepted a function")
		}
	})
}

// The bytes that a writer was handed never change: net/http may still read them.
func TestBytesOfWritersNeverChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		type seen struct{ text, copy []byte }
		var all []seen
		var mu sync.Mutex
		for range 10 {
			r.openTask(t, delivery.Writer, "a", func(w *worker) {
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
				t.Fatalf("hand-out %d changed from %q to %q", i, s.copy, s.text)
			}
		}
	})
}
