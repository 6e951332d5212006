package hub_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// held has the handler of a station take whose a stream is from the query.
func (s *station) held(session func(name string) context.Context) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		sub := hub.Subscription{Filters: topics.MustFilters(q["topic"]...), Subject: q.Get("subject"), NoEnd: true}
		sub.From, _ = hub.ParseFrom(q.Get("from"))
		sub.Issued, _ = time.Parse(time.RFC3339, q.Get("issued"))
		if name := q.Get("session"); name != "" {
			sub.Session = session(name)
		}
		s.serveSub(w, r, sub)
	})
}

// A stream ends as soon as its subject may no longer read it, whatever it does just then, and
// gets no message that was not under way. Other streams go on. Everything that was held for it is
// given back.
func TestPathRevoke(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		for _, how := range []string{"disconnect", "revoke", "session"} {
			for _, state := range []string{"live", "stalled", "reading from the log"} {
				if state != "live" && p == iterator {
					continue // its consumer is a handler that the hub does not know
				}
				t.Run(how+", "+state, func(t *testing.T) {
					t.Parallel()
					ada, over := context.WithCancel(context.Background())
					defer over()
					var s *station
					s = p.station(t, nil, &hub.Options{Window: 2}, func(srv *http.Server) {
						srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							s.held(func(string) context.Context { return ada }).ServeHTTP(w, r)
						})
					})
					s.publishSeen(t, large("big", "", 800)...)
					from, session := "now", ""
					if state == "reading from the log" {
						from = "start"
					}
					if how == "session" {
						session = "ada"
					}
					c := s.stream(t, query("a big", "from", from, "subject", "jwt:ada", "session", session)).opened(t)
					other := s.stream(t, query("a", "subject", "jwt:bob")).opened(t)
					if state == "stalled" {
						s.stall(t, c, "a")
						other.event(t)
					}
					switch how {
					case "disconnect":
						if err := s.Disconnect(t.Context(), "jwt:ada"); err != nil {
							t.Fatal(err)
						}
					case "revoke":
						if err := s.Revoke(t.Context(), "jwt:ada", time.Now()); err != nil {
							t.Fatal(err)
						}
					default:
						over()
					}
					if state == "live" {
						s.ended(t, c, hub.EndRevoked)
						publish(t, s.Hub, "a:1")
					} else { // it reads on when it is over
						eventually(t, "one stream is left", func() bool { open, _ := s.Streams(); return open == 1 })
						publish(t, s.Hub, "a:1")
						rest, err := io.ReadAll(c.lines)
						if err == nil && p.seesBreak() || strings.Contains(string(rest), "data: 1\n") {
							t.Errorf("it gets %d bytes and a clean end, %v", len(rest), err)
						}
					}
					other.expect(t, "1")
					if s.Revoked("jwt:ada", time.Time{}) != (how == "revoke") || s.Revoked("jwt:bob", time.Time{}) {
						t.Error("the wrong one is revoked")
					}
					if err := s.Disconnect(t.Context(), "jwt:bob"); err != nil {
						t.Fatal(err)
					}
					s.ended(t, other, hub.EndRevoked)
					s.vacated(t)
				})
			}
		}
	})
}

// A client can read its last event before the response breaks off: Chromium drops what a page has
// not read by then.
func TestPathLastEventIsRead(t *testing.T) {
	on(t, ownPaths, func(t *testing.T, p path) {
		var s *station
		s = p.station(t, nil, nil, func(srv *http.Server) {
			srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.held(nil).ServeHTTP(w, r) })
		})
		c := s.stream(t, query("a", "subject", "jwt:ada")).opened(t)
		begin := time.Now()
		if err := s.Disconnect(t.Context(), "jwt:ada"); err != nil {
			t.Fatal(err)
		}
		s.ended(t, c, hub.EndRevoked)
		if took := time.Since(begin); took < 300*time.Millisecond {
			t.Errorf("the response breaks off after %v", took)
		}
	})
}

// Who is revoked gets in only with a newer credential.
func TestRevoked(t *testing.T) {
	log := eventlog.NewMemory(nil)
	h := newHub(t, log, nil)
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	subscribe := func(h *hub.Hub, issued time.Time) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("a"), Subject: "jwt:ada", Issued: issued, NoEnd: true})
		return err
	}
	check := func(h *hub.Hub) {
		t.Helper()
		for issued, refused := range map[time.Time]bool{{}: true, at.Add(-time.Hour): true, at: true, at.Add(time.Second): false} {
			err := subscribe(h, issued)
			if end, ok := errors.AsType[*hub.EndError](err); ok != refused || ok && end.Reason != hub.EndRevoked || !ok && err != nil {
				t.Errorf("issued at %v: %v", issued, err)
			}
		}
	}
	if err := h.Revoke(t.Context(), "jwt:ada", at); err != nil {
		t.Fatal(err)
	}
	check(h)
	// An earlier time takes nothing back.
	if err := h.Revoke(t.Context(), "jwt:ada", at.Add(-24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	check(h)
	// Other hubs on the log know it at once, those of today and those that start later.
	second := newHub(t, log, nil)
	check(second)
	if err := h.Revoke(t.Context(), "jwt:eve", at); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other hub knows it", func() bool { return second.Revoked("jwt:eve", at) })
	if err := h.Disconnect(t.Context(), ""); err == nil {
		t.Error("nobody is disconnected")
	}
}

// A subscription for somebody says when it ends, or that it does not.
func TestSubscriptionNeedsAnEnd(t *testing.T) {
	h := newHub(t, eventlog.NewMemory(nil), nil)
	if _, err := h.Subscribe(t.Context(), hub.Subscription{Filters: topics.MustFilters("a"), Subject: "jwt:ada"}); err == nil {
		t.Error("an end that was forgotten means for ever")
	}
}

// openLate serves a stream some time after it was admitted, of which it tells.
func (s *station) openLate(w http.ResponseWriter, r *http.Request, admitted func(subject string)) {
	sub := hub.Subscription{Filters: topics.MustFilters("a"), Subject: r.URL.Query().Get("subject"), NoEnd: true}
	late := func() {
		admitted(sub.Subject)
		time.Sleep(rand.N(2 * time.Millisecond))
	}
	if s.path != iterator {
		if stream, err := s.EventsHandler(r, sub); err == nil {
			late()
			stream.ServeHTTP(w, r)
		}
		return
	}
	if events, err := s.Subscribe(r.Context(), sub); err == nil {
		late()
		for range events {
		}
	}
}

// survives fails the test if a stream goes on until the deadline of its connection.
func survives(t *testing.T, r io.Reader) {
	t.Helper()
	if _, err := io.Copy(io.Discard, r); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a stream survives")
	}
}

// Streams that are just opening do not escape.
func TestRevokeWhileStreamsOpen(t *testing.T) {
	on(t, []path{takenOver, http11, http10, h2c, iterator}, func(t *testing.T, p path) {
		var s *station
		var admitted sync.Map // numbers by subject
		s = p.station(t, nil, nil, func(srv *http.Server) {
			srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.openLate(w, r, func(subject string) {
					n, _ := admitted.Load(subject)
					n.(*atomic.Int32).Add(1)
				})
			})
		})
		const subjects, streams = 60, 42
		var all sync.WaitGroup
		for i := range subjects {
			subject := fmt.Sprint("jwt:", i)
			start, n := make(chan struct{}), new(atomic.Int32)
			admitted.Store(subject, n)
			var opening sync.WaitGroup
			for range streams {
				opening.Go(func() {
					<-start
					conn := s.dial(t)
					defer conn.Close()
					if p == h2c {
						if c, err := s.get(t.Context(), conn, query("a", "subject", subject)); err == nil {
							survives(t, c.lines)
						}
						return
					}
					s.request(t, conn, query("a", "subject", subject), "Connection", "close")
					survives(t, conn)
				})
			}
			opening.Go(func() {
				<-start
				for enough := rand.Int32N(streams/2) + 1; n.Load() < enough; {
					time.Sleep(20 * time.Microsecond)
				}
				if err := s.Revoke(t.Context(), subject, time.Now()); err != nil {
					t.Error(err)
				}
			})
			close(start)
			all.Go(opening.Wait)
			if i%10 == 9 {
				all.Wait()
			}
			if t.Failed() {
				return
			}
		}
		all.Wait()
		s.vacated(t)
	})
}
