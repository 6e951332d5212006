//go:build unix

package soak_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// briefly returns a connection that ends after a few messages or a short time.
func briefly(r *rand.Rand, _ int) (int, time.Duration) {
	switch r.IntN(4) {
	case 0:
		return 1 + r.IntN(20), -1
	case 1:
		return 1 + r.IntN(2000), -1
	}
	return -1, time.Duration(r.Int64N(int64(1500 * time.Millisecond)))
}

// openOnly returns a connection that is cut before its first message. After two of
// these it returns brief ones.
func openOnly(r *rand.Rand, connection int) (int, time.Duration) {
	if connection < 2 {
		return 0, -1
	}
	return briefly(r, connection)
}

// patiently returns a connection that usually lasts for a keep-alive or longer.
func patiently(r *rand.Rand, _ int) (int, time.Duration) {
	return -1, time.Duration(r.Int64N(int64(3 * time.Second)))
}

// Subscribers connect and disconnect at random moments, and keep only their last id.
// Meanwhile messages are published at full speed, and retention removes the oldest.
// From the beginning of its first stream, each subscriber gets the messages that its
// filters match, once and in order. They come from the log, the window or live
// delivery.
//
// A third of the subscribers are cut before their first message, and have only the id
// of tidings.open. Another third listen to topics so quiet that retention has removed
// their last message. They can resume because of tidings.position.
func TestReplayTurnsIntoLive(t *testing.T) {
	rounds(t, func(t *testing.T, seed uint64, way path) {
		const messages, third = 25_000, 67
		// Retention keeps about half of the published messages. The window is far
		// smaller.
		tr := newTrial(t, seed, way, messages, 0.5, "--retention-bytes", "10MiB", "--buffer", "500", "--keep-alive", "300ms")
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
			t.Errorf("the oldest retained message is %d: retention has not removed the first messages of the quiet topics, up to %d", first, order[n-1].seq)
		}
	})
}

// The same, but the server is killed ten times in all and restarted with the same data,
// each time with the other path for its streams. Acknowledged messages survive. Other
// messages are published again with their key, so that each is stored once.
func TestKilledTenTimes(t *testing.T) {
	rounds(t, func(t *testing.T, seed uint64, way path) {
		const messages, kills = 25_000, 5
		tr := newTrial(t, seed, way, messages, 1, "--keep-alive", "300ms", "--buffer", "2000")
		tr.subscribe(
			kind{name: "quiet", count: 67, filters: quietFilters, life: patiently, away: 300 * time.Millisecond},
			kind{name: "cut", count: 67, filters: busyFilters, life: openOnly, away: 500 * time.Millisecond, late: 2 * time.Second},
			kind{name: "busy", count: 58, filters: busyFilters, life: briefly, away: 500 * time.Millisecond, late: time.Second},
			kind{name: "start", count: 4, filters: busyFilters, from: "start", life: briefly, away: 500 * time.Millisecond, late: 3 * time.Second},
			kind{name: "staying", count: 4, filters: busyFilters, life: stays},
		)
		tr.publish(tr.last)
		for i := range kills {
			tr.awaitAcked((i + 1) * tr.last / (kills + 1))
			tr.server.kill()
			tr.server.path = tr.server.path.other()
			if err := tr.server.start(); err != nil {
				t.Fatal(err)
			}
		}
		order := tr.finish()
		for _, s := range tr.subs {
			if s.from == "start" && s.start != 0 {
				t.Errorf("%s, from the start, begins after %d", s.name, s.start)
			}
		}
		tr.checkHistory(order)
	})
}

// stays returns a connection that the client does not end.
func stays(*rand.Rand, int) (int, time.Duration) { return -1, -1 }

// After SIGTERM the server says to each stream why it ends. Each acknowledged message reaches
// its subscribers before or after the restart.
func TestStoppedAndStartedAgain(t *testing.T) {
	rounds(t, func(t *testing.T, seed uint64, way path) {
		const messages, stops = 6_000, 2
		tr := newTrial(t, seed, way, messages, 1, "--keep-alive", "300ms")
		tr.subscribe(
			kind{name: "staying", count: 40, filters: busyFilters, life: stays},
			kind{name: "quiet", count: 10, filters: quietFilters, life: stays},
			kind{name: "busy", count: 10, filters: busyFilters, life: briefly, away: 200 * time.Millisecond},
		)
		tr.awaitOpen()
		tr.publish(tr.last)
		for i := range stops {
			tr.awaitAcked((i + 1) * tr.last / (stops + 1))
			if err := tr.server.terminate(); err != nil {
				t.Errorf("after SIGTERM the program ends with %v", err)
			}
			if err := tr.server.start(); err != nil {
				t.Fatal(err)
			}
		}
		tr.checkHistory(tr.finish())
		for _, s := range tr.subs {
			if s.brokenEnds > 0 {
				t.Errorf("%s: %d streams are broken off without a word, %d are told why; all should be", s.name, s.brokenEnds, s.toldEnds)
			}
		}
	})
}
