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

// A publisher publishes the messages of the topics whose number, modulo the number
// of publishers, is its index. It uses one connection at a time. It sends requests
// without waiting for earlier answers (RFC 9112, section 9.3.2), so that the
// connection does not limit the load. The server stores the messages and answers
// in the order of the requests.
type publisher struct {
	run   *run
	index int

	mu      sync.Mutex
	pending []sending // sent but not answered, in order
	refused []uint64  // answered with an error
	err     error     // why publishing has failed

	acked atomic.Int64
	sent  atomic.Int64
	over  atomic.Bool
}

// A sending is message m with the time in its marker: when it was first sent or, at a
// rate, when it was due.
type sending struct {
	m  uint64
	at time.Duration
}

// pipelined is the largest number of requests on a connection that are sent but not
// answered.
const pipelined = 256

// finalPause is about how long a publisher pauses last before a message is due. A
// stop does not end this pause.
const finalPause = 50 * time.Millisecond

// errAgain means that the server has closed the connection with "Connection: close".
// It has not processed the requests that it did not answer (RFC 9112, section 9.6),
// so they are sent again.
var errAgain = errors.New("the server has closed the connection in good order")

// publishAll publishes all messages, until ctx is done or publishing fails. It
// returns when every publisher has returned.
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
				cancel() // stop the other publishers
			}
		})
	}
	wg.Wait()
}

// published returns how many messages are sent, how many are acknowledged, and
// whether a publisher still runs.
func (r *run) published() (sent, acked int64, running bool) {
	for i := range r.publishers {
		p := &r.publishers[i]
		running = running || !p.over.Load()
		acked += p.acked.Load()
		sent += p.sent.Load()
	}
	return sent, acked, running
}

// publish publishes the messages over as many connections as necessary.
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

// session publishes over one connection, which it closes: first the pending messages
// again, then from message next on. It returns the message after the last one that
// it has published. Its error is nil when all are published and acknowledged, and
// errAgain when another connection must continue.
func (p *publisher) session(ctx context.Context, conn net.Conn, next uint64, began time.Duration) (uint64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// turns holds an element for each request that is not answered.
	turns := make(chan struct{}, pipelined)
	var reader sync.WaitGroup
	answers := make(chan struct{}, pipelined) // one element for each request sent
	reader.Go(func() {
		if err := p.answers(conn, answers, turns); err != nil {
			cancel(err)
		}
	})
	next, err := p.write(ctx, conn, next, began, turns, answers)
	close(answers)
	if err != nil {
		// Answers from before the failure say why, and whether another connection
		// may continue.
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

// write sends the pending messages, and then the messages from next on as they are
// due. It returns the message after the last one.
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
		answers <- struct{}{} // never blocks: it has the capacity of turns
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

// after returns the next message after m that is this publisher's.
func (p *publisher) after(m uint64) uint64 {
	for m++; int(m%p.run.flow.topics)%len(p.run.publishers) != p.index; m++ {
	}
	return m
}

// turn waits until message m may be published, and returns the time for its marker.
// It flushes w before it waits.
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
		if left > 2*finalPause {
			sleep(ctx, left-finalPause)
		} else {
			pause(left)
		}
	}
}

// answers reads an answer to each request. It returns nil when it has all, and
// errAgain when the remaining requests must be sent again. Any other error is for
// the user: an answer refuses its message, or does not come.
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

// lost returns the messages that were sent but may not be stored.
func (p *publisher) lost() []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	lost := append([]uint64(nil), p.refused...)
	for _, s := range p.pending {
		lost = append(lost, s.m)
	}
	return lost
}
