package hub_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
)

// A hub that drains sends everything that was published. Then it tells each client that it
// stops, and where to go on, and breaks the response off.
func TestPathDrain(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, nil, nil, nil)
		var all []*client
		for _, topics := range []string{"a", "**", "b"} {
			for range 10 {
				all = append(all, s.stream(t, query(topics)).opened(t))
			}
		}
		messages := large("a", "", 300)
		go func() { // some may be too late
			for _, m := range messages {
				if _, err := s.Publish(t.Context(), hub.Message{Topic: "a", Data: data([]string{m})[0]}); err != nil {
					return
				}
			}
		}()
		eventually(t, "some are published", func() bool { return s.Head() > 20 })
		s.Drain()
		eventually(t, "the hub has drained", func() bool { return s.Drained() })
		want := data(messages)[:s.Head()]
		for i, c := range all {
			if i < 20 {
				c.expect(t, want...)
			}
			if id := s.ended(t, c, hub.EndStopping); id != fmt.Sprintf("E-%d", s.Head()) && p != iterator {
				t.Errorf("stream %d ends with the id %s, and the newest message is %d", i, id, s.Head())
			}
			c.conn.Close()
		}
		s.vacated(t)
		if res := s.refused(t).res; res.StatusCode != 503 {
			t.Errorf("a new client gets %s", res.Status)
		}
	})
}

// refused sends a request whose answer is no stream.
func (s *station) refused(t *testing.T, header ...string) *client {
	t.Helper()
	c, err := s.get(t.Context(), s.dial(t), query("a"), header...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Who is behind when the hub drains gets the rest when it comes back. Its stream ends after an
// event, and the last id is that event's.
func TestPathDrainOfWhoIsBehind(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, nil, &hub.Options{Window: 4}, nil)
		c := s.stream(t, query("a")).opened(t)
		readOn := s.stall(t, c, "a")
		all := large("a", "", 500)
		s.publishSeen(t, all...)
		s.Drain()
		readOn()
		for i := 0; ; i++ {
			last := c.id
			ev, err := c.next()
			if ev.Type == hub.EndEventType {
				if ev.Data != `{"reason":"stopping"}` || ev.ID != last {
					t.Errorf("after %d messages and the id %s comes %+v", i, last, ev)
				}
				ev, err = c.next()
			} else if p != iterator && err != nil {
				t.Errorf("after %d messages the stream breaks off without a word: %v", i, err)
			}
			if err != nil {
				if err == io.EOF && p.seesBreak() {
					t.Error("the stream looks complete")
				}
				break
			}
			if ev.Data != data(all)[i] {
				t.Fatalf("%d is %.50q", i, ev)
			}
		}
	})
}

// Close returns in time whatever the clients do, and then no client takes what it has
// for complete that is not.
func TestPathClose(t *testing.T) {
	on(t, ownPaths, func(t *testing.T, p path) {
		s := p.station(t, nil, nil, nil)
		idle := s.stream(t, query("a")).opened(t) // never closes by itself
		stalled := s.stream(t, query("b")).opened(t)
		s.stall(t, stalled, "b")
		publish(t, s.Hub, "a:1", "b:1")
		idle.expect(t, "1")
		since := time.Now()
		if err := s.Hub.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(since); took > 5*time.Second {
			t.Errorf("Close took %v", took)
		}
		s.ended(t, idle, hub.EndStopping)
		if rest, err := io.ReadAll(stalled.lines); err == nil && (p.seesBreak() || strings.HasSuffix(string(rest), "\n\n")) {
			t.Errorf("the stream that was cut ends with %v, and looks complete", err)
		}
		s.vacated(t)
		for name, want := range map[string]uint64{"cut": 1, "stopping": 1} {
			got := uint64(0)
			for _, shard := range s.Stats().Shards {
				got += shard.Ends[name]
			}
			if got != want {
				t.Errorf("%d streams have ended as %q, want %d", got, name, want)
			}
		}
	})
}

// However a stream ends its place is given back.
func TestPathPlaceIsGivenBack(t *testing.T) {
	on(t, ownPaths, func(t *testing.T, p path) {
		const most = 3
		log := &unreadableLog{Log: eventlog.NewMemory(nil)}
		s := p.station(t, log, &hub.Options{MaxSubscribers: most, Window: 2, WriteTimeout: 600 * time.Millisecond}, nil)
		publish(t, s.Hub, numbered("old", "", 9)...)
		untilHead(s.Hub, 9)
		for _, tt := range []struct {
			name string
			end  func(*testing.T)
		}{
			{"the client closes", func(t *testing.T) { s.stream(t, query("a")).opened(t).conn.Close() }},
			{"it closes half", func(t *testing.T) {
				c := s.stream(t, query("a")).opened(t)
				c.conn.(*net.TCPConn).CloseWrite()
				s.vacated(t)
			}},
			{"it resets", func(t *testing.T) {
				c := s.stream(t, query("a")).opened(t)
				c.conn.(*net.TCPConn).SetLinger(0)
				c.conn.Close()
			}},
			{"HTTP/1: it is gone before anything comes", func(t *testing.T) {
				conn := s.dial(t)
				conn.SetLinger(0)
				s.request(t, conn, query("a"))
				conn.Close()
			}},
			{"HTTP/1: it is gone at once, half", func(t *testing.T) {
				conn := s.dial(t)
				s.request(t, conn, query("a"))
				conn.CloseWrite()
				s.vacated(t)
			}},
			{"it resets within an event", func(t *testing.T) {
				c := s.stream(t, query("a")).opened(t)
				s.stall(t, c, "a")
				c.conn.(*net.TCPConn).SetLinger(0)
				c.conn.Close()
			}},
			{"it takes nothing", func(t *testing.T) {
				c := s.stream(t, query("a")).opened(t)
				s.stall(t, c, "a")
				s.vacated(t)
				if _, err := io.Copy(io.Discard, c.lines); err == nil && p.seesBreak() {
					t.Error("the client takes it for a clean end")
				}
			}},
			{"it takes nothing of what comes from the log", func(t *testing.T) {
				s.publishSeen(t, large("big", "", 800)...)
				c := s.stream(t, query("big", "from", "start")).opened(t)
				s.vacated(t)
				if _, err := io.Copy(io.Discard, c.lines); err == nil && p.seesBreak() {
					t.Error("the client takes it for a clean end")
				}
			}},
			{"the log cannot be read", func(t *testing.T) {
				log.broken.Store(true)
				c := s.stream(t, query("old", "from", "start")).opened(t)
				if rest, err := io.ReadAll(c.lines); len(rest) > 0 || err == nil && p.seesBreak() {
					t.Errorf("then comes %q, and a clean end", rest)
				}
				log.broken.Store(false)
			}},
			{"the filter is none", func(t *testing.T) {
				if c, err := s.get(t.Context(), s.dial(t), query("a..b")); err != nil || c.res.StatusCode != 400 {
					t.Error(c, err)
				}
			}},
			{"HTTP/1: HEAD", func(t *testing.T) {
				res, err := http.Head("http://" + s.addr + "/?topic=a")
				if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
					t.Error(res, err)
				}
				http.DefaultClient.CloseIdleConnections()
			}},
		} {
			if strings.HasPrefix(tt.name, "HTTP/1: ") && !slices.Contains(tcpPaths, p) {
				continue
			}
			t.Run(tt.name, func(t *testing.T) {
				for range 2 {
					tt.end(t)
					s.vacated(t)
				}
			})
		}
		// All places are there again, and no more.
		var all []*client
		for range most {
			all = append(all, s.stream(t, query("a")).opened(t))
		}
		if c := s.refused(t, "Accept", "text/event-stream"); c.res.StatusCode != 200 {
			t.Errorf("an EventSource more gets %s", c.res.Status)
		} else if p != iterator {
			c.unavailable(t, "", !p.seesBreak())
		}
		if res := s.refused(t).res; res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("curl gets %s", res.Status)
		}
		publish(t, s.Hub, "a:x")
		for _, c := range all {
			c.expect(t, "x")
		}
	})
}

// A topic's subscribers are counted, those too that catch up just now, and each once.
func TestPathSubscribersOfATopic(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		s := p.station(t, nil, &hub.Options{Window: 2}, nil)
		s.publishSeen(t, large("a.x", "", 800)...)
		count := func(topic string) int {
			_, n, err := s.Topic(t.Context(), topic)
			if err != nil && !errors.Is(err, eventlog.ErrNotFound) {
				t.Fatal(err)
			}
			return n
		}
		var all []*client
		for i, topics := range []string{"a.x", "a.* a.x **", "a.**", "b", "a.x"} {
			from := "now"
			if i%2 == 0 {
				from = "start" // it does not read, and so catches up for as long
			}
			all = append(all, s.stream(t, query(topics, "from", from)).opened(t))
		}
		for topic, want := range map[string]int{"a.x": 4, "a.y": 2, "b": 2, "c": 1, "a.b.c": 2} {
			eventually(t, fmt.Sprintf("%s has %d subscribers", topic, want), func() bool { return count(topic) == want })
		}
		all[0].expect(t, data(large("a.x", "", 800))...) // now it is live
		if n := count("a.x"); n != 4 {
			t.Errorf("when one has caught up there are %d", n)
		}
		for i, c := range all {
			c.conn.Close()
			want := []int{3, 2, 1, 1, 0}[i]
			eventually(t, fmt.Sprintf("there are %d", want), func() bool { return count("a.x") == want })
		}
		s.vacated(t)
	})
}

// A client that reads nothing of an opening that is larger than its socket.
func TestPathOpeningThatIsNotTaken(t *testing.T) {
	on(t, tcpPaths, func(t *testing.T, p path) {
		s := p.station(t, nil, &hub.Options{Window: 2}, func(srv *http.Server) {
			inner := srv.Handler
			srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Large", strings.Repeat("x", 2<<20))
				inner.ServeHTTP(w, r)
			})
		})
		conn := s.dial(t)
		s.request(t, conn, query("a"))
		eventually(t, "the stream has a position", func() bool { return s.Stats().Subscribers == 1 })
		all := large("a", "", 100)
		s.publishSeen(t, all...)
		c := s.response(t, conn)
		c.opened(t).expect(t, data(all)...)
	})
}
