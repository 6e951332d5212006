package eventsource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.com/tidings/internal/outgoing"
)

const (
	// healthyTime is how long a stream must have been open for the next backoff
	// to begin anew.
	healthyTime = 60 * time.Second

	// emptyLimit is how many connections without a byte make a client muted, and
	// mutedWait how long it then waits at least.
	emptyLimit = 3
	mutedWait  = 30 * time.Second

	// silenceLimit is how many attempts in a row that were silent, or had no
	// answer, make the client close the idle connections too: one of HTTP/2 that is
	// dead would stay in the pool.
	silenceLimit = 2
)

// judge applies the rules to an attempt that has ended with err.
func (r *run) judge(a *attempt, err error) *Failure {
	opened := !a.open.IsZero() && !a.refused
	r.opened = r.opened || opened
	if opened && r.c.now().Sub(a.open) >= healthyTime {
		r.failures = 0
	}
	r.failures++
	r.count(a, err)
	f := &Failure{Attempt: r.failures, Err: err, Opened: opened, Asked: r.wish}
	if r.once != none {
		f.Asked = r.once
	}
	f.Final = r.final(f)
	f.Wait = r.nextWait(f)
	if r.c.opts.Decide != nil {
		r.c.opts.Decide(f)
	}
	return f
}

// count notes what an attempt means for the next ones.
func (r *run) count(a *attempt, err error) {
	if !a.open.IsZero() && !a.bytes {
		r.empty++
	}
	if err == ErrSilent || err == ErrNoAnswer {
		if r.silences++; r.silences >= silenceLimit {
			r.c.http.CloseIdleConnections()
		}
	}
	r.once = none
	if status, ok := err.(*StatusError); ok {
		if wait, ok := outgoing.RetryAfter(status.Header, r.c.now()); ok {
			r.once = wait
		}
	}
}

// final reports whether the sequence ends with a failure.
func (r *run) final(f *Failure) bool {
	o := &r.c.opts
	if o.Method != http.MethodGet && o.Method != http.MethodHead && !o.Repeat {
		return true
	}
	status, refused := f.Err.(*StatusError)
	_, wrongType := f.Err.(*ContentTypeError)
	again := refused && status.Status == http.StatusUnauthorized && o.Prepare != nil && !o.Standard && !r.unauthorized
	r.unauthorized = refused && status.Status == http.StatusUnauthorized
	switch {
	case again:
		return false
	case o.Standard && (refused || wrongType), errors.Is(f.Err, ErrFinal):
		return true
	case refused && !outgoing.Temporary(status.Status), wrongType && !r.opened:
		return true
	}
	return o.FailFast && !r.opened
}

// nextWait returns how long to wait after a failure that is not final.
func (r *run) nextWait(f *Failure) time.Duration {
	if r.unauthorized {
		return 0 // Prepare may have a better credential at once
	}
	if f.Asked == 0 {
		if f.Opened || f.Attempt == 1 {
			return 0
		}
		return outgoing.Backoff(f.Attempt - 2)
	}
	wait := outgoing.Backoff(f.Attempt - 1)
	if f.Asked > 0 {
		wait = max(wait, outgoing.Spread(f.Asked))
	}
	if r.empty >= emptyLimit {
		wait = max(wait, mutedWait)
	}
	return wait
}

// wait waits for the next attempt. It returns false if the context is done.
func (r *run) wait(f *Failure) bool {
	s := State{Phase: Waiting, Wait: f.Wait, Err: f.Err}
	if r.empty >= emptyLimit {
		s.Phase = Muted
		s.Err = fmt.Errorf("eventsource: %d connections in a row have opened and brought no byte. A proxy or a virus scanner seems to hold the stream back. HTTPS, or a proxy that does not buffer, helps: %w", r.empty, f.Err)
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	defer cancel(nil)
	hurry := !r.c.beginWait(cancel)
	r.logFailure(f)
	r.tell(s)
	if hurry || f.Wait <= 0 {
		return r.ctx.Err() == nil
	}
	timer := time.NewTimer(f.Wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return r.ctx.Err() == nil
}
