package eventsource_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventsource"
)

func opening(keepAlive time.Duration) string {
	member := ""
	if keepAlive > 0 {
		member = fmt.Sprintf(`,"keepAlive":%d`, keepAlive.Milliseconds())
	}
	return "event: tidings.open\ndata: {\"topics\":[\"a\"],\"position\":\"p\"" + member + "}\nid: p\n\n"
}

// keptAlive is a stream of a hub with keep-alives.
func keptAlive(every time.Duration) reply {
	r := reply{parts: []part{{0, opening(every)}}}
	for range int(5*time.Minute/every) + 1 {
		r.parts = append(r.parts, part{every, ": keep-alive\n"})
	}
	return r
}

// A quiet stream with the hub's keep-alives, or without any, lives for ever.
func TestTheWatchdogLeavesHealthyStreamsAlone(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply reply
		opts  eventsource.Options
	}{
		{"1 s", keptAlive(s), eventsource.Options{}},
		{"60 s", keptAlive(60 * s), eventsource.Options{}},
		{"none", stream(opening(0), nil), eventsource.Options{}},
		{"another server", stream("data: a\n\n", nil), eventsource.Options{}},
		{"another server, nothing", stream("", nil), eventsource.Options{}},
		{"without a watchdog", stream(opening(s), nil), eventsource.Options{MaxSilence: -1}},
		{"the caller's time", keptAlive(15 * s), eventsource.Options{MaxSilence: 20 * s}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := inOrder(tt.reply)
				if runFor(t, srv.client(&tt.opts), 5*time.Minute); srv.count() != 1 {
					t.Errorf("%d requests", srv.count())
				}
			})
		})
	}
}

func TestTheWatchdogGivesSilentStreamsUp(t *testing.T) {
	for _, tt := range []struct {
		name    string
		replies []reply
		opts    eventsource.Options
		after   time.Duration // the watchdog's time, with the second in which a byte may still come
	}{
		{"15 s", []reply{stream(opening(15*s), nil), noContent}, eventsource.Options{}, 36 * s},
		{"1 s", []reply{stream(opening(s), nil), noContent}, eventsource.Options{}, 7*s + 875*ms},
		{"an hour", []reply{stream(opening(time.Hour), nil), noContent}, eventsource.Options{}, 2*time.Hour + 6*s},
		{"the caller's time", []reply{stream(opening(15*s), nil), noContent}, eventsource.Options{MaxSilence: 500 * ms}, 562500 * time.Microsecond},
		{"before the first byte", []reply{stream("", nil), noContent}, eventsource.Options{MaxSilence: 8 * s}, 9 * s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := inOrder(tt.replies...)
				tt.opts.Delay = -1
				var err error
				tt.opts.Decide = func(f *eventsource.Failure) { err = f.Err }
				collect(t.Context(), srv.client(&tt.opts), nil)
				if err != eventsource.ErrSilent || !slices.Equal(srv.gaps(), []time.Duration{tt.after}) {
					t.Errorf("reconnected after %v because of %v, want %v", srv.gaps(), err, tt.after)
				}
			})
		})
	}
}

// A hub that has said its keep-alive is watched from the first byte on when the
// client comes back.
func TestTheWatchdogKnowsTheHubAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(stream(opening(s), errCut), stream("", nil), noContent)
		collect(t.Context(), srv.client(&eventsource.Options{Delay: -1}), nil)
		if got := srv.gaps(); len(got) != 2 || got[1] != 7*s+875*ms {
			t.Errorf("waits %v", got)
		}
	})
}

// A consumer that takes a minute for each event is no dead server.
func TestTheWatchdogSleepsWhileTheConsumerWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reply{parts: []part{{0, opening(s)}}}
		for i := range 5 {
			r.parts = append(r.parts, part{s, fmt.Sprintf("data: %d\n\n", i)})
		}
		srv := inOrder(r)
		o := collect(t.Context(), srv.client(nil), func(o *outcome) bool {
			time.Sleep(time.Minute)
			return len(o.events) == 5
		})
		o.check(t, "0", "1", "2", "3", "4")
		if srv.count() != 1 {
			t.Errorf("%d requests", srv.count())
		}
	})
}

// A stopped process goes on: the timer is due, and the bytes that have waited
// come within the second after it.
func TestTheWatchdogWaitsForAByteThatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(reply{parts: []part{{0, opening(15 * s)}, {35*s + 900*ms, "data: a\n\n"}, {35*s + 900*ms, "data: b\n\n"}, {34 * s, ""}, {s, "data: c\n\n"}}})
		o := runFor(t, srv.client(nil), 2*time.Minute)
		o.check(t, "a", "b", "c")
		if srv.count() != 1 {
			t.Errorf("%d requests", srv.count())
		}
	})
}

// While a machine is suspended its timers stand still, and the clock of the wall
// does not.
func TestTheWatchdogNoticesThatTheMachineWasSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(stream(opening(15*s), nil), noContent)
		c := srv.client(&eventsource.Options{Delay: -1})
		woke := time.Now().Add(10 * s)
		c.SetClock(func() time.Time {
			if now := time.Now(); now.Before(woke) {
				return now
			}
			return time.Now().Round(0).Add(8 * time.Hour)
		})
		collect(t.Context(), c, nil)
		if got := srv.gaps(); len(got) != 1 || got[0] < 10*s || got[0] > 10*s+35*s/4+s {
			t.Errorf("reconnected after %v, 10 s of it before the night", got)
		}
	})
}

// A client of the caller, whose transport may hold a dead connection of HTTP/2,
// gets its idle connections closed.
func TestSilentConnectionsLeaveThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(stream("data: a\n\n", nil))
		pool := &pool{server: srv}
		closedAt := []int{}
		pool.closed = func() { closedAt = append(closedAt, srv.count()) }
		c := eventsource.New(streamURL, &eventsource.Options{HTTPClient: &http.Client{Transport: pool}, MaxSilence: s, Delay: -1})
		collect(t.Context(), c, func(o *outcome) bool { return len(o.events) == 4 })
		if len(closedAt) != 0 {
			t.Errorf("closed after connections %v, which brought events", closedAt)
		}
		srv.reply = func(int, *http.Request) reply { return stream("", nil) }
		c = eventsource.New(streamURL, &eventsource.Options{HTTPClient: &http.Client{Transport: pool}, MaxSilence: s, Delay: -1, Decide: func(f *eventsource.Failure) {
			f.Final = f.Attempt == 2
		}})
		before := srv.count()
		if o := collect(t.Context(), c, nil); !errors.Is(o.last, eventsource.ErrSilent) {
			t.Errorf("ended with %v", o.last)
		}
		if !slices.Equal(closedAt, []int{before + 2}) {
			t.Errorf("closed after connections %v, want %d", closedAt, before+2)
		}
	})
}

// So does one that holds a connection on which nothing is answered any more.
func TestConnectionsWithoutAnAnswerLeaveThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(stream(": a\n", nil), reply{mute: true}, reply{mute: true}, stream("data: a\n\n", nil))
		pool := &pool{server: srv}
		closedAt := []int{}
		pool.closed = func() { closedAt = append(closedAt, srv.count()) }
		c := eventsource.New(streamURL, &eventsource.Options{HTTPClient: &http.Client{Transport: pool}, MaxSilence: s})
		collect(t.Context(), c, func(o *outcome) bool { return len(o.events) == 1 })
		if !slices.Equal(closedAt, []int{2, 3}) {
			t.Errorf("closed after requests %v, want 2 and 3", closedAt)
		}
	})
}

type pool struct {
	*server
	closed func()
}

func (p *pool) CloseIdleConnections() { p.closed() }

func TestAMutedStreamIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mute := lasting(60*s, "")
		srv := inOrder(mute, mute, mute, lasting(s, "data: a\n\n"), mute)
		var phases []string
		c := srv.client(&eventsource.Options{OnState: func(s eventsource.State) {
			phases = append(phases, s.Phase.String())
			if s.Phase == eventsource.Muted && (!strings.Contains(s.Err.Error(), "proxy") || s.Wait < 30*time.Second) {
				t.Errorf("muted: %v, for %v", s.Err, s.Wait)
			}
		}})
		runFor(t, c, 330*s)
		want := "connecting open waiting connecting open waiting connecting open muted connecting open waiting connecting open waiting connecting open"
		if got := strings.Join(phases, " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}
