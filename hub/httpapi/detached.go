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

	mu    sync.Mutex
	err   error         // why it has ended
	done  chan struct{} // nil until somebody waits
	timer *time.Timer   // the same
	after map[*func()]struct{}
}

// detach returns the context for n messages of a request. The caller cancels it.
func detach(r *http.Request, n int) *detached {
	timeout := appendTimeout + time.Duration(n-1)*batchTimeout
	return &detached{Context: r.Context(), deadline: time.Now().Add(timeout)}
}

func (d *detached) cancel() { d.end(context.Canceled) }

func (d *detached) expire() { d.end(context.DeadlineExceeded) }

// end ends the context, unless it has ended.
func (d *detached) end(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return
	}
	d.err = err
	if d.done != nil {
		d.timer.Stop()
		close(d.done)
	}
	for f := range d.after {
		go (*f)()
	}
	d.after = nil
}

// Deadline implements [context.Context].
func (d *detached) Deadline() (time.Time, bool) { return d.deadline, true }

// Done implements [context.Context].
func (d *detached) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wait()
}

// wait starts the timer, and returns what Done does. Callers hold mu.
func (d *detached) wait() chan struct{} {
	switch {
	case d.done != nil:
	case d.err != nil:
		d.done = make(chan struct{})
		close(d.done)
	default:
		d.done = make(chan struct{})
		d.timer = time.AfterFunc(time.Until(d.deadline), d.expire)
	}
	return d.done
}

// Err implements [context.Context].
func (d *detached) Err() error {
	if !time.Now().Before(d.deadline) {
		d.expire()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// AfterFunc lets package context derive contexts without a goroutine for each.
func (d *detached) AfterFunc(f func()) (stop func() bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		go f()
		return func() bool { return false }
	}
	d.wait()
	if d.after == nil {
		d.after = map[*func()]struct{}{}
	}
	d.after[&f] = struct{}{}
	return func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		_, waits := d.after[&f]
		delete(d.after, &f)
		return waits
	}
}
