package hub_test

import (
	"strings"
	"testing"
	"time"

	"example.com/tidings/hub"
)

// A silent stream gets a keep-alive, again and again: a comment, or the position when the
// log has gone on, from which a client that comes back goes on.
func TestPathKeepAlive(t *testing.T) {
	inTurn(t, ownPaths, func(t *testing.T, p path) {
		const keepAlive = 150 * time.Millisecond
		s := p.station(t, nil, &hub.Options{KeepAlive: keepAlive}, nil)
		all := make([]*client, 20)
		for i := range all {
			all[i] = s.stream(t, query("quiet")).opened(t)
		}
		// A machine that is busy may be late, but not by so much always.
		const slack = 150 * time.Millisecond
		late := func(c *client) (n int) {
			c.line(t)
			for range 3 {
				since := time.Now()
				if line := c.line(t); line != ": keep-alive\n" {
					t.Fatalf("then comes %q", line)
				}
				if time.Since(since) > keepAlive+slack {
					n++
				}
			}
			return n
		}
		for _, c := range all[:3] {
			tries := 10
			for ; tries > 0 && late(c) > 0; tries-- {
			}
			if tries == 0 {
				t.Error("of each three keep-alives one came late")
			}
		}
		ids := publish(t, s.Hub, "busy:1", "busy:2")
		for i, c := range all {
			ev := c.event(t)
			for ev.Type == hub.PositionEventType && ev.ID == ids[0] { // just between the two
				ev = c.event(t)
			}
			if ev.Type != hub.PositionEventType || ev.ID != ids[1] || ev.Data != `{"position":"`+ids[1]+`"}` {
				t.Fatalf("client %d gets %+v", i, ev)
			}
			if line := c.line(t); line != ": keep-alive\n" { // nothing is new
				t.Fatalf("then comes %q", line)
			}
		}
		publish(t, s.Hub, "quiet:3")
		again := s.stream(t, query("quiet"), "Last-Event-ID", ids[1]).opened(t)
		again.expect(t, "3")
	})
}

// line reads a line of a stream between two events.
func (c *client) line(t *testing.T) string {
	t.Helper()
	line, err := c.lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// A stream that gets messages is not sent any keep-alive, and neither is any stream
// when they are off.
func TestPathKeepAliveOfAStreamThatIsNotSilent(t *testing.T) {
	inTurn(t, ownPaths, func(t *testing.T, p path) {
		for _, keepAlive := range []time.Duration{150 * time.Millisecond, -1} {
			s := p.station(t, nil, &hub.Options{KeepAlive: keepAlive}, nil)
			c := s.stream(t, query("a")).opened(t)
			comments, breaks := 0, 0
			last := time.Now()
			for range 60 {
				publish(t, s.Hub, "a:x")
				if ev := c.event(t); ev.Type == "" {
					comments += ev.comments
				}
				// The machine may have made it a silent one. Each keep-alive takes more than two of these.
				breaks += int(time.Since(last) / (60 * time.Millisecond))
				last = time.Now()
				time.Sleep(10 * time.Millisecond)
			}
			if comments > breaks {
				t.Errorf("KeepAlive %v: there are %d keep-alives in between, with %d breaks", keepAlive, comments, breaks)
			}
		}
	})
}

// A client that has not been handed everything is told no position.
func TestPathNoPositionForWhoIsBehind(t *testing.T) {
	inTurn(t, ownPaths, func(t *testing.T, p path) {
		s := p.station(t, nil, &hub.Options{KeepAlive: 30 * time.Millisecond, Window: 4}, nil)
		c := s.stream(t, query("a")).opened(t)
		readOn := s.stall(t, c, "a")
		all := large("a", "", 100)
		for _, m := range all {
			s.publishSeen(t, m, "b:x")
			time.Sleep(time.Millisecond)
		}
		readOn()
		for _, want := range data(all) {
			if ev := c.event(t); ev.Data != want || ev.Type != "" {
				t.Fatalf("when %.10q is next comes %+v", want, ev)
			}
		}
		for ev := c.event(t); ; ev = c.event(t) {
			if ev.Type != hub.PositionEventType {
				t.Fatalf("then comes %+v", ev)
			}
			if strings.HasSuffix(ev.ID, "-201") {
				return
			}
		}
	})
}
