package natslog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// Append implements [eventlog.Log]. A message that, with its headers, is larger than the
// server takes, or than the stream retains, gets [eventlog.ErrTooLarge].
//
// JetStream remembers a key for the whole window, even if its message is removed or expires
// meanwhile. Append then stores a further message with that key under another id. When the
// window of the first message has ended, a repeat of the further one is stored again.
func (l *Log) Append(ctx context.Context, messages []eventlog.Message) []eventlog.Appended {
	results := make([]eventlog.Appended, len(messages))
	var stop error
	for i, m := range messages {
		if stop == nil {
			results[i] = l.append(ctx, m)
			l.ended(&results[i].Err)
		} else {
			results[i].Err = stop
		}
		if err := results[i].Err; !errors.Is(err, eventlog.ErrKeyConflict) && !errors.Is(err, eventlog.ErrTooLarge) && !errors.Is(err, eventlog.ErrTooManyTopics) {
			stop = err
		}
	}
	return results
}

// recordOverhead is what a message with headers takes in JetStream's files beside its subject,
// headers and data.
const recordOverhead = 34

// keyUses bounds how often a key is used again within its window.
const keyUses = 100

func (l *Log) append(ctx context.Context, m eventlog.Message) eventlog.Appended {
	if err := l.enter(ctx); err != nil {
		return eventlog.Appended{Err: err}
	}
	g := l.now.Load()
	msg := &nats.Msg{Subject: l.names.subject(m.Topic), Data: []byte(m.Data), Header: nats.Header{}}
	mark := 1 + rand.Uint32N(eventlog.MaxMark)
	msg.Header.Set(markHeader, string(eventlog.AppendMark(nil, mark)))
	if m.Type != "" {
		msg.Header.Set(typeHeader, encodeType(m.Type))
	}
	if g.count.Load() >= int64(l.opts.MaxTopics) && !strings.HasPrefix(m.Topic, topics.ReservedPrefix) {
		has, err := l.hasTopic(ctx, m.Topic)
		switch {
		case err != nil:
			return eventlog.Appended{Err: err}
		case !has:
			return eventlog.Appended{Err: eventlog.ErrTooManyTopics}
		}
	}
	var gone uint64 // the number that the key has used, and whose message is gone
	for range keyUses {
		if m.Key != "" {
			msg.Header.Set(jetstream.MsgIDHeader, messageID(m.Topic, m.Key, gone))
		}
		if size, limit := int64(msg.Size()+recordOverhead), g.bytes.Load(); limit > 0 && size > limit {
			// The server would store it, and remove it at once with all others.
			return eventlog.Appended{Err: &eventlog.TooLargeError{Size: size, Limit: limit}}
		}
		ack, err := l.publish(ctx, g, msg, mark)
		switch {
		case err != nil:
			return eventlog.Appended{Err: err}
		case !ack.Duplicate:
			id := g.epochs.Position(ack.Sequence)
			id.Mark = mark
			return eventlog.Appended{ID: id}
		}
		first, header, err := l.withHeader(ctx, getRequest{Seq: ack.Sequence})
		switch {
		case errors.Is(err, eventlog.ErrNotFound), err == nil && header.Get(jetstream.MsgIDHeader) != msg.Header.Get(jetstream.MsgIDHeader):
			gone = ack.Sequence // the server has lost the message, and may have used its number again
		case err != nil:
			return eventlog.Appended{Err: fmt.Errorf("%w: %w", eventlog.ErrUnconfirmed, err)}
		case first.Topic != m.Topic || first.Type != m.Type || first.Data != m.Data:
			return eventlog.Appended{Err: eventlog.ErrKeyConflict}
		default:
			return eventlog.Appended{ID: g.epochs.ID(first), Repeat: true}
		}
	}
	return eventlog.Appended{Err: fmt.Errorf("%w, and too often within the deduplication window", eventlog.ErrKeyConflict)}
}

// codeInFlight is JetStream's error for a message whose id is just being stored.
const codeInFlight = 10158

// publish sends a message to the stream, and waits until it is stored.
func (l *Log) publish(ctx context.Context, g *generation, m *nats.Msg, mark uint32) (*jetstream.PubAck, error) {
	n := 1 + len(m.Data)/slotBytes
	if err := l.slots.take(ctx, n); err != nil {
		return nil, err
	}
	defer l.slots.free(n)
	within, cancel := l.request(ctx)
	defer cancel()
	for {
		head := g.head.Load()
		ack, err := l.link.Load().js.PublishMsg(within, m)
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeInFlight {
			select {
			case <-time.After(10 * time.Millisecond):
				continue
			case <-within.Done():
				return nil, l.refused(ctx, m, within.Err())
			}
		}
		if err != nil {
			return nil, l.refused(ctx, m, err)
		}
		if !ack.Duplicate {
			reused := ack.Sequence <= head || !g.known.add(identity{seq: ack.Sequence, mark: mark})
			if reused || !l.gate.passable() {
				return ack, l.confirm(within, g, ack.Sequence, reused)
			}
			g.advance(ack.Sequence)
		}
		if l.now.Load() != g {
			return nil, eventlog.ErrUnconfirmed
		}
		return ack, nil
	}
}

// confirm waits for a look at the stream, because the number of a message that was just
// stored was used before, or the look is under way. If the stream has lost its end, nobody knows
// whether the message has survived that.
func (l *Log) confirm(ctx context.Context, g *generation, seq uint64, reused bool) error {
	if reused {
		id := g.known.at(seq)
		l.disagree(g, &id)
	}
	if err := l.gate.wait(ctx); err != nil || l.now.Load() != g || reused {
		return eventlog.ErrUnconfirmed
	}
	return nil
}

// The errors with which a server refuses a message because it has no room.
var full = []jetstream.ErrorCode{
	10077,               // the stream's store has failed, or is full
	10023, 10028, 10047, // resources of the server or the account
}

// refused translates the error of a message that was not acknowledged. ctx is that of the caller.
func (l *Log) refused(ctx context.Context, m *nats.Msg, err error) error {
	api, _ := errors.AsType[*jetstream.APIError](err)
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return &eventlog.TooLargeError{Size: int64(m.Size() - len(m.Subject)), Limit: l.link.Load().nc.MaxPayload()}
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		l.suspect()
		return errNoStream
	case offline(err):
		return errDisconnected
	case api != nil && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Errorf("%w: %w", eventlog.ErrTooLarge, err)
	case api != nil && slices.Contains(full, api.ErrorCode):
		return fmt.Errorf("%w: %w", eventlog.ErrFull, err)
	case api != nil: // the stream is sealed, or the cluster has no leader
		l.suspect()
		return fmt.Errorf("natslog: %w: %w", eventlog.ErrUnavailable, err)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("natslog: %w: %w", eventlog.ErrUnconfirmed, err)
}

// JetStream refuses messages while 10,000 of them, or 128 MiB, are in flight. Therefore a
// message in flight takes a slot, and one more for each slotBytes.
type slots struct {
	taken chan struct{}
	large *sync.Mutex // held while a message takes several slots
}

const (
	maxSlots  = 2048
	slotBytes = 16 << 10
)

func newSlots() slots { return slots{make(chan struct{}, maxSlots), new(sync.Mutex)} }

func (s slots) take(ctx context.Context, n int) error {
	if n > 1 {
		s.large.Lock()
		defer s.large.Unlock()
	}
	for i := range min(n, maxSlots) {
		select {
		case s.taken <- struct{}{}:
		case <-ctx.Done():
			s.free(i)
			return ctx.Err()
		}
	}
	return nil
}

func (s slots) free(n int) {
	for range min(n, maxSlots) {
		<-s.taken
	}
}
