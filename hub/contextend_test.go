package hub_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// A stream whose context is done, as that of a middleware with a timeout is, breaks off: a
// complete response would be the last word for several clients.
func TestContextThatEndsBreaksOff(t *testing.T) {
	h, err := hub.New(t.Context(), eventlog.NewMemory(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				returned <- context.Canceled
				panic(p)
			}
		}()
		both, stop := context.WithCancel(r.Context())
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		returned <- h.ServeEvents(w, r.WithContext(both), hub.Subscription{Filters: topics.MustFilters("a")})
	}))
	defer s.Close()
	res, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := res.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the response ends with %v, want io.ErrUnexpectedEOF", err)
	}
	if err := <-returned; !errors.Is(err, context.Canceled) {
		t.Errorf("ServeEvents returns %v", err)
	}
}
