package eventsource_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventsource"
	"example.com/tidings/sse"
)

// Each row is what a first response brings, and the last event ID of the second
// request.
func TestThePositionIsTheLastEventID(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
	}{
		{"an event", "id: 1\ndata: a\n\n", "1"},
		{"an event without an id after it", "id: 1\ndata: a\n\ndata: b\n\n", "1"},
		{"an id without data", "id: 1\ndata: a\n\nid: 2\n\n", "2"},
		{"an empty id", "id: 1\ndata: a\n\nid\ndata: b\n\n", ""},
		{"an empty id without data", "id: 1\ndata: a\n\nid:\n\n", ""},
		{"an id with a NUL", "id: 1\ndata: a\n\nid: 2\x003\ndata: b\n\n", "1"},
		{"an event that is not finished", "id: 1\ndata: a\n\nid: 2\ndata: b\n", "1"},
		{"an id that is not finished", "id: 1\ndata: a\n\nid: 2\n", "1"},
		{"tidings.open", opening(s), "p"},
		{"tidings.position", "event: tidings.position\ndata: {}\nid: 9\n\n", "9"},
		{"tidings.gap", "event: tidings.gap\ndata: {\"next\":\"8\"}\nid: 8\n\n", "8"},
		{"tidings.end", "event: tidings.end\ndata: {}\nid: 7\n\n", "7"},
		{"tidings.unavailable with its own id", "event: tidings.unavailable\ndata: {}\nid: 0\n\n", "0"},
		{"tidings.unavailable without an id", "event: tidings.unavailable\ndata: {}\n\n", "0"},
		{"nothing", "", "0"},
		{"an event that is too large", "data: " + strings.Repeat("x", 200) + "\nid: 6\n\n", "6"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := inOrder(stream(tt.text, errCut), noContent)
				c := srv.client(&eventsource.Options{LastEventID: "0", MaxEventSize: 100})
				collect(t.Context(), c, nil)
				if got := srv.sent("Last-Event-ID")[1]; got != tt.want || c.LastEventID() != tt.want {
					t.Errorf("sent %q, and the position is %q, want %q", got, c.LastEventID(), tt.want)
				}
			})
		})
	}
}

// The position moves when the consumer comes back. So the event in whose handling
// the consumer stops comes again.
func TestThePositionMovesWhenTheConsumerComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = "id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: c\n\n"
		srv := inOrder(stream(text, nil))
		c := srv.client(nil)
		for ev, err := range c.Events(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if want := map[string]string{"1": "", "2": "1"}[ev.ID]; c.LastEventID() != want {
				t.Errorf("in event %s the position is %q", ev.ID, c.LastEventID())
			}
			if ev.ID == "2" {
				break
			}
		}
		func() {
			defer func() { recover() }()
			for range c.Events(t.Context()) {
				panic("the consumer")
			}
		}()
		for range c.Events(t.Context()) {
			break
		}
		if got := srv.sent("Last-Event-ID"); !slices.Equal(got, []string{"", "1", "1"}) {
			t.Errorf("last event IDs %q", got)
		}
	})
}

func TestGapsAndLargeEventsDoNotEndTheSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := "data: a\nid: 1\n\n" +
			"event: tidings.gap\ndata: {\"reason\":\"expired\",\"after\":\"1\",\"next\":\"4\",\"missed\":2}\nid: 4\n\n" +
			"event: tidings.gap\ndata: no JSON\nid: 5\n\n" +
			"data: " + strings.Repeat("x", 300) + "\ndata: y\nid: 6\n\n" +
			"data: b\nid: 7\n\n"
		srv := inOrder(stream(text, nil))
		o := collect(t.Context(), srv.client(&eventsource.Options{MaxEventSize: 100}), func(o *outcome) bool { return len(o.events) == 2 })
		o.check(t, "a", "b")
		if srv.count() != 1 || len(o.errs) != 3 {
			t.Fatalf("%d requests, errors %v", srv.count(), o.errs)
		}
		for i, want := range []sse.GapError{{Reason: "expired", After: "1", Next: "4", Missed: 2}, {After: "4", Next: "5"}} {
			if gap, ok := o.errs[i].(*sse.GapError); !ok || *gap != want {
				t.Errorf("error %d is %#v", i, o.errs[i])
			}
		}
		if large, ok := o.errs[2].(*eventsource.TooLargeError); !ok || *large != (eventsource.TooLargeError{Limit: 100, Size: 302, ID: "6"}) {
			t.Errorf("the error is %#v", o.errs[2])
		}
		if !errors.Is(o.errs[2], sse.ErrEventTooLarge) {
			t.Errorf("%v is no ErrEventTooLarge", o.errs[2])
		}
	})
}

func TestHubEventsAreYieldedOnDemand(t *testing.T) {
	text := opening(s) + "data: a\nid: 1\n\nevent: tidings.position\ndata: {}\nid: 2\n\nevent: tidings.live\ndata: {}\nid: 2\n\nevent: tidings.end\ndata: {\"reason\":\"limit\"}\nid: 3\n\n"
	for _, tt := range []struct {
		asked bool
		want  string
	}{
		{false, "- tidings.live"},
		{true, "tidings.open - tidings.position tidings.live tidings.end tidings.unavailable"},
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := inOrder(stream(text, nil), stream("event: tidings.unavailable\ndata: {}\n\n", nil), noContent)
			var causes []string
			o := collect(t.Context(), srv.client(&eventsource.Options{HubEvents: tt.asked, Decide: func(f *eventsource.Failure) {
				causes = append(causes, f.Err.Error())
			}}), nil)
			var types []string
			for _, ev := range o.events {
				if ev.Type == "" {
					ev.Type = "-"
				}
				types = append(types, ev.Type)
			}
			if got := strings.Join(types, " "); got != tt.want {
				t.Errorf("types %q, want %q", got, tt.want)
			}
			if want := []string{"eventsource: the hub has ended the stream (limit)", eventsource.ErrUnavailable.Error()}; !slices.Equal(causes, want) {
				t.Errorf("causes %q", causes)
			}
		})
	}
}

func TestStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(reply{status: 503, end: io.EOF}, lasting(60*s, "data: a\n\n"), noContent)
		var got []string
		c := srv.client(&eventsource.Options{OnState: func(s eventsource.State) {
			line := fmt.Sprint(s.Phase, " ", s.Attempt, " ", s.Wait > 0)
			if s.Err != nil {
				line += " " + s.Err.Error()
			}
			got = append(got, line)
		}})
		collect(t.Context(), c, nil)
		want := []string{
			"connecting 0 false", "waiting 1 true eventsource: http://hub.test/events answered 503 Service Unavailable",
			"connecting 1 false", "open 1 false", "waiting 1 true eventsource: the server has ended the stream",
			"connecting 1 false",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

func TestCommentsComeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var got []string
		note := func(s string) { got = append(got, fmt.Sprint(time.Since(start), " ", s)) }
		srv := inOrder(reply{parts: []part{{s, ":a\n"}, {s, ": b\ndata: c\n\n: d\n"}, {s, "data: e\n"}, {s, "\n"}}, end: io.EOF}, noContent)
		c := srv.client(&eventsource.Options{OnComment: func(text string) { note(":" + text) }})
		collect(t.Context(), c, func(o *outcome) bool { note(o.events[len(o.events)-1].Data); return false })
		if want := []string{"1s :a", "2s :b", "2s c", "2s :d", "4s e"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

var errStop = errors.New("stop")

// Whatever the client does, the end of its context is the last error, once, and
// no request follows.
func TestTheContextEndsTheSequenceInEachPhase(t *testing.T) {
	for name, r := range map[string]reply{
		"connecting": {mute: true},
		"waiting":    {refuse: errCut},
		"reading":    stream("data: a\n\n", nil),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				go func() {
					time.Sleep(100 * ms)
					cancel(errStop)
				}()
				srv := inOrder(r)
				start := time.Now()
				o := collect(ctx, srv.client(nil), nil)
				if len(o.errs) != 1 || o.errs[0] != errStop || time.Since(start) != 100*ms {
					t.Errorf("after %v: errors %v", time.Since(start), o.errs)
				}
				time.Sleep(time.Minute)
				if srv.count() != 1 {
					t.Errorf("%d requests", srv.count())
				}
				if o := collect(ctx, srv.client(nil), nil); o.last != errStop || srv.count() != 1 {
					t.Errorf("done before: %v, %d requests", o.last, srv.count())
				}
			})
		})
	}
}

// Nothing comes after the context is done, although it has been read.
func TestNothingComesAfterTheContextIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		srv := inOrder(stream("data: a\n\ndata: b\n\ndata: c\n\n", nil))
		o := collect(ctx, srv.client(nil), func(o *outcome) bool { cancel(errStop); return false })
		o.check(t, "a")
		if o.last != errStop {
			t.Errorf("ended with %v", o.last)
		}
	})
}

// The stream is cut after each of its bytes, and the server continues after the
// last event ID, as a hub does. Every event comes once and in order.
func TestCutAtEachByteNothingIsLostOrDoubled(t *testing.T) {
	var events []string
	var want []string
	for i := range 8 {
		ev := sse.Event{ID: fmt.Sprint(i), Data: strings.Repeat("é\n", i)}
		b, err := ev.AppendText(nil)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, string(b))
		want = append(want, ev.Data)
	}
	want[0] = "x"
	events[0] = "data: x\r\nid: 0\r\n\r\n"
	for cut := 1; cut <= len(strings.Join(events, "")); cut++ {
		synctest.Test(t, func(t *testing.T) {
			srv := &server{}
			srv.reply = func(n int, req *http.Request) reply {
				next := 0
				if id := req.Header.Get("Last-Event-ID"); id != "" {
					json.Unmarshal([]byte(id), &next)
					next++
				}
				text := strings.Join(events[next:], "")
				if n == 0 {
					return stream(text[:cut], errCut)
				}
				if next == len(events) {
					return noContent
				}
				return stream(text, errCut)
			}
			o := collect(t.Context(), srv.client(&eventsource.Options{Delay: -1}), nil)
			o.check(t, want...)
		})
	}
}
