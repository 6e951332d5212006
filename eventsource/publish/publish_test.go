package publish_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventsource/publish"
)

const s = time.Second

var (
	errCut  = errors.New("cut")
	errDial = &net.OpError{Op: "dial", Err: errors.New("connection refused")}
)

// Each row publishes three messages to a hub that answers as listed, and then
// stores everything. When it never stores, the client gives up.
func TestOutcomes(t *testing.T) {
	line := func(status int, name string) func([]sentLine) reply {
		return func(lines []sentLine) reply {
			return answers(status, lines, func(i int) string {
				if lines[i].Data != "1" {
					return ""
				}
				return fmt.Sprintf(`{"topic":"a","status":%d,"type":"urn:tidings:problem:%s","detail":"D."}`, status, name)
			})
		}
	}
	always := func(r reply) func([]sentLine) reply { return func([]sentLine) reply { return r } }
	cutAfter := func(n int) func([]sentLine) reply {
		return func(lines []sentLine) reply { r := stored(lines[:n]); r.cut = true; return r }
	}
	bad := func(number int) reply {
		r := refusal(422, "invalid-message")
		r.body = fmt.Sprintf(`{"type":"urn:tidings:problem:invalid-message","detail":"D.","line":%d}`, number)
		return r
	}
	for _, tt := range []struct {
		name     string
		answers  []func([]sentLine) reply
		forever  bool // the last answer is repeated
		want     string
		requests int // 0: several
	}{
		{"stored", nil, false, "stored stored stored", 1},
		{"no answer", []func([]sentLine) reply{always(reply{err: errCut})}, false, "stored stored stored", 2},
		{"no connection", []func([]sentLine) reply{always(reply{err: errDial})}, false, "stored stored stored", 2},
		{"an answer that is cut", []func([]sentLine) reply{cutAfter(1)}, false, "stored stored stored", 2},
		{"later", []func([]sentLine) reply{always(refusal(503, "stopping"))}, false, "stored stored stored", 2},
		{"a line, later", []func([]sentLine) reply{line(503, "unconfirmed")}, false, "stored stored stored", 2},
		{"a full disk", []func([]sentLine) reply{always(refusal(507, "insufficient-storage"))}, false, "stored stored stored", 2},
		{"never an answer", []func([]sentLine) reply{always(reply{err: errCut})}, true, "unknown unknown unknown", 0},
		{"an answer that is always cut", []func([]sentLine) reply{cutAfter(1)}, true, "stored stored stored", 3},
		{"never a connection", []func([]sentLine) reply{always(reply{err: errDial})}, true, "unsent unsent unsent", 0},
		{"never a certificate that is good", []func([]sentLine) reply{always(reply{err: &tls.CertificateVerificationError{Err: errCut}})}, true, "unsent unsent unsent", 0},
		{"always stopping", []func([]sentLine) reply{always(refusal(503, "stopping"))}, true, "unsent unsent unsent", 0},
		{"always failing", []func([]sentLine) reply{always(refusal(500, "internal-error"))}, true, "unknown unknown unknown", 0},
		{"a page in place of an answer", []func([]sentLine) reply{always(reply{status: 200, header: []string{"Content-Type", "text/html"}})}, false, "unknown unknown unknown", 1},
		{"a gateway", []func([]sentLine) reply{always(reply{status: 502, header: []string{"Content-Type", "text/html"}})}, true, "unknown unknown unknown", 0},
		{"a line, always unconfirmed", []func([]sentLine) reply{line(503, "unconfirmed")}, true, "stored unknown stored", 0},
		{"a line, always a full disk", []func([]sentLine) reply{line(507, "insufficient-storage")}, true, "stored unsent stored", 0},
		{"a line, a topic too many", []func([]sentLine) reply{line(507, "too-many-topics")}, true, "stored refused stored", 1},
		{"a line, a key too many", []func([]sentLine) reply{line(507, "too-many-keys")}, true, "stored refused stored", 1},
		{"a key of another message", []func([]sentLine) reply{line(422, "key-conflict")}, false, "stored refused stored", 1},
		{"a key of our own message", []func([]sentLine) reply{always(reply{err: errCut}), line(422, "key-conflict")}, false, "stored unknown stored", 2},
		{"a bad line", []func([]sentLine) reply{always(bad(2))}, false, "stored refused stored", 2},
		{"two bad lines", []func([]sentLine) reply{always(bad(1)), always(bad(2))}, false, "refused stored refused", 3},
		{"a bad line that may be stored", []func([]sentLine) reply{always(reply{err: errCut}), always(bad(2))}, false, "stored unknown stored", 3},
		{"a line that is not there", []func([]sentLine) reply{always(bad(7))}, false, "refused refused refused", 1},
		{"not granted", []func([]sentLine) reply{always(refusal(403, "not-granted"))}, false, "refused refused refused", 1},
		{"no credential", []func([]sentLine) reply{always(refusal(401, "unauthenticated"))}, false, "refused refused refused", 1},
		{"no hub", []func([]sentLine) reply{always(reply{status: 404, header: []string{"Content-Type", "text/html"}})}, false, "refused refused refused", 1},
		{"no hub, after no answer", []func([]sentLine) reply{always(reply{err: errCut}), always(refusal(404, "not-found"))}, false, "unknown unknown unknown", 2},
		{"too large together", []func([]sentLine) reply{always(refusal(413, "body-too-large"))}, false, "stored stored stored", 3},
		{"too large", []func([]sentLine) reply{always(refusal(413, "body-too-large"))}, true, "refused refused refused", 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hub{}
				h.answer = func(n int, lines []sentLine) reply {
					switch {
					case n < len(tt.answers):
						return tt.answers[n](lines)
					case tt.forever:
						return tt.answers[len(tt.answers)-1](lines)
					}
					return stored(lines)
				}
				results, err := h.client(publish.Options{}).PublishAll(t.Context(), messages(3))
				if got := summary(results); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				if tt.requests != 0 && h.count() != tt.requests || tt.requests == 0 && h.count() < 3 {
					t.Errorf("%d requests, want %d", h.count(), tt.requests)
				}
				all, isError := errors.AsType[*publish.Error](err)
				if isError != (tt.want != "stored stored stored") || isError && all.Stored+all.Refused+all.Unsent+all.Unknown != 3 {
					t.Errorf("error %v", err)
				}
				keys := map[string]string{}
				for _, body := range h.bodies { // the same key for a message in each request
					for _, l := range body {
						if keys[l.Data] == "" {
							keys[l.Data] = l.Key
						}
						if l.Key == "" || l.Key != keys[l.Data] {
							t.Errorf("message %s has the keys %q and %q", l.Data, keys[l.Data], l.Key)
						}
					}
				}
				for i, r := range results {
					if r.Key != keys[fmt.Sprint(i)] || (r.Err == nil) != (r.Outcome == publish.Stored) || (r.ID != "") != (r.Outcome == publish.Stored) {
						t.Errorf("result %d: %+v, sent with the key %q", i, r, keys[fmt.Sprint(i)])
					}
				}
			})
		})
	}
}

// A refusal of one line is a refusal of all with the same fault. Of the others each is asked about.
func TestRefusalsOfOneLine(t *testing.T) {
	ms := []publish.Message{{Topic: "a", Type: "t", Data: "0"}, {Topic: "a", Data: "1"}, {Topic: "b", Type: "t", Data: "2"}, {Topic: "a", Type: "t", Data: "3"}}
	for _, tt := range []struct {
		status        int
		problem, want string
	}{
		{403, "not-granted", "refused refused stored refused"},
		{400, "invalid-topic", "refused refused stored refused"},
		{400, "invalid-type", "refused stored refused refused"},
		{403, "reserved", "refused stored stored refused"},
		{413, "message-too-large", "refused stored stored stored"},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := &hub{answer: func(n int, lines []sentLine) reply {
				if n > 0 {
					return stored(lines)
				}
				r := refusal(tt.status, tt.problem)
				r.body = fmt.Sprintf(`{"type":"urn:tidings:problem:%s","detail":"Line 1: D.","line":1}`, tt.problem)
				return r
			}}
			results, _ := h.client(publish.Options{}).PublishAll(t.Context(), ms)
			if got := summary(results); got != tt.want || h.count() != 2 {
				t.Errorf("%s: %s after %d requests, want %s", tt.problem, got, h.count(), tt.want)
			}
			if status, _ := errors.AsType[*publish.StatusError](results[0].Err); status == nil || status.Detail != "D." || status.Line != 1 {
				t.Errorf("%s: the error is %+v", tt.problem, results[0].Err)
			}
		})
	}
}

// A message is not sent again when the hub may forget its key.
func TestRetriesStopBeforeTheKeyIsForgotten(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   publish.Options
		window string
		limit  time.Duration
	}{
		{"the hub has not said it", publish.Options{}, "", 90 * s},
		{"two minutes", publish.Options{}, "120", 90 * s},
		{"an hour", publish.Options{}, "3600", 45 * time.Minute},
		{"the caller's time", publish.Options{GiveUp: 10 * s}, "3600", 10 * s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hub{}
				h.answer = func(n int, lines []sentLine) reply {
					if n == 0 {
						r := stored(lines)
						r.header = []string{"Idempotency-Window", tt.window}
						return r
					}
					return reply{err: errCut}
				}
				waits := 0
				tt.opts.OnRetry = func(err error, wait time.Duration) {
					if waits++; !errors.Is(err, errCut) || wait < s/2 || wait > 30*s {
						t.Errorf("retries after %v because of %v", wait, err)
					}
				}
				c := h.client(tt.opts)
				if _, err := c.Publish(t.Context(), publish.Message{Topic: "a"}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				start := time.Now()
				r, err := c.Publish(t.Context(), publish.Message{Topic: "a"})
				if r.Outcome != publish.Unknown || !errors.Is(err, errCut) || !strings.Contains(err.Error(), "may forget") {
					t.Errorf("%+v, %v", r, err)
				}
				if last := h.times[len(h.times)-1].Sub(start); last > tt.limit || last < tt.limit-30*s {
					t.Errorf("the last request came after %v, want up to %v", last, tt.limit)
				}
				if waits != h.count()-2 {
					t.Errorf("%d waits for %d requests", waits, h.count())
				}
			})
		})
	}
}

// A message that is sent again does not reach the hub when that has forgotten its key: the request
// ends before.
func TestARepeatedRequestEndsBeforeTheKeyIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		h.answer = func(n int, lines []sentLine) reply {
			r := stored(lines)
			r.header = []string{"Idempotency-Window", "20"}
			switch n {
			case 1:
				r.err = errCut
			case 2:
				r.takes = time.Hour
			}
			return r
		}
		c := h.client(publish.Options{})
		if _, err := c.Publish(t.Context(), publish.Message{Topic: "a"}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		r, err := c.Publish(t.Context(), publish.Message{Topic: "a"})
		if r.Outcome != publish.Unknown || err == nil || !strings.Contains(err.Error(), "no answer came within") || h.count() != 3 {
			t.Errorf("%+v, %v after %d requests", r, err, h.count())
		}
		if took := time.Since(start); took != 20*s {
			t.Errorf("the last request ended after %v, and the hub knows a key for 20 s", took)
		}
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		h.answer = func(n int, lines []sentLine) reply {
			if n == 0 {
				return refusal(503, "stopping", "Retry-After", "20")
			}
			return stored(lines)
		}
		if _, err := h.client(publish.Options{}).PublishAll(t.Context(), messages(1)); err != nil {
			t.Fatal(err)
		}
		if d := h.times[1].Sub(h.times[0]); d < 20*s || d > 30*s {
			t.Errorf("sent again after %v", d)
		}
	})
}

// A client that gives up sends nothing after the messages that it could not send:
// the order would be lost.
func TestNothingOvertakesWhatIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		h.answer = func(n int, lines []sentLine) reply {
			if n == 1 {
				return refusal(403, "not-granted")
			}
			return stored(lines)
		}
		results, err := h.client(publish.Options{}).PublishAll(t.Context(), messages(2500))
		if h.count() != 2 || len(h.bodies[0]) != 1000 {
			t.Errorf("%d requests, the first of %d messages", h.count(), len(h.bodies[0]))
		}
		want := "publish: of 2500 messages 1000 stored, 1000 refused, 500 not stored: publish: the hub answered 403 Forbidden: D."
		if err == nil || err.Error() != want || results[2499].Outcome != publish.Unsent {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

// Calls that wait while a request is under way go together.
func TestWhatWaitsIsBatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{answer: func(n int, lines []sentLine) reply { r := stored(lines); r.takes = s; return r }}
		c := h.client(publish.Options{})
		var all sync.WaitGroup
		publishOne := func(data string) {
			all.Go(func() {
				r, err := c.Publish(t.Context(), publish.Message{Topic: "a", Type: "t", Data: data})
				if err != nil || r.Outcome != publish.Stored || r.ID != "e-"+data {
					t.Errorf("%s: %+v, %v", data, r, err)
				}
			})
		}
		publishOne("first")
		synctest.Wait()
		for i := range 2500 {
			publishOne(fmt.Sprint(i))
		}
		all.Wait()
		var sizes []int
		for _, body := range h.bodies {
			sizes = append(sizes, len(body))
		}
		if fmt.Sprint(sizes) != "[1 1000 1000 500]" {
			t.Errorf("requests of %v messages", sizes)
		}
		if l := h.bodies[0][0]; l.Topic != "a" || l.Type != "t" {
			t.Errorf("sent %+v", l)
		}
	})
}

// A call whose context ends says whether its message may be stored. It does not
// hinder the others.
func TestACallThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{answer: func(n int, lines []sentLine) reply { r := stored(lines); r.takes = 10 * s; return r }}
		c := h.client(publish.Options{})
		errGone := errors.New("gone")
		leaving := func(after time.Duration) context.Context {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(after, func() { cancel(errGone) })
			return ctx
		}
		var all sync.WaitGroup
		one := func(ctx context.Context, want publish.Outcome) {
			all.Go(func() {
				r, err := c.Publish(ctx, publish.Message{Topic: "a"})
				if r.Outcome != want || (want != publish.Stored) != errors.Is(err, errGone) {
					t.Errorf("%+v, %v, want %v", r, err, want)
				}
			})
			synctest.Wait()
		}
		one(leaving(5*s), publish.Unknown) // alone in its request, which is broken off
		one(leaving(3*s), publish.Unsent)  // waits
		one(leaving(6*s), publish.Unknown) // in the second request, with the next one
		one(t.Context(), publish.Stored)
		all.Wait()
		if h.count() != 2 || len(h.bodies[1]) != 2 {
			t.Errorf("%d requests", h.count())
		}
		if d := h.times[1].Sub(h.times[0]); d != 5*s {
			t.Errorf("the second request came after %v: the first was not broken off", d)
		}
		done, cancel := context.WithCancelCause(t.Context())
		cancel(errGone)
		one(done, publish.Unsent)
		all.Wait()
	})
}

// A hub that takes the request and never answers.
func TestARequestHasATimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		h.answer = func(n int, lines []sentLine) reply {
			r := stored(lines)
			if n == 0 {
				r.takes = time.Hour
			}
			return r
		}
		var why error
		c := h.client(publish.Options{OnRetry: func(err error, _ time.Duration) { why = err }})
		if _, err := c.PublishAll(t.Context(), messages(1)); err != nil {
			t.Fatal(err)
		}
		if why == nil || why.Error() != "publish: no answer came within 45s" {
			t.Errorf("the reason is %v", why)
		}
		if d := h.times[1].Sub(h.times[0]); d < 45*s || d > 46*s {
			t.Errorf("sent again after %v", d)
		}
	})
}

func TestHooksAndHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{}
		token, seen := 0, ""
		h.answer = func(n int, lines []sentLine) reply {
			if n == 0 || n >= 2 {
				return refusal(401, "invalid-credential")
			}
			return stored(lines)
		}
		c := h.client(publish.Options{Header: http.Header{"x-a": {"b"}}, Prepare: func(ctx context.Context, req *http.Request) error {
			if token++; token == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			if token > 3 {
				return nil
			}
			seen += fmt.Sprint(req.URL.Path, req.Header.Get("X-A"), req.Header.Get("Content-Type"), " ")
			return nil
		}})
		if _, err := c.Publish(t.Context(), publish.Message{Topic: "a"}); err != nil {
			t.Error(err)
		}
		if want := strings.Repeat("/api/batchbapplication/x-ndjson ", 2); seen != want {
			t.Errorf("Prepare saw %q, want %q", seen, want)
		}
		// A second 401 in a row is final.
		r, err := c.Publish(t.Context(), publish.Message{Topic: "a"})
		if status, ok := errors.AsType[*publish.StatusError](err); !ok || status.Status != 401 || r.Outcome != publish.Refused {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// A server of tokens that is away for a moment, or for ever.
func TestPrepareMayFail(t *testing.T) {
	for _, tt := range []struct {
		failures int
		want     publish.Outcome
	}{{2, publish.Stored}, {1 << 30, publish.Unsent}} {
		synctest.Test(t, func(t *testing.T) {
			h := &hub{answer: func(_ int, lines []sentLine) reply { return stored(lines) }}
			asked := 0
			c := h.client(publish.Options{Prepare: func(context.Context, *http.Request) error {
				if asked++; asked <= tt.failures {
					return errCut
				}
				return nil
			}})
			start := time.Now()
			r, err := c.Publish(t.Context(), publish.Message{Topic: "a"})
			if r.Outcome != tt.want || (err == nil) != (tt.want == publish.Stored) {
				t.Errorf("%+v, %v", r, err)
			}
			if d := time.Since(start); tt.want == publish.Unsent && (d < 60*s || d > 90*s) {
				t.Errorf("gave up after %v", d)
			}
		})
	}
}

func TestMistakesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{answer: func(_ int, lines []sentLine) reply { return stored(lines) }}
		c := h.client(publish.Options{})
		for _, m := range []publish.Message{{Topic: "a", Data: "\xff"}, {Topic: "\xff"}, {Topic: "a", Type: "\xff"}} {
			if r, err := c.Publish(t.Context(), m); r.Outcome != publish.Refused || err == nil {
				t.Errorf("%q: %+v, %v", m, r, err)
			}
		}
		results, err := c.PublishAll(t.Context(), []publish.Message{{Topic: "a", Data: "0", Key: "own"}, {Topic: "a", Data: "\xff"}, {Topic: "a", Data: "<&>\u2028"}})
		if got := summary(results); got != "stored refused stored" || err == nil {
			t.Errorf("%s, %v", got, err)
		}
		if len(h.bodies) != 1 || h.bodies[0][0].Key != "own" || h.bodies[0][1].Data != "<&>\u2028" {
			t.Errorf("sent %+v", h.bodies)
		}
		if results, err := c.PublishAll(t.Context(), nil); len(results) != 0 || err != nil {
			t.Errorf("nothing: %v, %v", results, err)
		}
		if r, err := publish.New("hub.test", nil).Publish(t.Context(), publish.Message{Topic: "a"}); r.Outcome != publish.Unsent || err == nil {
			t.Errorf("no URL: %+v, %v", r, err)
		}
		c = h.client(publish.Options{Header: http.Header{"X-Key": {"secret\n"}}})
		if r, err := c.Publish(t.Context(), publish.Message{Topic: "a"}); r.Outcome != publish.Unsent || err == nil || strings.Contains(err.Error(), "secret") || len(h.bodies) != 1 {
			t.Errorf("a header that cannot be sent: %+v, %v, after %d requests", r, err, len(h.bodies))
		}
	})
}

// An error has what the problem says, and nothing else of it. Its text does not write over a
// terminal.
func TestErrorsOfProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hub{answer: func(int, []sentLine) reply {
			r := refusal(403, "not-granted")
			r.body = `{"type":"urn:tidings:problem:not-granted","title":"T","status":1,"detail":"not\u001b[2J granted","header":{"Content-Type":["x"]}}`
			return r
		}}
		_, err := h.client(publish.Options{}).Publish(t.Context(), messages(1)[0])
		status, ok := errors.AsType[*publish.StatusError](err)
		if !ok || status.Status != 403 || status.Type != "urn:tidings:problem:not-granted" || status.Title != "T" || status.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("the error is %+v", err)
		}
		if got := err.Error(); got != "publish: the hub answered 403 Forbidden: not [2J granted" {
			t.Errorf("its text is %q", got)
		}
	})
}
