package bench

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"
)

// A subscriber is one stream. It takes the bytes of the response as they arrive,
// checks the events in them, and counts them in its tally and the run's flow. It is
// for one goroutine at a time. The engine chooses the goroutine and reads the bytes.
type subscriber struct {
	run    *run
	tally  *tally
	index  int // among all subscribers
	topic  uint32
	state  streamState
	joined bool          // the stream was open at some time
	began  time.Duration // when it began to connect, since the run began
	reply  reply
	scan   scanner
	ledger ledger

	// Counts of the current call of receive, not in the tally yet.
	deliveries, settled int64

	// A response that is not a stream, and its body so far.
	refusal     *http.Response
	refusalBody []byte
}

// A streamState is the state of a subscriber's stream.
type streamState uint8

const (
	opening streamState = iota // until its first event
	open
	over // its end is counted
)

// limit returns the largest size in bytes of an event of this run, or of one of the
// hub's own events.
func (r *run) limit() int { return r.cfg.Payload + 64<<10 }

// receive takes the bytes that arrived at the time now. It counts an error itself.
// After an error the engine must close the connection.
func (s *subscriber) receive(b []byte, now time.Duration) error {
	err := s.take(b, now)
	s.tally.bytes.Add(int64(len(b)))
	if s.deliveries > 0 {
		s.tally.deliveries.Add(s.deliveries)
		storeMax(&s.tally.last, int64(now))
		s.tally.settled.Add(s.settled) // last: a reader that sees it also sees the other counters
		s.deliveries, s.settled = 0, 0
	}
	if err != nil {
		return s.end(err)
	}
	return nil
}

// take takes the events in b. Its error says why the stream is over.
func (s *subscriber) take(b []byte, now time.Duration) error {
	for len(b) > 0 {
		body, n, err := s.reply.next(b)
		b = b[n:]
		if s.reply.response != nil {
			s.head()
		}
		if s.refusal != nil {
			s.refusalBody = append(s.refusalBody, body[:min(len(body), maxRefusal-len(s.refusalBody))]...)
			body = nil
		}
		for len(body) > 0 {
			n, ok, err := s.scan.next(body)
			if err != nil {
				return err
			}
			if body = body[n:]; !ok {
				continue
			}
			if s.event(now); s.state == over {
				return errLate
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// head checks the head of the response.
func (s *subscriber) head() {
	if res := s.reply.response; s.run.target.accepts(res, func() []byte { return nil }) != nil {
		s.refusal = res
	}
	s.reply.response = nil
}

// errLate ends a stream that opens after the run has stopped waiting for streams.
var errLate = errors.New("it opened too late")

// event handles an event of the stream.
func (s *subscriber) event(now time.Duration) {
	if s.state == opening {
		s.state = over
		if s.run.flow.join(s.topic) {
			s.state, s.joined = open, true
			s.tally.firstEvent.add(now - s.began)
			storeMax(&s.tally.lastOpen, int64(now))
			s.tally.opened.Add(1) // last: a reader that sees it also sees the other counters
		}
	}
	if s.state == over {
		return
	}
	switch string(s.scan.typ) { // in a variable it would be a copy for each event
	case "", "message":
		s.message(s.scan.data, now)
	case "tidings.open", "tidings.position":
	case "tidings.gap":
		s.tally.gaps.Add(1)
		s.run.problems.note("a gap", fmt.Sprintf("a subscriber got a gap: %s", oneLine(string(s.scan.data))))
	default:
		s.tally.foreign.Add(1)
		s.run.problems.note("foreign", fmt.Sprintf("an event has the type %q, which the bench did not publish", oneLine(string(s.scan.typ))))
	}
}

// message handles the data of a message.
func (s *subscriber) message(data []byte, now time.Duration) {
	m, ok := parseMarker(data)
	if !ok {
		s.tally.garbled.Add(1)
		s.run.problems.note("garbled", fmt.Sprintf("a message is not as it was published: %q", oneLine(string(data))))
		return
	}
	topics := uint64(s.run.cfg.Topics)
	seq := uint64(m.seq)
	number := seq*topics + uint64(s.topic)
	if m.run != s.run.id || m.topic != s.topic || !s.run.flow.isPublished(number) {
		s.tally.foreign.Add(1)
		s.run.problems.note("foreign", fmt.Sprintf("a subscriber has received message %d of run %08x, topic %d, which is not for it", m.seq, m.run, m.topic))
		return
	}
	v, skipped := s.ledger.receive(seq)
	switch v {
	case repeated:
		s.tally.repeated.Add(1)
		return
	case outOfOrder: // it was settled when it was skipped
		s.tally.outOfOrder.Add(1)
		s.tally.skipped.Add(-1)
	case ahead:
		s.tally.skipped.Add(int64(skipped))
	}
	s.deliveries++
	s.tally.latency.add(now - time.Duration(m.at))
	if v == outOfOrder {
		return
	}
	for i := skipped; s.run.cfg.InFlight > 0 && i > 0; i-- {
		s.run.flow.settle(number - i*topics)
	}
	s.run.flow.settle(number)
	s.settled += int64(skipped) + 1
}

// end counts the end of the stream and returns its reason, which is io.EOF if the
// connection or the response has ended. The engine calls it when the connection
// fails. A second call does nothing.
func (s *subscriber) end(reason error) error {
	switch s.state {
	case opening:
		s.tally.failed.Add(1)
		s.run.problems.note("not open", "a stream did not open: "+s.whyNot(reason))
	case open:
		s.tally.closed.Add(1)
		switch reason {
		case io.EOF:
			reason = errors.New("the server has ended it")
		case io.ErrUnexpectedEOF:
			reason = errors.New("the server has broken it off")
		}
		s.run.problems.note("closed", fmt.Sprintf("a stream was closed after %d messages: %v", s.ledger.got, reason))
		s.run.flow.leave(s.topic, s.ledger.next)
	}
	s.state = over
	return reason
}

// whyNot says why the stream has not opened.
func (s *subscriber) whyNot(reason error) string {
	switch {
	case s.refusal != nil:
		return s.run.target.accepts(s.refusal, func() []byte { return s.refusalBody }).Error()
	case reason == io.EOF, reason == io.ErrUnexpectedEOF:
		return "the server has closed it before its first event"
	case errors.Is(reason, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("this machine has no port left for one more connection to %s: choose fewer --subscribers, or run the bench on several machines", s.run.target.peer)
	case errors.Is(reason, syscall.ECONNREFUSED):
		return fmt.Sprintf("%s refuses the connection", s.run.target.peer)
	}
	return reason.Error()
}
