package delivery_test

import (
	"io"
	"testing"
	"time"

	"example.com/tidings/internal/delivery"
)

// Clients that take nothing of a frame pin it. When all pin too much, the streams of the clients
// that take nothing end, and one that reads slowly gets everything.
func TestPinsOfSilentClients(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	sets := []string{"a", "b", "c", "d"}
	var clients []io.ReadCloser
	var streams []delivery.Stream
	for _, set := range sets {
		fd, client := socket(t)
		clients = append(clients, client)
		streams = append(streams, r.open(t, fd, set, 0, "open "))
		want(t, client, "open ")
		r.append(set, longText(set, stallSize))
	}
	eventually(t, "all stall", func() bool { return r.stats().Stalled == len(sets) })
	if used := r.budget.Used(); used != len(sets)*stallSize {
		t.Errorf("%d bytes are pinned", used)
	}
	r.do(t, func() { r.budget.limit = 5 * stallSize / 2 })
	text := longText("a", stallSize)
	for len(text) > 0 {
		n := min(len(text), 64<<10)
		want(t, clients[0], text[:n])
		text = text[n:]
		time.Sleep(50 * time.Millisecond)
	}
	eventually(t, "little is pinned", func() bool { return r.budget.Used() <= r.budget.limit })
	ended := 0
	r.do(t, func() {
		for i, st := range streams {
			reason, is := r.ends[st]
			if is && (i == 0 || reason != delivery.Slow) {
				t.Errorf("stream %d has ended as %q", i, reason)
			} else if is {
				ended++
			}
		}
	})
	if ended < 1 || int(r.budget.refused.Load()) != ended {
		t.Errorf("%d streams have ended, %d refused", ended, r.budget.refused.Load())
	}
	r.append("a", "end ")
	want(t, clients[0], "end ")
}

// When the streams pin twice as much as they may, those end at once that have taken nothing for
// longest, but for the last one.
func TestPinsFarBeyondTheBudget(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	r.do(t, func() { r.budget.limit = stallSize / 4 })
	var streams []delivery.Stream
	var clients []io.Reader
	for _, set := range []string{"a", "b"} {
		fd, client := socket(t)
		clients = append(clients, client)
		streams = append(streams, r.open(t, fd, set, 0, "open "))
		want(t, client, "open ")
	}
	r.append("a", longText("a", stallSize))
	eventually(t, "one stalls", func() bool { return r.stats().Stalled == 1 })
	r.append("b", longText("b", stallSize))
	ended := func() (n int) {
		r.do(t, func() { n = len(r.ends) })
		return n
	}
	eventually(t, "one ends", func() bool { return ended() == 1 })
	for i, st := range streams {
		r.do(t, func() {
			if reason, is := r.ends[st]; is && reason != delivery.Slow {
				t.Errorf("stream %d has ended as %q", i, reason)
			} else if !is {
				go io.Copy(io.Discard, clients[i])
			}
		})
	}
	eventually(t, "nothing is pinned", func() bool { return r.budget.Used() == 0 })
	if n := ended(); n != 1 {
		t.Errorf("%d streams have ended", n)
	}
}
