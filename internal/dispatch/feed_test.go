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
	f := &feed{idle: true}
	check := func(what string, wakes, want bool, head uint64) {
		t.Helper()
		if f.Advance(); wakes != want || f.head != head {
			t.Errorf("%s: the shard wakes: %v, and its head is %d; want %v and %d", what, wakes, f.head, want, head)
		}
	}
	check("idle", f.take(entries(1, 3)), false, 3)
	f.setIdle(false)
	check("with a stream", f.take(entries(4, 5)), true, 5)
	f.take(entries(6, 7)) // the shard has not looked when its last stream leaves
	f.setIdle(true)
	check("idle again", f.take(entries(8, 9)), false, 9)
	f.take(entries(10, 11))
	f.setIdle(false)
	check("with another stream", f.take(entries(12, 12)), true, 12)
	if len(f.arrived.entries) > 0 {
		t.Errorf("the feed keeps %d entries", len(f.arrived.entries))
	}
}
