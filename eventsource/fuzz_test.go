package eventsource_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"testing"

	"example.com/tidings/eventsource"
	"example.com/tidings/sse"
)

// FuzzEvents has a server send any bytes twice. Both times the client yields what
// the parser finds in them, and its position is that of the parser.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("data: a\nid: 1\n\n"))
	f.Add([]byte("id: 1\n\nevent: tidings.gap\ndata: {\"missed\":-1}\n\ndata: b\nid\n\n"))
	f.Add([]byte("event: tidings.open\ndata: {\"keepAlive\":1e99}\nid: 2\n\nevent: tidings.position\ndata\nid: 3\n\nretry: 0\n:c\n"))
	f.Add([]byte("event: tidings.end\ndata: {\"reason\":\"limit\"}\n\ndata: a\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var want []sse.Event
		position := ""
		read := func() {
			ended := false
			for ev := range sse.Decode(bytes.NewReader(stream), &sse.DecodeOptions{LastEventID: position, OnID: func(id string) {
				if !ended {
					position = id
				}
			}}) {
				if ended {
					break
				}
				position = ev.ID
				ended = ev.Type == "tidings.end" || ev.Type == "tidings.unavailable"
				want = append(want, ev)
			}
		}
		read()
		var end struct{ Reason string }
		if n := len(want); n > 0 && want[n-1].Type == "tidings.end" {
			json.Unmarshal([]byte(want[n-1].Data), &end)
		}
		if end.Reason == "finished" {
			return // the client does not come back
		}
		read()
		requests := 0
		c := eventsource.New("http://hub.test", &eventsource.Options{
			HubEvents: true,
			Decide:    func(f *eventsource.Failure) { f.Wait = 0 },
			HTTPClient: &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				res := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}, Request: req}
				if requests++; requests > 2 {
					res.StatusCode = http.StatusNoContent
				}
				res.Body = io.NopCloser(bytes.NewReader(stream))
				return res, nil
			})},
		})
		var got []sse.Event
		for ev, err := range c.Events(t.Context()) {
			if _, gap := err.(*sse.GapError); err != nil && !gap {
				t.Fatalf("ended with %v", err)
			}
			got = append(got, ev)
		}
		if !slices.Equal(got, want) || c.LastEventID() != position {
			t.Errorf("got  %q at %q\nwant %q at %q", got, c.LastEventID(), want, position)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
