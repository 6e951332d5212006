package delivery_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/delivery"
)

// Tasks that take nothing pin what they were handed. When all pin too much, the streams end that
// have taken nothing for longest. Others with the same text pin no more than one.
func TestTasksPinWhatTheyDoNotTake(t *testing.T) {
	const size = 1 << 10
	for name, sink := range taskSinks {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newPortableRig(t, delivery.Options{WriteTimeout: time.Hour})
				release := make(chan struct{})
				stalls := func(w *worker) {
					if strings.Contains(w.text(), "#") {
						<-release
					}
				}
				var all []*worker
				for _, set := range []string{"a", "b", "c", "d", "d", "d"} {
					all = append(all, r.openTask(t, sink, set, stalls))
				}
				synctest.Wait()
				for _, set := range []string{"a", "b", "c", "d"} {
					r.append(set, strings.Repeat("#", size-1)+".")
					time.Sleep(3 * time.Second) // the clock of the shard goes on
				}
				if used := r.budget.Used(); used != 4*size {
					t.Fatalf("%d bytes are pinned, want %d", used, 4*size)
				}
				r.do(t, func() { r.budget.limit = 2 * size })
				time.Sleep(3 * time.Second)
				for i, w := range all {
					reason, _ := w.Outcome()
					if ended := reason == delivery.Slow; ended != (i < 2) {
						t.Errorf("task %d has ended as %q", i, reason)
					}
				}
				if used := r.budget.Used(); used != 2*size || r.budget.refused.Load() != 2 {
					t.Errorf("%d bytes are pinned, %d streams refused", used, r.budget.refused.Load())
				}
				close(release)
				synctest.Wait()
				if used, stalled := r.budget.Used(), r.stats().Stalled; used != 0 || stalled != 0 {
					t.Errorf("when all go on, %d bytes are pinned, and %d streams are stalled", used, stalled)
				}
			})
		})
	}
}

// Beside frames that were joined for a writer that takes nothing, no more are joined when the
// streams pin too much.
func TestWritersJoinNothingBeyondTheBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{WriteTimeout: time.Hour})
		release := make(chan struct{})
		stalls := func(w *worker) {
			if w.jobCount() == 2 {
				<-release
			}
		}
		first := r.openTask(t, delivery.Writer, "a", stalls)
		second := r.openTask(t, delivery.Writer, "b", stalls)
		synctest.Wait()
		r.append("a", "1 ", "2 ")
		synctest.Wait()
		if used := r.budget.Used(); used != len("1 2 ") {
			t.Errorf("%d bytes are pinned", used)
		}
		r.do(t, func() { r.budget.limit = 3 })
		r.append("b", "1 ", "2 ")
		synctest.Wait()
		if got := second.text(); got != "open 1 " {
			t.Errorf("the second writer was handed %q", got)
		}
		r.do(t, func() { r.budget.limit = 1 << 20 })
		close(release)
		synctest.Wait()
		if first.text() != "open 1 2 " || second.text() != "open 1 2 " {
			t.Errorf("%q, %q", first.text(), second.text())
		}
	})
}
