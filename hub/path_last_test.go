package hub_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// A searchedLog holds searches back until their context is done or it is released, but
// for the first free ones of Newest.
type searchedLog struct {
	eventlog.Log
	free     int
	begun    chan string // gets the name of each search that is held back
	ended    chan error  // gets the error of its context, or nil
	released chan struct{}
	release  func() // releases all, once
}

func newSearchedLog(free int) *searchedLog {
	released := make(chan struct{})
	return &searchedLog{eventlog.NewMemory(nil), free, make(chan string, 1), make(chan error, 1), released, sync.OnceFunc(func() { close(released) })}
}

// received receives what must come.
func received[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatal("it does not come")
	}
	return v
}

func (l *searchedLog) hold(ctx context.Context, name string) error {
	select {
	case l.begun <- name:
	default:
	}
	var err error
	select {
	case <-l.released:
	case <-ctx.Done():
		err = ctx.Err()
	}
	select {
	case l.ended <- err:
	default:
	}
	return err
}

func (l *searchedLog) Newest(ctx context.Context, filters []topics.Filter, after, upTo uint64, limit int) ([]uint64, uint64, error) {
	if l.free--; l.free < 0 {
		if err := l.hold(ctx, "Newest"); err != nil {
			return nil, 0, err
		}
	}
	return l.Log.Newest(ctx, filters, after, upTo, limit)
}

func (l *searchedLog) Back(ctx context.Context, filters []topics.Filter, n int, upTo uint64) (uint64, error) {
	if err := l.hold(ctx, "Back"); err != nil {
		return 0, err
	}
	return l.Log.Back(ctx, filters, n, upTo)
}

// The newest of many topics come in pieces: the stream opens, and the first come, before
// others are looked for.
func TestPathLastComesInPieces(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		const n = 1000
		log := newSearchedLog(1)
		s := p.station(t, log, nil, nil)
		t.Cleanup(log.release) // if the test fails
		var want []string
		for i := range n {
			publish(t, s.Hub, fmt.Sprintf("t.%d:%d", i, i))
			want = append(want, strconv.Itoa(i))
		}
		untilHead(s.Hub, n)
		c := s.stream(t, query("**", "from", "last")).opened(t)
		c.expect(t, want[:100]...)
		received(t, log.begun)
		publish(t, s.Hub, "t.999:again", "t.0:again") // meanwhile, one of which is no longer the newest
		log.release()
		c.expect(t, want[100:n-1]...)
		c.expect(t, "again", "again")
		publish(t, s.Hub, "t.1:live")
		c.expect(t, "live")
	})
}

// Whoever leaves ends the search for what comes next, and the one for where to begin.
func TestPathLeavingEndsSearches(t *testing.T) {
	on(t, tcpPaths, func(t *testing.T, p path) {
		for _, tt := range []struct {
			search string
			from   string
			free   int
		}{
			{"Newest", "last", 0},
			{"Newest", "last", 1},
			{"Newest", "last", 2},
			{"Back", "500", 0},
		} {
			t.Run(fmt.Sprintf("%s after %d", tt.search, tt.free), func(t *testing.T) {
				log := newSearchedLog(tt.free)
				s := p.station(t, log, nil, nil)
				t.Cleanup(log.release) // if the test fails
				for i := range 1000 {
					publish(t, s.Hub, fmt.Sprintf("t.%d:%d", i, i))
				}
				untilHead(s.Hub, 1000)
				conn := s.dial(t)
				s.request(t, conn, query("**", "from", tt.from))
				if tt.free > 0 {
					s.response(t, conn).opened(t)
				}
				if name := received(t, log.begun); name != tt.search {
					t.Fatalf("%s is held back", name)
				}
				conn.Close()
				if err := received(t, log.ended); err == nil {
					t.Error("the search ends without its context")
				}
				s.vacated(t)
			})
		}
	})
}

// A client that comes back while the newest of many topics come misses none of the others.
func TestLastResumes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		const n = 1000
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("t.%d:%d", i, i))
		}
		ids := publish(t, h, append(numbered("old", "", 600), all...)...)[600:]
		publish(t, h, "old:new")
		all = append(all, "old:new")
		sub := hub.Subscription{Filters: topics.MustFilters("**"), From: hub.FromLast()}
		for _, taken := range []int{0, 1, 255, 256, 257, 600, n} {
			s := subscribe(t, h, sub)
			s.want(t, all[:taken]...)
			s.stop()
			if taken > 0 {
				subscribe(t, h, hub.Subscription{Filters: sub.Filters, From: sub.From, LastEventID: ids[taken-1]}).want(t, all[taken:]...)
			}
		}
		events, err := h.Iterate(t.Context(), sub)
		if err != nil {
			t.Fatal(err)
		}
		for ev := range events {
			// None of the first records is the newest of its topic: it begins after them.
			if want := strings.TrimSuffix(ids[0], "-601") + "-600"; ev.ID != want {
				t.Errorf("the stream begins at %s, want %s", ev.ID, want)
			}
			break
		}
	})
}
