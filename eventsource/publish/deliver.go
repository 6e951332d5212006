package publish

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"example.com/tidings/internal/outgoing"
	"example.com/tidings/stream"
)

// A delivery brings items to the hub that fit into one request.
type delivery struct {
	c            *Client
	ctx          context.Context
	pending      []*item // without an outcome
	attempts     int     // that have failed
	unauthorized bool    // the last answer was 401
}

// deliver sends items until each has an outcome. It returns an error when it has
// given up, so that no further message is sent after those.
func (c *Client) deliver(ctx context.Context, items []*item) error {
	d := &delivery{c: c, ctx: ctx, pending: append([]*item(nil), items...)}
	err := c.err
	for err == nil {
		d.settle()
		if len(d.pending) == 0 {
			return nil
		}
		if err = context.Cause(ctx); err == nil {
			err = d.attempt()
		}
	}
	d.settle()
	abandon(d.pending, err)
	return err
}

func abandon(items []*item, err error) {
	for _, it := range items {
		if !it.done() {
			it.abandon(err)
		}
	}
}

// settle drops the items that have an outcome.
func (d *delivery) settle() {
	kept := d.pending[:0]
	for _, it := range d.pending {
		if !it.done() {
			kept = append(kept, it)
		}
	}
	d.pending = kept
}

// attempt sends the pending items once, and waits if another attempt makes
// sense only later. It returns an error if none makes sense.
func (d *delivery) attempt() error {
	items, wish, err := d.send()
	if err == nil {
		return nil
	}
	status, answered := errors.AsType[*StatusError](err)
	unauthorized := answered && status.Status == http.StatusUnauthorized
	again := unauthorized && d.c.opts.Prepare != nil && !d.unauthorized
	d.unauthorized = unauthorized
	switch {
	case again:
		return nil
	case answered && !status.later():
		return d.refused(items, status)
	}
	d.attempts++
	wait := max(outgoing.Backoff(d.attempts-1), wish)
	if late := d.tooLate(wait); late != nil {
		return fmt.Errorf("%w. The last attempt: %w", late, err)
	}
	if d.c.opts.OnRetry != nil {
		d.c.opts.OnRetry(err, wait)
	}
	return stream.Sleep(d.ctx, wait)
}

// refused handles an answer that no repetition changes. If it is about one line,
// the others go on without that and without those with the same fault: each of
// them would cost another request.
func (d *delivery) refused(items []*item, status *StatusError) error {
	switch {
	case status.Line > 0 && status.Line <= len(items):
		bad := items[status.Line-1]
		for _, it := range items {
			if it == bad || status.concernsAlso(it, bad) {
				it.refuse(status)
			}
		}
		return nil
	case status.Status == http.StatusRequestEntityTooLarge && len(items) == 1:
		items[0].refuse(status)
		return nil
	case status.Status == http.StatusRequestEntityTooLarge:
		return d.halves()
	}
	for _, it := range items {
		it.refuse(status)
	}
	return status
}

// halves sends the pending items as two requests.
func (d *delivery) halves() error {
	half := len(d.pending) / 2
	if err := d.c.deliver(d.ctx, d.pending[:half]); err != nil {
		return err
	}
	return d.c.deliver(d.ctx, d.pending[half:])
}

// requestTime returns how long the next request may take. One that is sent again
// ends before the hub may forget the keys: if it reached the hub after that, its
// messages would be stored twice.
func (d *delivery) requestTime() time.Duration {
	first := d.pending[0].first
	if first.IsZero() {
		return requestTime
	}
	if left := d.c.keyWindow() - time.Since(first); left > 0 {
		return min(requestTime, left)
	}
	return requestTime // the caller wants to send for longer
}

var errTooLate = errors.New("publish: the hub may forget the keys of these messages soon, so they are not sent again")

// tooLate returns an error if the pending items must not be sent again after
// wait.
func (d *delivery) tooLate(wait time.Duration) error {
	limit := d.c.opts.GiveUp
	if limit <= 0 {
		limit = d.c.keyWindow() / 4 * 3
	}
	if time.Since(d.pending[0].first)+wait > limit {
		return errTooLate
	}
	return nil
}

// send sends the pending items in one request, which it returns too. wish is how
// long the hub asks to wait. The error is a *StatusError if the hub has answered.
func (d *delivery) send() (items []*item, wish time.Duration, err error) {
	limit := d.requestTime()
	ctx, cancel := context.WithTimeoutCause(d.ctx, limit, fmt.Errorf("no answer came within %v", limit.Round(time.Second)))
	defer cancel()
	items = append(items, d.pending...)
	now := time.Now()
	for _, it := range items {
		if it.first.IsZero() {
			it.first = now
		}
	}
	req, err := d.c.request(ctx, items)
	if err != nil {
		return items, 0, err
	}
	res, err := d.c.http.Do(req)
	if err != nil {
		if !notSent(err) {
			mayBeStored(items)
		}
		return items, 0, fmt.Errorf("publish: %w", outgoing.Cause(ctx, err))
	}
	defer res.Body.Close()
	if seconds, err := strconv.ParseInt(res.Header.Get(windowHeader), 10, 32); err == nil && seconds > 0 {
		d.c.window.Store(int64(time.Duration(seconds) * time.Second))
	}
	if wait, ok := outgoing.RetryAfter(res.Header, now); ok {
		wish = outgoing.Spread(wait)
	}
	if mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); mediaType != ndjson {
		status := problem(res)
		if status.maybeStored() {
			mayBeStored(items)
		}
		return items, wish, status
	}
	err = readAnswers(res, items)
	io.CopyN(io.Discard, res.Body, keptBody) // the connection can be used again after its end
	return items, wish, err
}

// notSent reports whether an error says that nothing of a request has been sent: there was no
// connection, or one to a server that cannot show who it is.
func notSent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return ok && op.Op == "dial" || untrusted
}

const (
	ndjson       = "application/x-ndjson"
	windowHeader = "Idempotency-Window"
	keptBody     = 4 << 10
	mostAnswer   = 64 << 10
)

func mayBeStored(items []*item) {
	for _, it := range items {
		it.maybe = true
	}
}

func (c *Client) request(ctx context.Context, items []*item) (*http.Request, error) {
	size := 0
	for _, it := range items {
		size += len(it.line)
	}
	body := make([]byte, 0, size)
	for _, it := range items {
		body = append(body, it.line...)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.batch, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range c.opts.Header {
		req.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
	}
	req.Header.Set("Content-Type", ndjson)
	if c.opts.Prepare == nil {
		return req, nil
	}
	hookCtx, cancel := context.WithTimeout(ctx, outgoing.HookTime)
	defer cancel()
	if err := c.opts.Prepare(hookCtx, req); err != nil {
		return nil, fmt.Errorf("publish: the request could not be prepared: %w", err)
	}
	return req, nil
}

// problem reads an answer that is about the whole request.
func problem(res *http.Response) *StatusError {
	e := &StatusError{Status: res.StatusCode, Header: res.Header}
	body, _ := io.ReadAll(io.LimitReader(res.Body, keptBody))
	if p, ok := outgoing.ParseProblem(res.Header, body); ok {
		e.Type, e.Title, e.Line = p.Type, p.Title, p.Line
		e.Detail = strings.TrimPrefix(p.Detail, fmt.Sprintf("Line %d: ", p.Line)) // the caller does not know the lines
	}
	return e
}

// An answer is a line of the answer to a batch.
type answer struct {
	ID     string `json:"id"`
	Status int    `json:"status"`
	Type   string `json:"type"`
	Detail string `json:"detail"`
}

// readAnswers gives each item what its line of the answer says. It returns an
// error if some items are left to send again.
func readAnswers(res *http.Response, items []*item) error {
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, mostAnswer)
	var later error
	for i, it := range items {
		var a answer
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &a) != nil {
			// The answer is cut: the hub may have stored the others.
			mayBeStored(items[i:])
			err := lines.Err()
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("publish: the answer broke off: %w", err)
		}
		if err := it.answered(a, res.Header); err != nil && later == nil {
			later = err
		}
	}
	return later
}

// answered gives the item what its line says. It returns an error if the item is
// to be sent again.
func (it *item) answered(a answer, h http.Header) error {
	if a.Status == http.StatusOK || a.Status == http.StatusCreated {
		it.store(a.ID, a.Status == http.StatusOK)
		return nil
	}
	status := &StatusError{Status: a.Status, Type: a.Type, Detail: a.Detail, Header: h}
	if !status.later() {
		it.refuse(status)
		return nil
	}
	it.maybe = it.maybe || status.maybeStored()
	return status
}
