package hub_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// A client has a stream.
type client struct {
	wire
	conn net.Conn
	res  *http.Response
	id   string // of the last event that event has read
}

// opened reads tidings.open, of which the stream has a position.
func (c *client) opened(t *testing.T) *client {
	t.Helper()
	if ev := c.event(t); ev.Type != hub.OpenEventType {
		t.Fatalf("the first event is %+v", ev)
	}
	return c
}

// A seen is an event as it was read, with the comments before it.
type seen struct {
	Type, Data, ID string
	comments       int
}

// event reads an event.
func (c *client) event(t *testing.T) seen {
	t.Helper()
	ev, err := c.next()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func (c *client) next() (ev seen, err error) {
	for {
		line, err := c.lines.ReadString('\n')
		if err != nil {
			return ev, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "\n":
			c.id = ev.ID
			return ev, nil
		case field == "":
			ev.comments++
		case field == "event":
			ev.Type = value
		case field == "id":
			ev.ID = value
		case field == "data" && ev.Data != "":
			ev.Data += "\n" + value
		case field == "data":
			ev.Data = value
		}
	}
}

// gap returns the gap that an event tells of.
func (ev seen) gap() (gap sse.GapError, ok bool) {
	if ev.Type != sse.GapEventType {
		return gap, false
	}
	err := json.Unmarshal([]byte(ev.Data), &gap) // whose names differ in case only
	return gap, err == nil
}

// String returns the event as "data", or as "gap reason missed".
func (ev seen) String() string {
	if gap, ok := ev.gap(); ok {
		return fmt.Sprintf("gap %s %d", gap.Reason, gap.Missed)
	}
	return ev.Data
}

// expect compares the events that come next, passing over keep-alives.
func (c *client) expect(t *testing.T, want ...string) {
	t.Helper()
	for i, w := range want {
		ev := c.event(t)
		for ev.Type == hub.PositionEventType {
			ev = c.event(t)
		}
		if ev.String() != w {
			t.Fatalf("event %d is %.100q, want %.100q", i, ev, w)
		}
	}
}

// ended reads how the hub ends a stream, and returns the id of the last event. Only a topic that
// has ended makes a complete response. A sequence has an error instead of the event.
func (s *station) ended(t *testing.T, c *client, reason string) (id string) {
	t.Helper()
	if s.path == iterator {
		if rest, err := io.ReadAll(c.lines); len(rest) > 0 || err == nil {
			t.Fatalf("the stream goes on with %q, and ends with %v", rest, err)
		}
		return ""
	}
	return c.end(t, reason, reason == hub.EndFinished || !s.path.seesBreak())
}
