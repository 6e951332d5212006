package eventsource_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventsource"
)

// Each row is a server and the bounds of the waits before its second request and
// later ones.
func TestWaits(t *testing.T) {
	status := func(code int, name, value string) reply {
		return reply{status: code, header: http.Header{name: {value}}, end: io.EOF}
	}
	cut := stream("data: a\n\n", errCut)
	for _, tt := range []struct {
		name    string
		opts    eventsource.Options
		replies []reply
		bounds  [][2]time.Duration
	}{
		{
			"errors of the network double the backoff up to 30 s", eventsource.Options{}, []reply{{refuse: errCut}},
			[][2]time.Duration{{500 * ms, s}, {s, 2 * s}, {2 * s, 4 * s}, {4 * s, 8 * s}, {8 * s, 16 * s}, {15 * s, 30 * s}, {15 * s, 30 * s}, {15 * s, 30 * s}},
		},
		{"a stream that ends at once", eventsource.Options{}, []reply{cut}, [][2]time.Duration{{500 * ms, s}, {s, 2 * s}, {2 * s, 4 * s}}},
		{
			"a stream of 59 s is not healthy", eventsource.Options{}, []reply{lasting(59*s, "data: a\n\n")},
			[][2]time.Duration{{59500 * ms, 60 * s}, {60 * s, 61 * s}, {61 * s, 63 * s}},
		},
		{
			"a stream of 60 s is healthy", eventsource.Options{}, []reply{{refuse: errCut}, {refuse: errCut}, lasting(60*s, "data: a\n\n")},
			[][2]time.Duration{{500 * ms, s}, {s, 2 * s}, {60500 * ms, 61 * s}, {60500 * ms, 61 * s}},
		},
		{
			"retry holds until the next one", eventsource.Options{},
			[]reply{stream("retry: 7000\n\n", errCut), {refuse: errCut}, stream("retry: 20000\n", errCut), {refuse: errCut}},
			[][2]time.Duration{{7 * s, 10500 * ms}, {7 * s, 10500 * ms}, {20 * s, 30 * s}, {20 * s, 30 * s}},
		},
		{
			"the backoff exceeds a short retry", eventsource.Options{}, []reply{stream("retry: 100\n\n", errCut), {refuse: errCut}},
			[][2]time.Duration{{500 * ms, s}, {s, 2 * s}, {2 * s, 4 * s}},
		},
		{
			"Retry-After counts once", eventsource.Options{}, []reply{status(503, "Retry-After", "10"), {refuse: errCut}},
			[][2]time.Duration{{10 * s, 15 * s}, {s, 2 * s}, {2 * s, 4 * s}},
		},
		{
			"Retry-After goes before retry", eventsource.Options{},
			[]reply{stream("retry: 40000\n\n", errCut), status(429, "Retry-After", "10"), {refuse: errCut}},
			[][2]time.Duration{{40 * s, 60 * s}, {10 * s, 15 * s}, {40 * s, 60 * s}},
		},
		{
			"Retry-After as a date", eventsource.Options{}, []reply{status(503, "Retry-After", "Sat, 01 Jan 2000 00:00:20 GMT")},
			[][2]time.Duration{{20 * s, 30 * s}},
		},
		{
			"a date in the past is no wait, once", eventsource.Options{}, []reply{status(503, "Retry-After", "Fri, 31 Dec 1999 00:00:20 GMT")},
			[][2]time.Duration{{0, 0}, {500 * ms, s}, {s, 2 * s}},
		},
		{"Retry-After that is no time", eventsource.Options{}, []reply{status(503, "Retry-After", "soon")}, [][2]time.Duration{{500 * ms, s}}},
		{"a negative Retry-After", eventsource.Options{}, []reply{status(503, "Retry-After", "-5")}, [][2]time.Duration{{500 * ms, s}}},
		{
			"an endless Retry-After is an hour", eventsource.Options{}, []reply{status(503, "Retry-After", strings.Repeat("9", 30))},
			[][2]time.Duration{{time.Hour, 90 * time.Minute}},
		},
		{
			"an endless retry is an hour", eventsource.Options{}, []reply{stream("retry: "+strings.Repeat("9", 30)+"\n\n", errCut)},
			[][2]time.Duration{{time.Hour, 90 * time.Minute}},
		},
		{"Delay is a wish like retry", eventsource.Options{Delay: 5 * s}, []reply{cut}, [][2]time.Duration{{5 * s, 7500 * ms}}},
		{
			"retry goes before Delay", eventsource.Options{Delay: 50 * s}, []reply{stream("retry: 3000\n\n", errCut)},
			[][2]time.Duration{{3 * s, 4500 * ms}},
		},
		{"no delay after a stream", eventsource.Options{Delay: -1}, []reply{cut}, [][2]time.Duration{{0, 0}, {0, 0}, {0, 0}}},
		{
			"no delay, but a backoff without a stream", eventsource.Options{Delay: -1}, []reply{{refuse: errCut}},
			[][2]time.Duration{{0, 0}, {500 * ms, s}, {s, 2 * s}},
		},
		{"retry: 0 is at once", eventsource.Options{}, []reply{stream("retry: 0\n\n", errCut)}, [][2]time.Duration{{0, 0}, {0, 0}}},
		{
			"tidings.unavailable is no open stream", eventsource.Options{},
			[]reply{stream("event: tidings.unavailable\nretry: 5000\ndata: {}\n\n", nil)},
			[][2]time.Duration{{5 * s, 7500 * ms}, {5 * s, 7500 * ms}, {5 * s, 7500 * ms}, {5 * s, 8 * s}, {8 * s, 16 * s}},
		},
		{
			"tidings.end does not wait for the end of the response", eventsource.Options{},
			[]reply{stream("event: tidings.end\nretry: 3000\ndata: {\"reason\":\"stopping\"}\n\n", nil)},
			[][2]time.Duration{{3 * s, 4500 * ms}},
		},
		{"a server that does not answer", eventsource.Options{}, []reply{{mute: true}}, [][2]time.Duration{{20500 * ms, 21 * s}, {21 * s, 22 * s}}},
		{
			"three connections without a byte", eventsource.Options{}, []reply{lasting(10*s, "")},
			[][2]time.Duration{{10500 * ms, 11 * s}, {11 * s, 12 * s}, {40 * s, 40 * s}, {40 * s, 40 * s}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := inOrder(tt.replies...)
				enough := errors.New("enough")
				tt.opts.Decide = func(f *eventsource.Failure) {
					if srv.count() > len(tt.bounds) {
						f.Err, f.Final = enough, true
					}
				}
				if o := collect(t.Context(), srv.client(&tt.opts), nil); o.last != enough {
					t.Fatalf("ended with %v", o.last)
				}
				for i, gap := range srv.gaps() {
					if low, high := tt.bounds[i][0], tt.bounds[i][1]; gap < low || gap > high {
						t.Errorf("request %d came after %v, want %v to %v", i+2, gap, low, high)
					}
				}
			})
		})
	}
}

const (
	ms = time.Millisecond
	s  = time.Second
)

// Clients that lost the same server do not come back together, and none comes
// earlier than the server asked.
func TestWaitsAreSpread(t *testing.T) {
	for _, tt := range []struct {
		name      string
		reply     reply
		low, high time.Duration
	}{
		{"retry: 2000", stream("retry: 2000\n\ndata: a\n\n", errCut), 2 * s, 3 * s},
		{"the first backoff", reply{refuse: errCut}, 500 * ms, s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tenths [10]int // how many clients come in each tenth of the time
				for range 1000 {
					srv := inOrder(tt.reply, noContent)
					collect(t.Context(), srv.client(nil), nil)
					wait := srv.gaps()[0]
					if wait < tt.low || wait > tt.high {
						t.Fatalf("waited %v, want %v to %v", wait, tt.low, tt.high)
					}
					tenths[min(10*(wait-tt.low)/(tt.high-tt.low), 9)]++
				}
				if slices.Min(tenths[:]) < 50 || slices.Max(tenths[:]) > 160 {
					t.Errorf("of 1,000 clients %v come in each tenth of the time", tenths)
				}
			})
		})
	}
}

// A server that accepts each stream and cuts it makes no storm.
func TestAServerThatOpensAndCutsGetsFewRequests(t *testing.T) {
	for _, text := range []string{"", "data: a\n\n", "retry: 1\n\n"} {
		synctest.Test(t, func(t *testing.T) {
			srv := inOrder(stream(text, errCut))
			runFor(t, srv.client(nil), 10*time.Minute)
			if n := srv.count(); n > 45 {
				t.Errorf("%q: %d requests in ten minutes", text, n)
			}
			if gap := slices.Min(srv.gaps()); gap < 500*ms {
				t.Errorf("%q: two requests within %v", text, gap)
			}
		})
	}
}

func TestDecideChangesTheRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(reply{status: 404, end: io.EOF}, reply{refuse: errCut}, stream("data: a\n\n", errCut), reply{status: 503, end: io.EOF})
		var seen []string
		c := srv.client(&eventsource.Options{Decide: func(f *eventsource.Failure) {
			seen = append(seen, fmt.Sprint(f.Attempt, f.Opened, f.Final))
			status, ok := f.Err.(*eventsource.StatusError)
			f.Final = ok && status.Status == 503
			f.Wait = 3 * s
		}})
		o := collect(t.Context(), c, nil)
		o.check(t, "a")
		if status, ok := o.last.(*eventsource.StatusError); !ok || status.Status != 503 {
			t.Errorf("ended with %v", o.last)
		}
		if got := srv.gaps(); !slices.Equal(got, []time.Duration{3 * s, 3 * s, 3 * s}) {
			t.Errorf("waits %v", got)
		}
		if want := []string{"1 false true", "2 false false", "3 true false", "4 false false"}; !slices.Equal(seen, want) {
			t.Errorf("failures %q, want %q", seen, want)
		}
	})
}

func TestReconnectEndsTheConnectionAndTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(stream("id: 1\ndata: a\n\n", nil), reply{refuse: errCut}, stream("data: b\n\n", nil))
		c := srv.client(&eventsource.Options{Delay: time.Hour})
		c.Reconnect() // no loop, nothing happens
		go func() {
			time.Sleep(5 * s)
			c.Reconnect() // ends the first stream
			c.Reconnect()
			time.Sleep(5 * s)
			c.Reconnect() // ends the wait
		}()
		o := collect(t.Context(), c, func(o *outcome) bool { return len(o.events) == 2 })
		o.check(t, "a", "b")
		if got := srv.gaps(); !slices.Equal(got, []time.Duration{5 * s, 5 * s}) {
			t.Errorf("waits %v", got)
		}
		if got := srv.sent("Last-Event-ID"); !slices.Equal(got, []string{"", "1", "1"}) {
			t.Errorf("last event IDs %q", got)
		}
	})
}

// Reconnect in an event that is the last of its stream needs no wait either.
func TestReconnectAtTheEndOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(stream("data: a\n\n", io.EOF), stream("data: b\n\n", nil))
		c := srv.client(&eventsource.Options{Delay: time.Hour})
		collect(t.Context(), c, func(o *outcome) bool { c.Reconnect(); return len(o.events) == 2 })
		if got := srv.gaps(); !slices.Equal(got, []time.Duration{0}) {
			t.Errorf("waits %v", got)
		}
	})
}

// Reconnect after the end of a stream and before the wait ends that wait, too.
func TestReconnectBeforeTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(reply{refuse: errCut}, stream("data: a\n\n", errCut), stream("data: b\n\n", nil))
		var c *eventsource.Client
		c = srv.client(&eventsource.Options{Delay: time.Hour, Decide: func(*eventsource.Failure) { c.Reconnect() }})
		collect(t.Context(), c, func(o *outcome) bool { return len(o.events) == 2 })
		if got := srv.gaps(); !slices.Equal(got, []time.Duration{0, 0}) {
			t.Errorf("waits %v", got)
		}
	})
}

// An error, the watchdog and Reconnect in one instant are one failure.
func TestOneFailureIsOneReconnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := inOrder(reply{parts: []part{{0, ": a\n"}, {s + 125*ms, ""}}, end: errCut}, stream("data: b\n\n", nil))
		c := srv.client(&eventsource.Options{MaxSilence: s})
		go func() {
			time.Sleep(s + 125*ms)
			c.Reconnect()
		}()
		collect(t.Context(), c, func(o *outcome) bool { time.Sleep(500 * ms); return true })
		if n := srv.count(); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}
