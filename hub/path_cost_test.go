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
	p := path(hub.PathTakenOver)
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
	p := path(hub.PathTakenOver)
	p.skip(t)
	const messages, streams = 200, 501
	s := p.station(t, nil, &hub.Options{KeepAlive: -1}, nil)
	for range streams { // whose sockets hold all that is written
		s.stream(t, query("a")).opened(t)
	}
	var before, after runtime.MemStats
	for range 2 { // once for what is allocated once
		_, delivered := s.writes()
		runtime.ReadMemStats(&before)
		for range messages {
			publish(t, s.Hub, "a:x")
			delivered += streams
			for _, m := s.writes(); m < delivered; _, m = s.writes() {
				time.Sleep(time.Millisecond) // to ask allocates
			}
		}
		runtime.ReadMemStats(&after)
	}
	n := float64(after.Mallocs-before.Mallocs) / messages / streams
	t.Logf("%.2f allocations for a delivery, with those of publishing and counting", n)
	if n > 0.4 {
		t.Errorf("%.2f allocations for a delivery, want none", n)
	}
}
