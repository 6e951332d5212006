package hub_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"example.com/tidings/hub"
)

// A session is a context that counts the functions which wait for its end.
type session struct {
	context.Context
	done chan struct{}

	mu      sync.Mutex
	waiting map[int]func()
	next    int
}

func newSession() *session {
	return &session{Context: context.Background(), done: make(chan struct{}), waiting: map[int]func(){}}
}

func (s *session) Done() <-chan struct{} { return s.done }

func (s *session) Err() error {
	select {
	case <-s.done:
		return context.Canceled
	default:
		return nil
	}
}

// AfterFunc is what [context.AfterFunc] calls.
func (s *session) AfterFunc(f func()) (stop func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Err() != nil {
		go f()
		return func() bool { return false }
	}
	n := s.next
	s.next++
	s.waiting[n] = f
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, there := s.waiting[n]
		delete(s.waiting, n)
		return there
	}
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.done)
	for _, f := range s.waiting {
		go f()
	}
	clear(s.waiting)
}

func (s *session) held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}

// A stream leaves nothing with its session, however it ends.
func TestPathSession(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		for name, way := range map[string]func(t *testing.T, s *station, ada *session, c *client){
			"the client leaves":   func(_ *testing.T, _ *station, _ *session, c *client) { c.conn.Close() },
			"the session is over": func(_ *testing.T, _ *station, ada *session, _ *client) { ada.end() },
			"the hub drains":      func(_ *testing.T, s *station, _ *session, _ *client) { s.Drain() },
			"the subject is disconnected": func(t *testing.T, s *station, _ *session, _ *client) {
				if err := s.Disconnect(t.Context(), "jwt:ada"); err != nil {
					t.Error(err)
				}
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ada := newSession()
				var s *station
				s = p.station(t, nil, nil, func(srv *http.Server) {
					srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						s.held(func(string) context.Context { return ada }).ServeHTTP(w, r)
					})
				})
				c := s.stream(t, query("a", "session", "ada", "subject", "jwt:ada")).opened(t)
				eventually(t, "the stream waits for its session", func() bool { return ada.held() == 1 })
				way(t, s, ada, c)
				s.vacated(t)
				eventually(t, "nothing waits for the session", func() bool { return ada.held() == 0 })
			})
		}
		t.Run("the session was over", func(t *testing.T) {
			t.Parallel()
			ada := newSession()
			ada.end()
			var s *station
			s = p.station(t, nil, nil, func(srv *http.Server) {
				srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					s.held(func(string) context.Context { return ada }).ServeHTTP(w, r)
				})
			})
			c := s.stream(t, query("a", "session", "ada"))
			s.vacated(t)
			publish(t, s.Hub, "a:1")
			rest, err := io.ReadAll(c.lines)
			if err == nil && p.seesBreak() || strings.Contains(string(rest), hub.EndRevoked) == (p == iterator) || strings.Contains(string(rest), "data: 1\n") {
				t.Errorf("the stream is %q, %v", rest, err)
			}
		})
	})
}
