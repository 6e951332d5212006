package eventsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"example.com/tidings/internal/outgoing"
	"example.com/tidings/sse"
)

const (
	// headerTime is how long a server may take to begin a response.
	headerTime = 20 * time.Second

	// bodyTime is how long the body of a refusal is read.
	bodyTime = 5 * time.Second
)

// A run is one range over the events of a client.
type run struct {
	c     *Client
	ctx   context.Context
	yield func(sse.Event, error) bool

	watch        watchdog
	failures     int           // since the last healthy stream
	opened       bool          // a stream of this run has opened
	unauthorized bool          // the last attempt ended with 401
	silences     int           // attempts in a row that were silent or had no answer
	empty        int           // connections in a row that opened and brought no byte
	wish         time.Duration // the reconnection time that was asked for last, or none
	once         time.Duration // the same for the next attempt only, or none
	logged       string        // the kind of the failure in the log
}

// none stands for a wish that nobody has.
const none = -1

func newRun(ctx context.Context, c *Client, yield func(sse.Event, error) bool) *run {
	r := &run{c: c, ctx: ctx, yield: yield, wish: none, once: none}
	switch {
	case c.opts.Delay > 0:
		r.wish = c.opts.Delay
	case c.opts.Delay < 0:
		r.wish = 0
	}
	r.watch.now = c.now
	r.watch.limit = max(c.opts.MaxSilence, 0)
	return r
}

// errDone ends a run without an error: the stream has ended for good, or the
// consumer has left.
var errDone = errors.New("done")

// run connects until something is final. It returns the error to yield as the
// last one, if any.
func (r *run) run() error {
	for {
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		a := attempt{r: r}
		err := a.run()
		switch {
		case err == errDone:
			return nil
		case r.ctx.Err() != nil:
			return context.Cause(r.ctx)
		case err == errReconnect:
			continue
		}
		f := r.judge(&a, err)
		if f.Final {
			if f.Err == ErrEnded {
				return nil
			}
			return f.Err
		}
		if !r.wait(f) {
			return context.Cause(r.ctx)
		}
	}
}

// An attempt is one request and its response.
type attempt struct {
	r       *run
	ctx     context.Context
	cancel  context.CancelCauseFunc
	open    time.Time // when the response was accepted
	bytes   bool      // the response has brought a byte
	refused bool      // the hub has said that it cannot take the stream
}

func (a *attempt) run() error {
	r := a.r
	a.ctx, a.cancel = context.WithCancelCause(r.ctx)
	defer a.cancel(nil)
	r.c.beginAttempt(a.cancel)
	r.tell(State{Phase: Connecting})
	res, err := a.connect()
	if err != nil {
		return err
	}
	defer res.Body.Close()
	a.open = r.c.now()
	r.unauthorized = false
	r.tell(State{Phase: Open})
	err = a.read(res.Body)
	if err != errDone && context.Cause(a.ctx) == errReconnect {
		return errReconnect // whatever else has ended the stream at that moment
	}
	return err
}

// connect sends the request. It returns a response that is a stream, whose body
// the caller closes, or an error.
func (a *attempt) connect() (*http.Response, error) {
	req, err := a.r.c.request(a.ctx)
	if err != nil {
		if cause := context.Cause(a.ctx); cause != nil {
			err = cause
		}
		return nil, err
	}
	timer := time.AfterFunc(headerTime, func() { a.cancel(ErrNoAnswer) })
	defer timer.Stop()
	res, err := a.r.c.http.Do(req)
	if err != nil {
		if err = outgoing.Cause(a.ctx, err); err == ErrNoAnswer || err == errReconnect {
			return nil, err
		}
		return nil, fmt.Errorf("eventsource: connecting to %s: %w", a.r.c.plainURL, err)
	}
	encoding := res.Header.Get("Content-Encoding")
	if strings.EqualFold(encoding, "identity") {
		encoding = ""
	}
	if res.StatusCode == http.StatusOK && isEventStream(res.Header.Get("Content-Type")) && encoding == "" {
		return res, nil
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent { // WHATWG HTML 9.2.3: the way to stop a client
		return nil, errDone
	}
	timer.Reset(bodyTime)
	body := readBody(res.Body)
	if res.StatusCode == http.StatusOK {
		return nil, &ContentTypeError{URL: a.r.c.plainURL, ContentType: res.Header.Get("Content-Type"), Encoding: encoding, Body: body}
	}
	return nil, &StatusError{URL: a.r.c.plainURL, Status: res.StatusCode, Header: res.Header, Body: body}
}

// isEventStream reports whether a Content-Type is text/event-stream, with any
// parameters (WHATWG MIME Sniffing 4.4).
func isEventStream(contentType string) bool {
	essence, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.Trim(essence, " \t\r\n"), "text/event-stream")
}

// read yields the events of a response. It returns why there are no more.
func (a *attempt) read(body io.Reader) error {
	c := a.r.c
	a.r.watch.begin(&countedReader{r: body, a: a}, a.cancel)
	defer a.r.watch.end()
	events := sse.Decode(&a.r.watch, &sse.DecodeOptions{
		LastEventID:  c.LastEventID(),
		OnRetry:      func(d time.Duration) { a.r.wish = d },
		OnID:         c.moveTo,
		OnComment:    c.opts.OnComment,
		MaxEventSize: c.opts.MaxEventSize,
		SkipTooLarge: true,
	})
	for ev, err := range events {
		if a.r.ctx.Err() != nil {
			return context.Cause(a.r.ctx)
		}
		if err == nil && strings.HasPrefix(ev.Type, hubPrefix) {
			if err := a.obey(ev); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			skipped, ok := err.(*TooLargeError)
			if !ok {
				return a.broken(err)
			}
			ev.ID = skipped.ID
		}
		if !a.r.yield(ev, err) {
			return errDone
		}
		c.moveTo(ev.ID)
	}
	return ErrEnded
}

// broken returns why a response has broken off, if reading it failed with err.
func (a *attempt) broken(err error) error {
	if cause := context.Cause(a.ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("eventsource: the stream of %s broke off: %w", a.r.c.plainURL, err)
}

// A countedReader notes that a response has brought a byte.
type countedReader struct {
	r io.Reader
	a *attempt
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 && !c.a.bytes {
		c.a.bytes = true
		c.a.r.empty, c.a.r.silences = 0, 0
		c.a.r.logOpen()
	}
	return n, err
}
