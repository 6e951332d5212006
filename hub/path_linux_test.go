package hub_test

import (
	"net/http"
	"syscall"
	"testing"

	"example.com/tidings/hub/stats"
)

// A process that has no descriptor for a stream says so politely, keeps the streams it
// has, and takes others when it has some again.
func TestPathWithoutDescriptors(t *testing.T) {
	none := make(chan bool, 1)
	none <- false
	s := takenOver.station(t, nil, nil, func(srv *http.Server) {
		inner := srv.Handler
		srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			without := <-none
			defer func() { none <- without }()
			if without {
				var was syscall.Rlimit
				if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
					t.Error(err)
				}
				// The connection itself was accepted just before.
				syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: was.Max})
				defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)
			}
			inner.ServeHTTP(w, r)
		})
	})
	// set says whether there are none, once no request is under way.
	set := func(without bool) { <-none; none <- without }
	before := s.stream(t, query("a")).opened(t)
	set(true)
	for range 3 {
		if c := s.refused(t, "Accept", "text/event-stream"); c.res.StatusCode != 200 || c.res.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("an EventSource gets %s %v", c.res.Status, c.res.Header)
		} else {
			c.unavailable(t, "", false)
		}
		set(true)
		if res := s.refused(t).res; res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !res.Close {
			t.Errorf("curl gets %s %v", res.Status, res.Header)
		}
		set(true)
	}
	set(false)
	after := s.stream(t, query("a")).opened(t)
	publish(t, s.Hub, "a:x")
	before.expect(t, "x")
	after.expect(t, "x")
	if figures := s.Stats(); figures.Subscribers != 2 || figures.Paths[stats.PathTakenOver].Streams != 2 || figures.Paths[stats.PathNetHTTP].Begun != 0 {
		t.Errorf("%+v", figures)
	}
}
