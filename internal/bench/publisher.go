package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A publisher publishes the messages of some topics, those whose number modulo the
// number of publishers is its own, over one connection after the other. Requests are
// sent without waiting for the answers to those before (RFC 9112, section 9.3.2),
// which the server gives in order, having stored the messages in order: so
// they have one, and the connection is not what limits the load.
type publisher struct {
	run   *run
	index int

	mu      sync.Mutex
	pending []sending // sent and not answered, in order
	refused []uint64  // answered with an error
	err     error     // why publishing has failed

	acked atomic.Int64
	sent  atomic.Int64
	over  atomic.Bool
}

// A sending is message m, which bears the time at: that of its first sending or, at
// a rate, when it was due.
type sending struct {
	m  uint64
	at time.Duration
}

// pipelined is how many requests are sent on one connection before the first of
// them is answered.
const pipelined = 256

// nap is how long a publisher may sleep without looking whether it is to stop.
const nap = 50 * time.Millisecond

// errAgain is the end of a connection on which what is not answered was not looked
// at, either: the server has said so with "Connection: close" (RFC 9112, section
// 9.6).
var errAgain = errors.New("the server has closed the connection in good order")

// publishAll publishes all messages, until ctx is done or one cannot be. It
// returns when nothing runs any more.
func (r *run) publishAll(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := r.now()
	var wg sync.WaitGroup
	for i := range r.publishers {
		p := &r.publishers[i]
		wg.Go(func() {
			defer p.over.Store(true)
			if err := p.publish(ctx, began); err != nil && ctx.Err() == nil {
				r.problems.note("publishing", err.Error())
				p.mu.Lock()
				p.err = err
				p.mu.Unlock()
				cancel() // the others need not go on
			}
		})
	}
	wg.Wait()
}

// published returns how many messages have been sent and how many acknowledged,
// and whether a publisher still runs.
func (r *run) published() (sent, acked int64, running bool) {
	for i := range r.publishers {
		p := &r.publishers[i]
		running = running || !p.over.Load()
		acked += p.acked.Load()
		sent += p.sent.Load()
	}
	return sent, acked, running
}

// publish publishes over as many connections as it takes.
func (p *publisher) publish(ctx context.Context, began time.Duration) error {
	next := uint64(p.index) // topic p.index is its first
	for {
		conn, err := p.run.target.dial(ctx, netip.Addr{})
		if err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
		before := p.acked.Load()
		next, err = p.session(ctx, conn, next, began)
		if err != errAgain || p.acked.Load() == before {
			return err
		}
	}
}

// session publishes from message next on, after those that are pending, over one
// connection, which it closes. It returns the message after the last that
// it has published. Its error is nil when all are published and acknowledged, and
// errAgain where another connection is to go on.
func (p *publisher) session(ctx context.Context, conn net.Conn, next uint64, began time.Duration) (uint64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// A place in turns is a request that is not answered.
	turns := make(chan struct{}, pipelined)
	var reader sync.WaitGroup
	answers := make(chan struct{}, pipelined) // a request has been sent
	reader.Go(func() {
		if err := p.answers(conn, answers, turns); err != nil {
			cancel(err)
		}
	})
	next, err := p.write(ctx, conn, next, began, turns, answers)
	close(answers)
	if err != nil {
		// What has come before the failure says why, and whether another
		// connection may go on.
		conn.SetReadDeadline(time.Now().Add(p.run.cfg.Timeout))
	}
	reader.Wait()
	conn.Close()
	switch {
	case ctx.Err() != nil:
		return next, context.Cause(ctx)
	case err != nil:
		return next, fmt.Errorf("publishing: %w", err)
	}
	return next, nil
}

// write sends what is pending, and then the messages from next on as they are due,
// and returns the one after the last.
func (p *publisher) write(ctx context.Context, conn net.Conn, next uint64, began time.Duration, turns, answers chan struct{}) (uint64, error) {
	r, w := p.run, bufio.NewWriterSize(conn, 64<<10)
	data, head := newData(r.cfg.Payload), []byte(nil)
	send := func(s sending) error {
		select {
		case turns <- struct{}{}:
		default:
			if err := w.Flush(); err != nil {
				return err
			}
			select {
			case turns <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		topic := uint32(s.m % r.flow.topics)
		marker{run: r.id, topic: topic, seq: uint32(s.m / r.flow.topics), at: int64(s.at)}.put(data)
		head = r.post.append(head[:0], topic)
		w.Write(head)
		_, err := w.Write(data)
		answers <- struct{}{} // has as many places as turns
		return err
	}
	p.mu.Lock()
	again := append([]sending(nil), p.pending...)
	p.mu.Unlock()
	for _, s := range again {
		if err := send(s); err != nil {
			return next, err
		}
	}
	for ; next < uint64(r.cfg.Messages); next = p.after(next) {
		at, err := p.turn(ctx, w, next, began)
		if err != nil {
			return next, err
		}
		s := sending{next, at}
		p.mu.Lock()
		p.pending = append(p.pending, s)
		p.mu.Unlock()
		r.flow.publish(p.index, next)
		p.sent.Add(1)
		if err := send(s); err != nil {
			return p.after(next), err
		}
	}
	return next, w.Flush()
}

// after returns the message of this publisher's topics that follows m.
func (p *publisher) after(m uint64) uint64 {
	for m++; int(m%p.run.flow.topics)%len(p.run.publishers) != p.index; m++ {
	}
	return m
}

// turn waits until message m may be published, and returns the time that it
// bears. What has been written goes out before it waits.
func (p *publisher) turn(ctx context.Context, w *bufio.Writer, m uint64, began time.Duration) (at time.Duration, err error) {
	r := p.run
	if r.cfg.Rate == 0 {
		if !r.flow.may(m) {
			if err := w.Flush(); err != nil {
				return 0, err
			}
		}
		err := r.flow.wait(ctx, p.index, m)
		return r.now(), err
	}
	due := began + time.Duration(float64(m)/r.cfg.Rate*float64(time.Second))
	for {
		left := due - r.now()
		if left <= 0 || ctx.Err() != nil {
			return due, ctx.Err()
		}
		if err := w.Flush(); err != nil {
			return 0, err
		}
		if left > 2*nap {
			sleep(ctx, left-nap)
		} else {
			pause(left)
		}
	}
}

// answers reads as many answers as there are requests. It returns nil when there
// is one to each, an error for the user when one refuses its message or does not
// come, and errAgain where the rest are to be sent again.
func (p *publisher) answers(conn net.Conn, requests, turns chan struct{}) error {
	r, br := p.run, bufio.NewReader(conn)
	for range requests {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			if err == io.ErrUnexpectedEOF || err == io.EOF {
				err = errors.New("the server has closed the connection without an answer")
			}
			return fmt.Errorf("publishing: %w", err)
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
		}
		p.mu.Lock()
		s := p.pending[0]
		p.pending = append(p.pending[:0], p.pending[1:]...)
		ok := res.StatusCode == http.StatusOK || res.StatusCode == http.StatusCreated
		if !ok {
			p.refused = append(p.refused, s.m)
		}
		left := len(p.pending)
		p.mu.Unlock()
		if !ok {
			return r.target.refused("publishing", res, body)
		}
		p.acked.Add(1)
		r.acked.add(r.now() - s.at)
		if r.cfg.InFlight > 0 {
			r.flow.settle(s.m)
		}
		<-turns
		switch {
		case err != nil:
			return fmt.Errorf("publishing: %w", err)
		case res.Close && (left > 0 || s.m+1 < uint64(r.cfg.Messages)):
			return errAgain
		}
	}
	return nil
}

// lost returns the messages that were sent and are not known to be stored.
func (p *publisher) lost() []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	lost := append([]uint64(nil), p.refused...)
	for _, s := range p.pending {
		lost = append(lost, s.m)
	}
	return lost
}
