package hub_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// A stream that was admitted, and is opened only when the hub has closed, gets the answer of a hub
// that cannot take it. It takes no place.
func TestPathTooLate(t *testing.T) {
	on(t, ownPaths, func(t *testing.T, p path) {
		tooLate(t, p, "0w3k7zq4m8tc-42", func(s *station, open func()) {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			open()
		}, func(c *client) { c.unavailable(t, "E-42", !p.seesBreak()) })
	})
}

// So does one that is opened while the hub closes.
func TestPathTooLateForAShard(t *testing.T) {
	on(t, ownPaths, func(t *testing.T, p path) {
		for late, tries := false, 0; !late; tries++ {
			if tries == 20 {
				t.Fatal("the stream is never too late")
			}
			pause := time.Duration(tries+1) * 10 * time.Millisecond
			tooLate(t, p, "", func(s *station, open func()) {
				s.Drain()
				eventually(t, "the hub has drained", func() bool { return s.Drained() })
				release := s.HoldShards()
				closed := make(chan error)
				go func() { closed <- s.Close() }()
				time.Sleep(pause) // the hub closes
				open()
				time.Sleep(pause) // the stream opens
				release()
				if err := <-closed; err != nil {
					t.Error(err)
				}
			}, func(c *client) {
				begin, err := c.lines.Peek(len("event: tidings.unavailable"))
				late = string(begin) == "event: tidings.unavailable"
				switch {
				case late:
					c.unavailable(t, "", !p.seesBreak())
				case len(begin) == 0 && (err != io.EOF || !p.seesBreak()): // cut: a busy machine was too slow
				case !strings.HasPrefix(string(begin), "event: tidings.open"):
					t.Errorf("the stream begins with %q, %v", begin, err)
				}
			})
		}
	})
}

// Who does not accept an event stream gets a status, where the headers are not sent yet.
func TestPathTooLateForCurl(t *testing.T) {
	takenOver.skip(t)
	tooLate(t, takenOver, "", func(s *station, open func()) {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		open()
	}, func(c *client) {
		b, err := io.ReadAll(c.res.Body)
		if c.res.StatusCode != 503 || c.res.Header.Get("Retry-After") == "" || c.res.Header.Get("X-Own") != "1" || !c.res.Close || len(b) == 0 || err != nil {
			t.Errorf("curl gets %s %v %q, %v", c.res.Status, c.res.Header, b, err)
		}
	}, "Accept", "*/*")
}

// tooLate asks for a stream with a last id. When it is admitted, between is called, which calls
// open to have it opened. answered gets the answer.
func tooLate(t *testing.T, p path, lastID string, between func(s *station, open func()), answered func(*client), header ...string) {
	t.Helper()
	admitted, open := make(chan struct{}), make(chan struct{})
	var s *station
	s = p.station(t, nil, nil, func(srv *http.Server) {
		srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Own", "1")
			stream, err := s.EventsHandler(r, hub.Subscription{Filters: topics.MustFilters("a")})
			if err != nil {
				t.Error(err)
			}
			close(admitted)
			<-open
			stream.ServeHTTP(w, r)
			clear(w.Header()) // the answer does not need it any more
		})
	})
	if header == nil {
		header = []string{"Accept", "text/event-stream"}
	}
	if lastID != "" {
		header = append(header, "Last-Event-ID", lastID)
	}
	done, conn := make(chan struct{}), s.dial(t)
	go func() {
		defer close(done)
		c, err := s.get(t.Context(), conn, query("a"), header...)
		if err != nil {
			t.Error(err)
			return
		}
		if c.res.Header.Get("X-Own") != "1" {
			t.Errorf("the answer has the header %v", c.res.Header)
		}
		answered(c)
	}()
	<-admitted
	between(s, func() { close(open) })
	<-done
	s.vacated(t)
}
