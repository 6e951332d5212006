package sse_test

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"time"

	"example.com/tidings/sse"
	"example.com/tidings/stream"
)

// This handler sends three ticks, 20 ms apart.
func ExampleHandler() {
	type Tick struct {
		Seq     int    `json:"seq"`
		Message string `json:"message"`
	}
	ticks := sse.Handler(func(r *http.Request) (iter.Seq2[sse.Event, error], error) {
		paced := stream.Throttle(r.Context(), stream.Of(0, 1, 2), 20*time.Millisecond)
		return stream.Map(paced, func(seq int) (sse.Event, error) {
			return sse.JSON("tick", Tick{seq, fmt.Sprintf("tick %d", seq)})
		}), nil
	}, nil)

	show(ticks, "")
	// Output:
	// event: tick
	// data: {"seq":0,"message":"tick 0"}
	//
	// event: tick
	// data: {"seq":1,"message":"tick 1"}
	//
	// event: tick
	// data: {"seq":2,"message":"tick 2"}
}

// A client that reconnects sends the last id that it has in Last-Event-ID.
func ExampleLastEventID() {
	lines := []string{"zero", "one", "two", "three"}
	replay := sse.Handler(func(r *http.Request) (iter.Seq2[sse.Event, error], error) {
		next := 0
		if id, err := strconv.Atoi(sse.LastEventID(r)); err == nil && id >= 0 && id < len(lines) {
			next = id + 1
		}
		return func(yield func(sse.Event, error) bool) {
			for i := next; i < len(lines); i++ {
				if !yield(sse.Event{ID: strconv.Itoa(i), Data: lines[i]}, nil) {
					return
				}
			}
		}, nil
	}, nil)

	show(replay, "1")
	// Output:
	// data: two
	// id: 2
	//
	// data: three
	// id: 3
}

// While the stream is silent, comments keep proxies from closing the
// connection.
func ExampleServeOptions_keepAlive() {
	opts := &sse.ServeOptions{
		KeepAlive:      10 * time.Millisecond,
		KeepAliveEvent: sse.Event{Comment: "keep-alive"},
	}
	srv := httptest.NewServer(sse.Handler(func(r *http.Request) (iter.Seq2[sse.Event, error], error) {
		return func(func(sse.Event, error) bool) { <-r.Context().Done() }, nil
	}, opts))
	defer srv.Close()
	res, err := http.Get(srv.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	io.CopyN(os.Stdout, res.Body, int64(len(": keep-alive\n: keep-alive\n")))
	// Output:
	// : keep-alive
	// : keep-alive
}

// An error in the middle of a stream breaks the response, so that no client
// takes the partial response for a complete one.
func ExampleServe_error() {
	report := func(w http.ResponseWriter, r *http.Request) {
		err := sse.Serve(w, r, func(yield func(sse.Event, error) bool) {
			if yield(sse.Event{Data: "row 1"}, nil) {
				yield(sse.Event{}, errors.New("the database went away"))
			}
		}, nil)
		fmt.Println("for the log:", err)
	}

	show(http.HandlerFunc(report), "")
	// Output:
	// for the log: the database went away
	// data: row 1
	//
	// the client sees: unexpected EOF
}

// OnError turns an error into one last event, with a text written for the
// client.
func ExampleServeOptions_onError() {
	opts := &sse.ServeOptions{OnError: func(err error) (sse.Event, bool) {
		return sse.Event{Type: "failed", Data: "Please try again later."}, true
	}}
	report := func(w http.ResponseWriter, r *http.Request) {
		sse.Serve(w, r, func(yield func(sse.Event, error) bool) {
			if yield(sse.Event{Data: "row 1"}, nil) {
				yield(sse.Event{}, errors.New("the database went away"))
			}
		}, opts)
	}

	show(http.HandlerFunc(report), "")
	// Output:
	// data: row 1
	//
	// event: failed
	// data: Please try again later.
}

func ExampleDecode() {
	body := ": a comment\n" +
		"event: tick\ndata: one\ndata: two\nid: 7\n\n" +
		"data: three\n\n" +
		"data: cut sho"
	for ev, err := range sse.Decode(strings.NewReader(body), nil) {
		fmt.Printf("%q %q after %q %v\n", ev.Type, ev.Data, ev.ID, err)
	}
	// Output:
	// "tick" "one\ntwo" after "7" <nil>
	// "" "three" after "7" <nil>
}

func ExampleEvent_AppendText() {
	wire, err := sse.Event{ID: "7", Type: "greeting", Data: "hello\nworld"}.AppendText(nil)
	fmt.Printf("%s%v\n", wire, err)

	_, err = sse.Event{Type: "x\ndata: injected"}.AppendText(nil)
	fmt.Println(err)
	// Output:
	// event: greeting
	// data: hello
	// data: world
	// id: 7
	//
	// <nil>
	// sse: Event.Type contains a line end
}

// show serves one request and prints the response.
func show(h http.Handler, lastEventID string) {
	srv := httptest.NewServer(h)
	defer srv.Close()
	req, err := http.NewRequest("GET", srv.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	fmt.Printf("%s", body)
	if err != nil {
		fmt.Println("the client sees:", err)
	}
}
