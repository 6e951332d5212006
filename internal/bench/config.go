package bench

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"time"
)

// The defaults of a [Config].
const (
	DefaultURL         = "http://127.0.0.1:8080"
	DefaultSubscribers = 1000
	DefaultMessages    = 1000
	DefaultPayload     = 100
	DefaultTimeout     = 10 * time.Second
	DefaultProgress    = 5 * time.Second
	DefaultLinger      = 200 * time.Millisecond
	// DefaultIdle is the idle time before the memory of a process is measured.
	DefaultIdle = 2 * time.Second
)

// The bounds of a [Config].
const (
	MinPayload     = markerSize
	MaxPayload     = 7 << 20 // the maximum of "tidings serve"
	MaxSubscribers = 1_000_000
	MaxMessages    = 1_000_000_000
	MaxInFlight    = 65536
	MaxTopics      = 1_000_000
	MaxPublishers  = 1024
	MaxRate        = 1_000_000
)

// Config describes a load. The zero value means the defaults.
type Config struct {
	// URL is the base of the hub's API, http or https, with the path where it is
	// mounted. Empty means DefaultURL.
	URL string

	// Header is sent with every request. It may hold a token, for example. Its
	// Host, if any, becomes the Host of the requests.
	Header http.Header

	// Subscribers is the number of streams, which are spread evenly over Topics
	// topics. Messages is the number of messages, which go to the topics in turn.
	// 0 means DefaultSubscribers, 1 and DefaultMessages.
	Subscribers, Topics, Messages int

	// Payload is the size of a message's data, in bytes, at least MinPayload.
	// 0 means DefaultPayload.
	Payload int

	// Publishers is the number of connections for publishing. All messages of a
	// topic go over one of them. 0 means 1.
	Publishers int

	// InFlight is the largest number of messages in flight. A message is in flight
	// from its publishing until it is acknowledged and all its subscribers have
	// received it. 0 means 1, unless there is a Rate.
	InFlight int

	// Rate is the number of messages published per second, without waiting for
	// earlier ones. Their latency counts from when they were due, so that it
	// includes the time that a message waits for a stalled server. Rate excludes
	// InFlight.
	Rate float64

	// PID is the server's process on this machine. The bench measures its CPU and
	// memory (Linux only). 0 means none.
	PID int

	// Idle is how long the open streams are idle before memory is measured. 0
	// means DefaultIdle with a PID, and no time without one. A negative value
	// means no time.
	Idle time.Duration

	// Timeout ends a run when messages are due, but none arrives for this long. 0
	// means DefaultTimeout.
	Timeout time.Duration

	// Linger is how long a run listens at its end for messages that should not
	// come. Once a run is interrupted or publishing has failed, it ends when
	// nothing arrives for five times Linger. 0 means DefaultLinger.
	Linger time.Duration

	// Progress is called with a line of text on the state of a run, every
	// ProgressEvery. A ProgressEvery of 0 means DefaultProgress.
	Progress      func(line string)
	ProgressEvery time.Duration

	// TLS is the configuration for https. Nil means the default one.
	TLS *tls.Config

	// Goroutines gives each subscriber a goroutine and a net.Conn, even where bare
	// sockets are possible.
	Goroutines bool
}

// ownHeaders are headers that the bench sets itself, or that would change the
// meaning of its requests.
var ownHeaders = []string{"Connection", "Content-Length", "Content-Encoding", "Idempotency-Key", "Last-Event-Id", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// withDefaults returns the configuration with its defaults filled in. Its error is
// one line that says what is wrong with which flag of "tidings bench".
func (c Config) withDefaults() (Config, error) {
	if c.Rate != 0 && c.InFlight != 0 {
		return c, errors.New("--in-flight and --rate exclude each other: --in-flight publishes when earlier messages have arrived, --rate by the clock; give one of them")
	}
	if c.Rate < 0 || c.Rate > MaxRate || math.IsNaN(c.Rate) {
		return c, fmt.Errorf("--rate: want more than 0 and up to %d messages a second", MaxRate)
	}
	if c.InFlight == 0 && c.Rate == 0 {
		c.InFlight = 1
	}
	c.URL = cmp.Or(c.URL, DefaultURL)
	c.Subscribers = cmp.Or(c.Subscribers, DefaultSubscribers)
	c.Topics = cmp.Or(c.Topics, 1)
	c.Messages = cmp.Or(c.Messages, DefaultMessages)
	c.Payload = cmp.Or(c.Payload, DefaultPayload)
	c.Publishers = cmp.Or(c.Publishers, 1)
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.ProgressEvery = cmp.Or(c.ProgressEvery, DefaultProgress)
	c.Linger = cmp.Or(c.Linger, DefaultLinger)
	if c.PID != 0 {
		c.Idle = cmp.Or(c.Idle, DefaultIdle)
	}
	c.Idle = max(c.Idle, 0)
	for _, n := range []struct {
		flag               string
		value, least, most int
	}{
		{"subscribers", c.Subscribers, 1, MaxSubscribers},
		{"topics", c.Topics, 1, MaxTopics},
		{"messages", c.Messages, 1, MaxMessages},
		{"payload", c.Payload, MinPayload, MaxPayload},
		{"publishers", c.Publishers, 1, MaxPublishers},
		{"in-flight", c.InFlight, 0, MaxInFlight},
		{"pid", c.PID, 0, math.MaxInt32},
	} {
		if n.value < n.least || n.value > n.most {
			return c, fmt.Errorf("--%s: want a number from %d to %d", n.flag, n.least, n.most)
		}
	}
	switch {
	case c.Topics > c.Subscribers:
		return c, fmt.Errorf("--topics %d is more than --subscribers %d: some topics would have no subscriber; choose fewer topics or more subscribers", c.Topics, c.Subscribers)
	case c.Publishers > c.Topics:
		return c, fmt.Errorf("--publishers %d is more than --topics %d: a topic uses only one connection, which keeps its messages in order; choose fewer publishers or more topics", c.Publishers, c.Topics)
	case c.Timeout < 0:
		return c, errors.New("--timeout: want more than 0, as in 10s")
	}
	return c, checkHeader(c.Header)
}

func checkHeader(h http.Header) error {
	for name, values := range h {
		if !isToken(name) {
			return fmt.Errorf("--header: %q is not the name of a header; want NAME: VALUE, as in 'Authorization: Bearer TOKEN'", name)
		}
		if slices.Contains(ownHeaders, textproto.CanonicalMIMEHeaderKey(name)) {
			return fmt.Errorf("--header: the bench sets %s itself; leave it out", name)
		}
		for _, v := range values {
			// The error does not repeat a value, which may be a secret.
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return fmt.Errorf("--header: the value of %s has a control character", name)
			}
		}
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}
