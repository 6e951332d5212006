//go:build unix

package soak_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// briefly is a connection that ends after a few messages, or soon.
func briefly(r *rand.Rand, _ int) (int, time.Duration) {
	switch r.IntN(4) {
	case 0:
		return 1 + r.IntN(20), -1
	case 1:
		return 1 + r.IntN(2000), -1
	}
	return -1, time.Duration(r.Int64N(int64(1500 * time.Millisecond)))
}

// openOnly is a connection that is cut before its first message, two times; the
// next ones are brief.
func openOnly(r *rand.Rand, connection int) (int, time.Duration) {
	if connection < 2 {
		return 0, -1
	}
	return briefly(r, connection)
}

// patiently is a connection that lasts for a keep-alive or more, mostly.
func patiently(r *rand.Rand, _ int) (int, time.Duration) {
	return -1, time.Duration(r.Int64N(int64(3 * time.Second)))
}

// Subscribers come and go at random moments, with nothing but their last id,
// while messages are published at full speed and retention removes the oldest.
// Each gets what its filters match, from where its first stream has begun, in
// order and once, whatever reads it: the log, the window, or live delivery.
//
// A third of them are cut before their first message, and so have only the id of
// tidings.open. Another third listens to topics so quiet that retention has
// passed their last message: they stay within it by tidings.position.
func TestReplayTurnsIntoLive(t *testing.T) {
	rounds(t, func(t *testing.T, seed uint64) {
		const messages, third = 60_000, 67
		// What is retained is about a third of what is published, and the window
		// is far less.
		tr := newTrial(t, seed, messages, 0.5, "--retention-bytes", "10MiB", "--buffer", "500", "--keep-alive", "300ms")
		tr.maxLag = 8_000
		tr.subscribe(kind{name: "quiet", count: third, filters: quietFilters, life: patiently, away: 300 * time.Millisecond})
		tr.awaitOpen()
		tr.subscribe(
			kind{name: "cut", count: third, filters: busyFilters, life: openOnly, away: 500 * time.Millisecond, late: 3 * time.Second},
			kind{name: "busy", count: third, filters: busyFilters, life: briefly, away: 500 * time.Millisecond, late: time.Second},
		)
		tr.publish(tr.last)
		order := tr.finish()
		first := tr.retained()
		if n := len(everyTopic()); first <= order[n-1].seq {
			t.Errorf("the first message that is retained is %d: retention has not passed the first messages of the quiet topics, up to %d", first, order[n-1].seq)
		}
	})
}
