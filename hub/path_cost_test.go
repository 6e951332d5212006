package hub_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/tidings/hub"
)

// writes returns how often the hub has written to the sockets it has taken over, and
// how many messages.
func (s *station) writes() (calls, messages uint64) {
	for _, shard := range s.Stats().Shards {
		calls += shard.Writes
		messages += shard.Deliveries
	}
	return calls, messages
}

// A message is written to those whose it is, and nobody else costs a call: one of
// 10,000 topics is like the only one.
func TestPathAMessageTouchesItsSubscribersAlone(t *testing.T) {
	p := takenOver
	p.skip(t)
	for _, topics := range []int{1, 10_000} {
		t.Run(fmt.Sprint(topics), func(t *testing.T) {
			s := p.station(t, nil, &hub.Options{KeepAlive: -1}, nil)
			// Each topic has one subscriber, and each subscriber some topics.
			const each = 10
			var all []*client
			for first := 0; first < topics; first += each {
				var names []string
				for i := first; i < min(topics, first+each); i++ {
					names = append(names, fmt.Sprintf("user.%d.inbox", i))
				}
				all = append(all, s.stream(t, query(strings.Join(names, " "))).opened(t))
			}
			for i := 0; i < topics; i += max(1, topics/7) {
				calls, messages := s.writes()
				s.publishSeen(t, fmt.Sprintf("user.%d.inbox:%d", i, i))
				all[i/each].expect(t, fmt.Sprint(i))
				eventually(t, "it is counted", func() bool { c, m := s.writes(); return c > calls && m > messages })
				if c, m := s.writes(); c != calls+1 || m != messages+1 {
					t.Errorf("a message cost %d writes and %d deliveries", c-calls, m-messages)
				}
			}
			for _, c := range all {
				c.conn.Close()
			}
		})
	}
}

// What a message costs the heap does not depend on how many streams it is written to.
func TestPathDeliveryDoesNotAllocate(t *testing.T) {
	p := takenOver
	p.skip(t)
	const messages, few, many = 200, 1, 501
	allocated := map[int]float64{} // for a message, by the number of streams
	for _, streams := range []int{few, many} {
		s := p.station(t, nil, &hub.Options{KeepAlive: -1}, nil)
		s.publishSeen(t, numbered("old", "", 1000)...) // so that all that follow are as long
		var all []*client
		for range streams {
			all = append(all, s.stream(t, query("a")).opened(t))
		}
		event := 0
		publishOne := func() {
			publish(t, s.Hub, "a:x")
			for _, c := range all { // which allocates nothing
				if _, err := c.lines.Discard(event); err != nil {
					t.Fatal(err)
				}
			}
		}
		publish(t, s.Hub, "a:x")
		for _, c := range all {
			event = 0
			for line := ""; line != "\n"; event += len(line) {
				line = c.line(t)
			}
		}
		publishOne() // for what is allocated once
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range messages {
			publishOne()
		}
		runtime.ReadMemStats(&after)
		allocated[streams] = float64(after.Mallocs-before.Mallocs) / messages
		for _, c := range all {
			c.conn.Close()
		}
	}
	n := (allocated[many] - allocated[few]) / (many - few)
	t.Logf("%.1f allocations for a message to %d stream, %.1f to %d: %.3f for a delivery", allocated[few], few, allocated[many], many, n)
	if n > 0.05 {
		t.Errorf("%.3f allocations for a delivery, want none", n)
	}
}

// The goroutines that deliver never wait for the hub's lock: while somebody holds it, streams
// get their keep-alives and what they catch up with, and end.
func TestPathDeliveryTakesNoLockOfTheHub(t *testing.T) {
	on(t, ownPaths, func(t *testing.T, p path) {
		s := p.station(t, nil, &hub.Options{KeepAlive: 50 * time.Millisecond, Window: 2}, nil)
		all := large("a", "", 800)
		s.publishSeen(t, all...)
		silent := s.stream(t, query("b")).opened(t)
		leaves := s.stream(t, query("b")).opened(t)
		behind := s.stream(t, query("a", "from", "start")).opened(t)
		s.Locked(func() {
			behind.expect(t, data(all)...)
			silent.line(t)
			leaves.conn.Close()
			eventually(t, "the stream has ended", func() bool { open, _ := s.Streams(); return open == 2 })
		})
	})
}
