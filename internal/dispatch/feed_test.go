package dispatch

import (
	"strconv"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/window"
)

// A shard without streams need not wake for new entries. Its feed passes over them, and
// gets those that come once there is a stream.
func TestFeedOfIdleShard(t *testing.T) {
	entries := func(first, last uint64) (all []*window.Entry) {
		for seq := first; seq <= last; seq++ {
			all = append(all, &window.Entry{Record: eventlog.Record{Seq: seq, Topic: "a"}})
		}
		return all
	}
	f := &feed{queue: queue{mostEntries: 100, mostBytes: 1 << 20, idle: true}}
	extend := func(entries []*window.Entry) (wakes bool) {
		wakes = f.queue.add(entries)
		f.arrived.Store(true)
		return wakes
	}
	check := func(what string, wakes, want bool, head uint64) {
		t.Helper()
		if f.Advance(); wakes != want || f.head != head {
			t.Errorf("%s: the shard wakes: %v, and its head is %d; want %v and %d", what, wakes, f.head, want, head)
		}
	}
	check("idle", extend(entries(1, 3)), false, 3)
	f.queue.setIdle(false)
	check("with a stream", extend(entries(4, 5)), true, 5)
	extend(entries(6, 7)) // the shard has not looked when its last stream leaves
	f.queue.setIdle(true)
	check("idle again", extend(entries(8, 9)), false, 9)
	extend(entries(10, 11))
	f.queue.setIdle(false)
	check("with another stream", extend(entries(12, 12)), true, 12)
	f.queue.setIdle(true)
	f.queue.add(entries(13, 14)) // and extended has not told yet
	if f.awake(); f.head != 14 {
		t.Errorf("a stream begins at %d, after what has passed", f.head)
	}
	if len(f.queue.entries) > 0 {
		t.Errorf("the feed keeps %d entries", len(f.queue.entries))
	}
}

// entriesOf returns entries of a topic with consecutive numbers.
func entriesOf(topic string, first uint64, n int) (all []*window.Entry) {
	for i := range n {
		all = append(all, &window.Entry{Record: eventlog.Record{Seq: first + uint64(i), Topic: topic}})
	}
	return all
}

// A shard does a bounded amount at a time.
func TestFeedAdvancesInPieces(t *testing.T) {
	f := &feed{queue: queue{mostEntries: 10_000, mostBytes: 100 << 20}}
	patterns := starred(0, 4, "q", "") // which match none of the topics
	const entries = 100
	for i := range entries {
		patterns = append(patterns, strings.Repeat("z.", 15)+strconv.Itoa(i)) // so that each token is known
		f.queue.add(entriesOf(strings.Repeat("a.", 15)+strconv.Itoa(i), uint64(i+1), 1))
	}
	setsOf(&f.index, patterns)
	f.arrived.Store(true)
	calls, last := 1, uint64(0)
	for ; f.Advance(); calls++ {
		if n := f.head - last; n > turnSteps/1900+1 { // each takes 1,941 steps, and some
			t.Fatalf("one call takes %d entries", n)
		}
		last = f.head
	}
	if f.head != entries || calls < entries/20 {
		t.Errorf("the head is %d after %d calls", f.head, calls)
	}
}

// A queue takes no more than its bounds. What is dropped is told before what comes later.
func TestQueueIsBounded(t *testing.T) {
	for name, q := range map[string]*queue{
		"entries": {mostEntries: 10, mostBytes: 1 << 20},
		"bytes":   {mostEntries: 1000, mostBytes: 10 * entriesOf("a", 1, 1)[0].Size()},
	} {
		room := make([]*window.Entry, 0, 4)
		for i := range uint64(10) {
			q.add(entriesOf("a", 1+i, 1))
		}
		taken, left := q.take(room)
		if len(taken) != 4 || !left || taken[0].Seq != 1 {
			t.Fatalf("%s: took %d", name, len(taken))
		}
		q.add(entriesOf("a", 11, 4))
		if n := q.news(); n.dropped != 0 {
			t.Errorf("%s: %d is dropped, although there is room", name, n.dropped)
		}
		q.add(entriesOf("a", 15, 1))
		q.add(entriesOf("a", 16, 2))
		if taken, left = q.take(room); len(taken) > 0 || !left {
			t.Errorf("%s: took %d before the news", name, len(taken))
		}
		if n := q.news(); n.dropped != 15 {
			t.Errorf("%s: up to %d is dropped, want 15", name, n.dropped)
		}
		if taken, left = q.take(room); len(taken) != 2 || left || taken[0].Seq != 16 || q.bytes != 0 {
			t.Errorf("%s: took %d, and %d bytes are left", name, len(taken), q.bytes)
		}
	}
}
