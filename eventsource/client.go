package eventsource

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"sync"
	"time"

	"example.com/tidings/internal/outgoing"
	"example.com/tidings/sse"
)

// A Client reads the events of one URL. All methods may be called concurrently.
// Only one loop may range over its events at a time.
type Client struct {
	opts     Options
	url      *url.URL
	plainURL string // url without what may be secret
	err      error  // what is wrong with the URL or the options
	http     *http.Client
	now      func() time.Time

	mu        sync.Mutex
	position  string
	ranged    bool
	interrupt context.CancelCauseFunc // ends the attempt or the wait that is under way
	hurry     bool                    // Reconnect was called since the last attempt began
}

// New returns a Client for the events of a URL. Nil options mean the defaults.
// New does not connect. Mistakes in the URL or the options are the first and
// only error of [Client.Events].
func New(rawURL string, opts *Options) *Client {
	c := &Client{now: time.Now}
	if opts != nil {
		c.opts = *opts
	}
	c.position = c.opts.LastEventID
	if c.opts.Method == "" {
		c.opts.Method = http.MethodGet
	}
	c.url, c.err = parseURL(rawURL)
	if c.err == nil {
		c.plainURL = outgoing.PlainURL(c.url)
		c.err = cmp.Or(outgoing.CheckClient(c.opts.HTTPClient), outgoing.CheckMethod(c.opts.Method), outgoing.CheckHeader(c.opts.Header))
	}
	base := c.opts.HTTPClient
	if base == nil {
		base = &http.Client{Transport: NewTransport()}
	}
	c.http = outgoing.Protected(base, "Accept", "Cache-Control", "Accept-Encoding", lastEventIDHeader)
	return c
}

func parseURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the URL begins with neither http:// nor https:// and a host: %q", outgoing.PlainURL(u))
	}
	return u, nil
}

// Events returns the events from the position on, and keeps up with the server
// across interruptions. Ranging connects. Each event has the last event ID in
// force as its ID, and an empty Type if it has none.
//
// A [*sse.GapError] and a [*TooLargeError] do not end the sequence. With a
// GapError comes the event tidings.gap that reported it. Every other error is
// the last: what made the sequence end, or the cause of ctx when that is done.
// Ranging again continues at the position.
func (c *Client) Events(ctx context.Context) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		if c.err != nil {
			yield(sse.Event{}, fmt.Errorf("eventsource: %w", c.err))
			return
		}
		if !c.begin() {
			yield(sse.Event{}, errRanged)
			return
		}
		defer c.end()
		r := newRun(ctx, c, yield)
		if err := r.run(); err != nil {
			yield(sse.Event{}, err)
		}
	}
}

func (c *Client) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ranged {
		return false
	}
	c.ranged = true
	return true
}

func (c *Client) end() {
	if c.opts.HTTPClient == nil {
		c.http.CloseIdleConnections()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ranged, c.interrupt = false, nil
}

// LastEventID returns the position: the last event ID with which the client
// would connect now. It moves past an event when the consumer comes back for the
// next one, and with the hub's own events at once.
func (c *Client) LastEventID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.position
}

func (c *Client) moveTo(id string) {
	c.mu.Lock()
	c.position = id
	c.mu.Unlock()
}

// Reconnect drops the connection, or the wait for the next attempt, and connects
// at once. It does nothing while no loop ranges over the events.
func (c *Client) Reconnect() {
	c.mu.Lock()
	interrupt := c.interrupt
	c.hurry = true
	c.mu.Unlock()
	if interrupt != nil {
		interrupt(errReconnect)
	}
}

// beginAttempt has Reconnect call f.
func (c *Client) beginAttempt(f context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupt, c.hurry = f, false
}

// beginWait has Reconnect call f. It returns false if Reconnect was called already
// since the attempt began.
func (c *Client) beginWait(f context.CancelCauseFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupt = f
	return !c.hurry
}

const lastEventIDHeader = "Last-Event-ID"

// request makes the request of one attempt and lets Prepare change it.
func (c *Client) request(ctx context.Context) (*http.Request, error) {
	req := (&http.Request{
		Method: c.opts.Method,
		URL:    new(url.URL),
		Header: http.Header{
			"Accept":          {"text/event-stream"},
			"Cache-Control":   {"no-cache"}, // a cache must not answer (WHATWG HTML 9.2.2)
			"Accept-Encoding": {"identity"}, // compressed streams stall in proxies
		},
		Host: c.url.Host,
	}).WithContext(ctx)
	*req.URL = *c.url
	for name, values := range c.opts.Header {
		req.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
	}
	req.Header.Del(lastEventIDHeader)
	if id := c.LastEventID(); sendable(id) {
		req.Header.Set(lastEventIDHeader, id)
	}
	if c.opts.Body != nil {
		req.ContentLength = int64(len(c.opts.Body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(c.opts.Body)), nil }
		req.Body, _ = req.GetBody()
	}
	if c.opts.Prepare == nil {
		return req, nil
	}
	hookCtx, cancel := context.WithTimeout(ctx, outgoing.HookTime)
	defer cancel()
	if err := c.opts.Prepare(hookCtx, req); err != nil {
		return nil, fmt.Errorf("eventsource: the request could not be prepared: %w", err)
	}
	return req, nil
}

// sendable reports whether an ID can be the value of a header. Other IDs are not
// sent: the request would fail for ever.
func sendable(id string) bool { return id != "" && outgoing.IsHeaderValue(id) }
