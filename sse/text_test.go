package sse_test

import (
	"errors"
	"io"
	"iter"
	"net/http"
	"testing"
	"testing/synctest"

	"example.com/tidings/internal/memhttp"
	"example.com/tidings/sse"
)

// ServeText sends encoded text unchanged, each item at once. The response ends
// in the same ways as with Serve.
func TestServeText(t *testing.T) {
	for name, tt := range map[string]struct {
		end   error
		clean bool
		rest  string
	}{
		"a clean end": {nil, true, ""},
		"an error":    {errors.New("out of order"), false, ""},
		"a gap":       {&sse.GapError{Missed: 3}, true, "event: tidings.gap\ndata: {\"missed\":3}\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const two = "data: 1\nid: 1\n\ndata: 2\nid: 2\n\n"
				next := make(chan struct{})
				srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					sse.ServeText(w, r, texts(next, two, tt.end), nil)
				}), nil)
				res, err := srv.Client(t, false).Get(srv.URL())
				if err != nil || res.Header.Get("Content-Type") != "text/event-stream" {
					t.Fatal(res, err)
				}
				defer res.Body.Close()
				got := make([]byte, len(two))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != two {
					t.Errorf("it begins with %q, %v", got, err)
				}
				close(next) // the text has arrived before the sequence goes on
				rest, err := io.ReadAll(res.Body)
				if string(rest) != tt.rest || (err == nil) != tt.clean {
					t.Errorf("it ends with %q, %v", rest, err)
				}
			})
		})
	}
}

// texts yields text. After next is closed, it also yields end if that is not
// nil.
func texts(next <-chan struct{}, text string, end error) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if !yield([]byte(text), nil) {
			return
		}
		<-next
		if end != nil {
			yield(nil, end)
		}
	}
}
