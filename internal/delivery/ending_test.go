package delivery_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/delivery"
)

// At its scheduled end, a stream gets only the last frame. A writer that does not take that has
// an error, even if nothing more would have followed.
func TestEndingOfTasks(t *testing.T) {
	for name, sink := range taskSinks {
		for _, why := range []delivery.Reason{delivery.Expired, delivery.Finished} {
			t.Run(fmt.Sprintf("%s, %v", name, why), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newPortableRig(t, delivery.Options{WriteTimeout: time.Hour})
					w := r.openTask(t, sink, "a", nil)
					release := make(chan struct{})
					stalled := r.openTask(t, sink, "a", func(*worker) { <-release })
					synctest.Wait()
					r.append("a", "1 ")
					synctest.Wait()
					at := time.Now().Add(time.Minute)
					r.do(t, func() {
						for _, w := range []*worker{w, stalled} {
							r.shard.EndAt(w.stream.Slot, at, why)
						}
					})
					time.Sleep(time.Minute - time.Second)
					if w.isDone() {
						t.Fatal("the stream ended early")
					}
					time.Sleep(2 * time.Second)
					r.append("a", "2 ")
					synctest.Wait()
					want := fmt.Sprintf("open 1 %v at 1;", why)
					if sink == delivery.Iterator {
						want = "1 "
					}
					reason, err := w.Outcome()
					if got := w.text(); got != want || !w.isDone() || reason != why || err != nil {
						t.Errorf("the task got %q and ended as %v, %v", got, reason, err)
					}
					fails := sink == delivery.Writer && why == delivery.Finished
					if reason, err := stalled.Outcome(); reason != why || (err != nil) != fails || !stalled.aborted.Load() {
						t.Errorf("the stalled task ended as %v, %v, aborted %v", reason, err, stalled.aborted.Load())
					}
					close(release)
					synctest.Wait()
					if s := r.stats(); s.Streams() != 0 || s.Ends[why] != 2 {
						t.Errorf("%+v", s)
					}
				})
			})
		}
	}
}

// A stream that is concluded while frames wait for its client is told the position that the
// client has by then.
func TestPositionAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		r.do(t, func() { r.testFeed.written = func(uint32) {} })
		for _, taken := range []int{0, 1, 2} { // hand-outs
			release := make(chan struct{})
			w := r.openTask(t, delivery.Writer, "a", func(*worker) { release <- struct{}{} })
			synctest.Wait()
			large := strings.Repeat("x", 64<<10)
			r.do(t, func() {
				r.shard.Send(w.stream.Slot, []delivery.Frame{&testFrame{position: 5, text: large}, &testFrame{position: 6, text: large}}, 7)
			})
			for range taken {
				<-release
				synctest.Wait()
			}
			r.do(t, func() { r.shard.Conclude(w.stream.Slot, delivery.Revoked) })
			<-release
			<-release
			synctest.Wait()
			want := fmt.Sprintf("revoked at %d;", []int{0, 5, 7}[taken])
			if got := w.text(); !strings.HasSuffix(got, want) || !w.isDone() {
				t.Errorf("after %d hand-outs the writer gets ….%.40q, want %s", taken, got[max(0, len(got)-40):], want)
			}
		}
	})
}

// A stream that is concluded before its client is sent anything is told where it begins.
func TestPositionBeforeTheBeginning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		task := r.group.NewTask(delivery.Writer, nil)
		r.do(t, func() {
			slot, _ := r.shard.OpenTask(task, r.set("a"), 0, 0)
			r.shard.Place(slot, 9)
			r.shard.Send(slot, rawFrames("open "), 12)
			r.shard.Conclude(slot, delivery.Expired)
		})
		defer task.Leave()
		if !task.Next() || string(task.Text()) != "expired at 9;" {
			t.Errorf("the task gets %q", task.Text())
		}
	})
}

// The schedule does not fill up with streams that have ended early.
func TestStaleEndingsAreDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newPortableRig(t, delivery.Options{})
		stays := r.openTask(t, delivery.Writer, "a", nil)
		synctest.Wait()
		at := time.Now().Add(time.Hour)
		for range 1000 {
			w := r.openTask(t, delivery.Writer, "a", nil)
			synctest.Wait()
			r.do(t, func() { r.shard.EndAt(w.stream.Slot, at, delivery.Expired) })
			w.cancel()
			synctest.Wait()
		}
		r.do(t, func() {
			if n := r.shard.Scheduled(); n > 200 {
				t.Errorf("the schedule has %d entries", n)
			}
			r.shard.EndAt(stays.stream.Slot, at, delivery.Expired)
		})
		time.Sleep(time.Hour + time.Second)
		if !stays.isDone() {
			t.Error("the scheduled stream has not ended")
		}
	})
}
