package dispatch

import (
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
	if len(f.queue.entries) > 0 {
		t.Errorf("the feed keeps %d entries", len(f.queue.entries))
	}
}
