package eventsource

import (
	"fmt"
	"log/slog"
	"time"
)

// A Phase is what a client does.
type Phase int

const (
	Connecting Phase = iota // a request is under way
	Open                    // the response has begun
	Waiting                 // the next attempt has its time

	// Muted is Waiting after three connections in a row that have opened and
	// brought no byte. Something on the way, such as a proxy or a virus scanner,
	// then holds the stream back. The wait is 30 seconds at least.
	Muted
)

// String returns the name of the phase, such as "connecting".
func (p Phase) String() string {
	switch p {
	case Connecting:
		return "connecting"
	case Open:
		return "open"
	case Waiting:
		return "waiting"
	case Muted:
		return "muted"
	}
	return fmt.Sprintf("Phase(%d)", int(p))
}

// A State is told to [Options.OnState].
type State struct {
	Phase Phase

	// Attempt counts the failures since a stream of 60 seconds, or since the
	// beginning.
	Attempt int

	// Wait is the time until the next attempt. It is 0 unless the client waits.
	Wait time.Duration

	// Err says why the client waits, and is nil otherwise.
	Err error
}

func (r *run) tell(s State) {
	s.Attempt = r.failures
	if r.c.opts.OnState != nil {
		r.c.opts.OnState(s)
	}
}

// logFailure logs a failure, unless the last line was about one of its kind. The
// end of a stream that had opened is ordinary, and counts only when it repeats.
func (r *run) logFailure(f *Failure) {
	if f.Final || f.Opened && f.Attempt == 1 {
		return
	}
	if kind := kindOf(f.Err); kind != r.logged {
		r.logged = kind
		r.c.logger().LogAttrs(r.ctx, slog.LevelWarn, "eventsource: waiting to connect again",
			slog.String("url", r.c.plainURL), slog.Duration("wait", f.Wait), slog.Any("err", f.Err))
	}
}

func (r *run) logOpen() {
	if r.logged != "" {
		r.logged = ""
		r.c.logger().LogAttrs(r.ctx, slog.LevelInfo, "eventsource: open again", slog.String("url", r.c.plainURL))
	}
}

// kindOf returns a word that similar failures share.
func kindOf(err error) string {
	switch e := err.(type) {
	case *StatusError:
		return fmt.Sprint(e.Status)
	case *EndError:
		return e.Reason
	case *namedError:
		return e.text
	}
	return fmt.Sprintf("%T", err)
}

func (c *Client) logger() *slog.Logger {
	if c.opts.Logger != nil {
		return c.opts.Logger
	}
	return slog.Default()
}
