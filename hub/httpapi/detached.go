package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// appendTimeout is how long the log may take to store a message, and
// batchTimeout how much longer for each further one.
const (
	appendTimeout = 10 * time.Second
	batchTimeout  = 5 * time.Millisecond
)

// A detached is the context in which the messages of a request are stored. It has the
// values of the request's context, but not its end. That comes when the client hangs up,
// who by then has sent everything and wants it stored: it would cut a batch anywhere in the
// middle.
//
// The timer of the deadline starts when somebody first waits for the end. A log in memory
// never waits, and the timer would cost a tenth of what it takes to publish there. Methods
// may be called concurrently.
type detached struct {
	context.Context // for its values
	deadline        time.Time

	mu        sync.Mutex
	timed     context.Context // with the timer; nil until somebody waits
	stop      context.CancelFunc
	cancelled bool
}

// detach returns the context for n messages of a request. The caller cancels it.
func detach(r *http.Request, n int) *detached {
	timeout := appendTimeout + time.Duration(n-1)*batchTimeout
	return &detached{Context: context.WithoutCancel(r.Context()), deadline: time.Now().Add(timeout)}
}

func (d *detached) cancel() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancelled = true
	if d.timed != nil {
		d.stop()
	}
}

func (d *detached) Deadline() (time.Time, bool) { return d.deadline, true }

func (d *detached) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.start().Done()
}

func (d *detached) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timed == nil && !d.cancelled && time.Now().Before(d.deadline) {
		return nil
	}
	return d.start().Err()
}

// AfterFunc lets package context derive contexts without a goroutine for each.
func (d *detached) AfterFunc(f func()) (stop func() bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return context.AfterFunc(d.start(), f)
}

// start returns the context with the timer. Callers hold mu.
func (d *detached) start() context.Context {
	if d.timed == nil {
		d.timed, d.stop = context.WithDeadline(d.Context, d.deadline)
		if d.cancelled {
			d.stop()
		}
	}
	return d.timed
}
