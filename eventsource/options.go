package eventsource

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"example.com/tidings/sse"
)

// Options configure a [Client]. The zero value has the documented defaults.
// All functions are called on the goroutine that ranges the sequence.
type Options struct {
	// Method is the method of the requests. Empty means GET.
	Method string

	// Header is sent with each request. After a redirect to another origin only
	// Accept, Cache-Control, Accept-Encoding and Last-Event-ID are sent. A header
	// of one of these names replaces the client's own, except Last-Event-ID.
	Header http.Header

	// Body is sent with each request.
	Body []byte

	// Repeat also sends requests of other methods than GET and HEAD again.
	// Without it, such a sequence ends with its first response: a second request
	// might do something twice.
	Repeat bool

	// Prepare is called before each attempt and may change the request, for
	// example to add a fresh token. It must return when ctx is done, which is
	// after 10 seconds at most. After a status of 401 Prepare is called once more,
	// and a second 401 in a row is final. An error of Prepare is treated like one
	// of the network. If it wraps [ErrFinal], the sequence ends with it.
	Prepare func(ctx context.Context, req *http.Request) error

	// LastEventID is the position at which the first sequence begins.
	LastEventID string

	// HTTPClient sends the requests. Its Timeout must be 0, because that would
	// cut each stream. Nil means a client with the transport of [NewTransport].
	// Its idle connections are closed when a sequence ends.
	HTTPClient *http.Client

	// HubEvents also yields the hub's events tidings.open, tidings.position,
	// tidings.end and tidings.unavailable. Without it, the client obeys them in
	// silence.
	HubEvents bool

	// FailFast ends the sequence with an error if an attempt fails before the
	// first stream has opened.
	FailFast bool

	// Standard follows WHATWG HTML 9.2.3 to the letter: every status but 200, and
	// every wrong content type, is final. Without it, 408, 429 and 5xx are
	// temporary, and so is a wrong content type after a stream had opened.
	Standard bool

	// Delay is how long to wait before a reconnection, until the server says it.
	// It is spread, and combined with the backoff. 0 means that the backoff alone
	// decides, and a negative value that the client reconnects at once.
	Delay time.Duration

	// MaxSilence is how long the client waits for a byte before it gives a
	// connection up. The time counts only while the client reads. 0 means twice
	// the keep-alive that the hub states in tidings.open, and 5 seconds; for
	// other servers there is then no limit. A negative value means no limit.
	MaxSilence time.Duration

	// MaxEventSize limits the data of one event, in bytes. Larger events are
	// skipped, with a [*TooLargeError]. 0 means 32 MiB; a negative value means no
	// limit.
	MaxEventSize int

	// Decide is called after each failed attempt, with what the rules make of it,
	// and may change that.
	Decide func(*Failure)

	// OnState is called when the state changes.
	OnState func(State)

	// OnComment is called for each comment line, as soon as it is read.
	OnComment func(text string)

	// Logger gets a line when attempts begin to fail, when they fail for another
	// kind of reason, and when a stream has opened again. Nil means
	// [slog.Default].
	Logger *slog.Logger
}

// A Failure is an attempt that has ended, and what follows. An attempt has also
// failed when a stream that had opened has ended.
type Failure struct {
	// Attempt is 1 for the first failure since a stream of 60 seconds, or since
	// the beginning.
	Attempt int

	// Err says why: a [*StatusError], a [*ContentTypeError], an [*EndError], one
	// of the variables of this package, or an error of the network.
	Err error

	// Opened reports whether the stream had opened.
	Opened bool

	// Asked is the reconnection time that the server, or Options.Delay, asked for
	// last. It is negative if there is none.
	Asked time.Duration

	// Wait is the time until the next attempt. [Options.Decide] may change it.
	Wait time.Duration

	// Final ends the sequence with Err. [Options.Decide] may change it.
	Final bool
}

// TooLargeError reports that the sequence goes on without one event, which is
// larger than [Options.MaxEventSize]. The position moves to its ID.
type TooLargeError = sse.TooLargeError
