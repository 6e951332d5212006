package eventsource_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventsource"
	"example.com/tidings/internal/leak"
	"example.com/tidings/sse"
)

func TestMain(m *testing.M) { leak.Main(m) }

const streamURL = "http://hub.test/events?topic=secret"

// A part of a response's body comes some time after the one before.
type part struct {
	after time.Duration
	text  string
}

// A reply is what a server does with one request.
type reply struct {
	status int // 0: 200
	header http.Header
	parts  []part
	end    error // how the body ends after the parts: io.EOF, another error, or nil for never
	refuse error // the request fails without an answer
	mute   bool  // the server never answers
}

// stream is the reply with a text that then ends with an error.
func stream(text string, end error) reply { return reply{parts: []part{{0, text}}, end: end} }

// lasting is a stream that ends after a time.
func lasting(d time.Duration, text string) reply {
	return reply{parts: []part{{0, text}, {d, ""}}, end: io.EOF}
}

var errCut = errors.New("cut")

// A server answers requests in memory, inside a bubble of synctest.
type server struct {
	reply func(n int, req *http.Request) reply // n counts from 0

	mu       sync.Mutex
	times    []time.Time
	requests []*http.Request
}

// inOrder answers each request with the next reply, and the others with the last.
func inOrder(replies ...reply) *server {
	return &server{reply: func(n int, _ *http.Request) reply { return replies[min(n, len(replies)-1)] }}
}

func (s *server) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	n := len(s.times)
	s.times = append(s.times, time.Now())
	s.requests = append(s.requests, req)
	s.mu.Unlock()
	r := s.reply(n, req)
	switch {
	case r.mute:
		<-req.Context().Done()
		return nil, req.Context().Err()
	case r.refuse != nil:
		return nil, r.refuse
	}
	res := &http.Response{StatusCode: r.status, Header: r.header, Request: req, Body: &body{ctx: req.Context(), reply: r}}
	if res.StatusCode == 0 {
		res.StatusCode = http.StatusOK
	}
	if res.Header == nil {
		res.Header = http.Header{}
	}
	if res.Header.Get("Content-Type") == "" {
		res.Header.Set("Content-Type", "text/event-stream")
	}
	return res, nil
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

// gaps returns the times between the requests.
func (s *server) gaps() (gaps []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range len(s.times) - 1 {
		gaps = append(gaps, s.times[i+1].Sub(s.times[i]))
	}
	return gaps
}

// sent returns the value of a header in each request.
func (s *server) sent(name string) (values []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, req := range s.requests {
		values = append(values, req.Header.Get(name))
	}
	return values
}

func (s *server) client(opts *eventsource.Options) *eventsource.Client {
	if opts == nil {
		opts = &eventsource.Options{}
	}
	o := *opts
	o.HTTPClient = &http.Client{Transport: s}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return eventsource.New(streamURL, &o)
}

type body struct {
	ctx   context.Context
	reply reply
	rest  string
}

func (b *body) Read(p []byte) (int, error) {
	for b.rest == "" {
		if len(b.reply.parts) == 0 {
			if b.reply.end != nil {
				return 0, b.reply.end
			}
			<-b.ctx.Done()
			return 0, b.ctx.Err()
		}
		next := b.reply.parts[0]
		b.reply.parts = b.reply.parts[1:]
		select {
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		case <-time.After(next.after):
		}
		b.rest = next.text
	}
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *body) Close() error { return nil }

// An outcome is what a range over the events has yielded.
type outcome struct {
	events []sse.Event
	errs   []error // all of them
	last   error   // the last one, if the sequence has ended with it
}

// collect ranges until the sequence ends or the server has had enough requests.
func collect(ctx context.Context, c *eventsource.Client, enough func(o *outcome) bool) (o outcome) {
	for ev, err := range c.Events(ctx) {
		if err != nil {
			o.errs, o.last = append(o.errs, err), err
		} else {
			o.events, o.last = append(o.events, ev), nil
		}
		if enough != nil && enough(&o) {
			break
		}
	}
	return o
}

// runFor ranges for a time.
func runFor(t *testing.T, c *eventsource.Client, d time.Duration) outcome {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return collect(ctx, c, nil)
}

// data returns the data of the events.
func (o *outcome) data() (data []string) {
	for _, ev := range o.events {
		data = append(data, ev.Data)
	}
	return data
}

func (o *outcome) check(t *testing.T, want ...string) {
	t.Helper()
	if got := o.data(); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
