package bench

import (
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
	// DefaultIdle is the rest before the memory of a process is measured.
	DefaultIdle = 2 * time.Second
)

// The bounds of a [Config].
const (
	MinPayload     = markerSize
	MaxPayload     = 7 << 20 // what "tidings serve" takes at most
	MaxSubscribers = 1_000_000
	MaxMessages    = 1_000_000_000
	MaxInFlight    = 65536
	MaxTopics      = 1_000_000
	MaxPublishers  = 1024
	MaxRate        = 1_000_000
)

// Config says what load to make. The zero value holds the defaults.
type Config struct {
	// URL is the base of the hub's API, http or https, with the path that it is
	// mounted at. Empty means DefaultURL.
	URL string

	// Header is sent with every request, as a token. A Host in it is the name
	// that the server is addressed by.
	Header http.Header

	// Subscribers is how many streams are opened, Topics over how many topics
	// they are spread evenly, and Messages how many messages are published, to
	// each topic in its turn. 0 means DefaultSubscribers, 1 and
	// DefaultMessages.
	Subscribers, Topics, Messages int

	// Payload is the size of a message's data, in bytes, at least MinPayload.
	// 0 means DefaultPayload.
	Payload int

	// Publishers is over how many connections messages are published; those of
	// one topic go over one of them. 0 means 1.
	Publishers int

	// InFlight is how many messages are at most published and not yet
	// received by all their subscribers, or not yet acknowledged. 0 means 1,
	// unless there is a Rate.
	InFlight int

	// Rate is how many messages are published a second, whatever has become of
	// those before. Their latency counts from when they were due, so that
	// those which had to wait for a server that stalls are not left out. It
	// excludes InFlight.
	Rate float64

	// PID is the process of the server, on this machine, whose CPU and memory
	// are measured (Linux). 0 measures none.
	PID int

	// Idle is for how long the streams rest once they are open, before memory
	// is measured. 0 means DefaultIdle with a PID and no rest without; a
	// negative one, no rest.
	Idle time.Duration

	// Timeout ends a run in which nothing that is due arrives for so long. 0
	// means DefaultTimeout.
	Timeout time.Duration

	// Linger is how long a run listens after its end for what should not come
	// any more, and a fifth of how long nothing may come before it ends, once it is
	// interrupted or publishing has failed. 0 means DefaultLinger.
	Linger time.Duration

	// Progress is called with a line of text on the state of a run, every
	// ProgressEvery, which is DefaultProgress where it is 0. Nil reports none.
	Progress      func(line string)
	ProgressEvery time.Duration

	// TLS is the configuration for https. Nil means the default one.
	TLS *tls.Config

	// Goroutines gives each subscriber a goroutine and a net.Conn even where
	// there is something better.
	Goroutines bool
}

// ownHeaders are those that the requests have anyway, or that would change what
// they mean.
var ownHeaders = []string{"Connection", "Content-Length", "Content-Encoding", "Idempotency-Key", "Last-Event-Id", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// withDefaults returns the configuration with its defaults filled in, or one
// line on what is wrong with it, in terms of the flags of "tidings bench".
func (c Config) withDefaults() (Config, error) {
	if c.Rate != 0 && c.InFlight != 0 {
		return c, errors.New("--in-flight and --rate exclude each other: the one publishes when messages have arrived, the other by the clock; give one of them")
	}
	if c.Rate < 0 || c.Rate > MaxRate || math.IsNaN(c.Rate) {
		return c, fmt.Errorf("--rate: want more than 0 and up to %d messages a second", MaxRate)
	}
	if c.InFlight == 0 && c.Rate == 0 {
		c.InFlight = 1
	}
	setDefault(&c.URL, DefaultURL)
	setDefault(&c.Subscribers, DefaultSubscribers)
	setDefault(&c.Topics, 1)
	setDefault(&c.Messages, DefaultMessages)
	setDefault(&c.Payload, DefaultPayload)
	setDefault(&c.Publishers, 1)
	setDefault(&c.Timeout, DefaultTimeout)
	setDefault(&c.ProgressEvery, DefaultProgress)
	setDefault(&c.Linger, DefaultLinger)
	if c.PID != 0 {
		setDefault(&c.Idle, DefaultIdle)
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
		return c, fmt.Errorf("--topics %d is more than --subscribers %d: some topics would have none; choose fewer topics or more subscribers", c.Topics, c.Subscribers)
	case c.Publishers > c.Topics:
		return c, fmt.Errorf("--publishers %d is more than --topics %d: the messages of a topic go over one connection, so that they have an order; choose fewer publishers or more topics", c.Publishers, c.Topics)
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
			return fmt.Errorf("--header: %s is set by the bench itself; leave it out", name)
		}
		for _, v := range values {
			// A value may be a secret, and is not repeated.
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

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
