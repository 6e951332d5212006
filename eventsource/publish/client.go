package publish

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/internal/outgoing"
)

const (
	// Limits of one request. The hub's are 10,000 messages and 16 MiB.
	batchMessages = 1000
	batchBytes    = 4 << 20

	// requestTime is how long one request may take. The hub answers a full batch
	// within 15 seconds.
	requestTime = 45 * time.Second

	// defaultWindow is for how long the hub is taken to know a key while it has not
	// said that.
	defaultWindow = 2 * time.Minute
)

// Options configure a [Client]. The zero value has the documented defaults.
type Options struct {
	// Header is sent with each request, but not after a redirect to another
	// origin.
	Header http.Header

	// Prepare is called before each request and may change it, for example to add
	// a fresh token. It must return when ctx is done, which is after 10 seconds
	// at most. After a status of 401 it is called once more. An error of Prepare
	// is treated like one of the network.
	Prepare func(ctx context.Context, req *http.Request) error

	// HTTPClient sends the requests. Nil means a client of its own. A request
	// that takes more than 45 seconds, or its Timeout, counts as failed. One that
	// is sent again also ends when the hub may forget the keys.
	HTTPClient *http.Client

	// GiveUp is how long after its first request a message may be sent again. 0
	// means three quarters of the time for which the hub knows a key, and 90
	// seconds as long as it has not said that.
	GiveUp time.Duration

	// OnRetry is called before each wait for another attempt.
	OnRetry func(err error, wait time.Duration)
}

// A Client publishes to one hub. All methods may be called concurrently.
type Client struct {
	opts   Options
	batch  string // the URL of POST /batch
	err    error  // what is wrong with the URL or the header
	http   *http.Client
	prefix string // begins the keys that the client makes

	keys   atomic.Uint64
	window atomic.Int64 // for how long the hub knows a key, in nanoseconds; 0 if unknown

	mu      sync.Mutex
	waiting []*call // single messages that wait for a request
	sending bool    // a goroutine sends single messages
}

// New returns a Client for the hub at a URL, as in "http://127.0.0.1:8080". If
// the hub is mounted below a path, the URL has that path. Nil options mean the
// defaults. New does not connect. If the URL or the header is wrong, publishing
// fails.
func New(hubURL string, opts *Options) *Client {
	c := &Client{prefix: rand.Text() + "-"}
	if opts != nil {
		c.opts = *opts
	}
	u, err := url.Parse(hubURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		c.err = errors.New("publish: the URL of the hub does not begin with http:// or https:// and a host")
	} else {
		c.batch = u.JoinPath("batch").String()
		if err := outgoing.CheckHeader(c.opts.Header); err != nil {
			c.err = fmt.Errorf("publish: %w", err)
		}
	}
	base := c.opts.HTTPClient
	if base == nil {
		base = &http.Client{Transport: outgoing.Transport()}
	}
	c.http = outgoing.Protected(base, "Content-Type")
	return c
}

// PublishAll publishes messages in order. results[i] is that of messages[i]. The
// error is an [*Error] unless every message is stored. Messages that the hub
// refuses do not hinder the others. When the client has given up, the rest is
// not sent.
func (c *Client) PublishAll(ctx context.Context, messages []Message) (results []Result, err error) {
	results = make([]Result, len(messages))
	var failed error
	for start := 0; start < len(messages); {
		items, bytes := []*item(nil), 0
		for i := start; i < len(messages) && len(items) < batchMessages; i++ {
			it := newItem(messages[i], c.newKey())
			if len(items) > 0 && bytes+len(it.line) > batchBytes {
				break
			}
			items, bytes = append(items, it), bytes+len(it.line)
		}
		if failed == nil {
			failed = c.deliver(ctx, items)
		} else {
			abandon(items, failed)
		}
		for i, it := range items {
			results[start+i] = it.result
		}
		start += len(items)
	}
	return results, tally(results)
}

// Publish publishes one message. Calls that wait while a request of another one
// is under way go into the next request together. The error is that of the
// result, or nil if the message is stored.
func (c *Client) Publish(ctx context.Context, m Message) (Result, error) {
	it := newItem(m, c.newKey())
	if err := context.Cause(ctx); err != nil && !it.done() {
		it.abandon(err)
	}
	if it.done() {
		return it.result, it.result.Err
	}
	call := &call{item: it, finished: make(chan struct{})}
	c.enqueue(call)
	select {
	case <-call.finished:
		return it.result, it.result.Err
	case <-ctx.Done():
		r := c.leave(call, context.Cause(ctx))
		return r, r.Err
	}
}

// CloseIdleConnections closes the connections that wait for another request.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// keyWindow returns for how long the hub knows a key.
func (c *Client) keyWindow() time.Duration {
	return cmp.Or(time.Duration(c.window.Load()), defaultWindow)
}

func (c *Client) newKey() string { return c.prefix + strconv.FormatUint(c.keys.Add(1), 36) }
