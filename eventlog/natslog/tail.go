package natslog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

const (
	// The bounds of what Tail yields at a time.
	tailRecords = 256
	tailBytes   = 1 << 20

	// These bound how soon a consumer finds that the server has forgotten it.
	tailHeartbeat = 2 * time.Second
	tailExpiry    = 10 * time.Second

	// makeTimeout bounds the making of a consumer. A server that has not caught up may not answer,
	// and the next consumer can be on another one.
	makeTimeout = 2 * time.Second
)

// Tail implements [eventlog.Log]. It reads with ordered consumers, a new one for each
// connection, and when one delivers nothing for some seconds. A consumer begins at a sequence
// number, never at the newest message.
func (l *Log) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		g := l.now.Load()
		if g.number != generation {
			yield(nil, eventlog.ErrReopened)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(l.closing, cancel)()
		for more := true; more; {
			var err error
			more, err = l.consume(ctx, g, &after, yield)
			switch {
			case ctx.Err() != nil || l.closing.Err() != nil:
				return
			case l.now.Load() != g && (more || err != nil):
				yield(nil, eventlog.ErrReopened)
				return
			case err != nil:
				l.suspect()
				yield(nil, fmt.Errorf("natslog: the tail of the stream: %w", err))
				return
			}
		}
	}
}

// consume reads until another session begins, the consumer is given up, or the loop is left. more
// is true in the first two cases: another consumer goes on.
func (l *Log) consume(ctx context.Context, g *generation, after *uint64, yield func([]eventlog.Record, error) bool) (more bool, err error) {
	session := l.session.Load()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := l.gate.wait(ctx); err != nil {
		return false, nil
	}
	if l.now.Load() != g {
		return false, eventlog.ErrReopened
	}
	l.tail.reached.Store(*after)
	l.tail.tailing.Store(true)
	select {
	case <-l.tail.renew: // meant for the consumer before
	default:
	}
	messages := make(chan jetstream.Msg, tailRecords)
	consumer, consuming, err := l.startConsumer(ctx, *after+1, messages)
	if err != nil && session.Err() != nil {
		select {
		case <-session.next:
		case <-ctx.Done():
		}
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { go l.endConsumer(consumer, consuming) }()
	l.tail.began.Store(time.Now().UnixNano())
	closed := consuming.Closed() // each call starts a goroutine
	var from source
	for {
		var records []eventlog.Record
		before := *after
		select {
		case m := <-messages:
			records = l.appendNext(records, after, m, &from)
		case <-session.next:
			return true, nil
		case <-l.tail.renew:
			if len(messages) > 0 {
				continue
			}
			return true, nil
		case <-closed:
			return false, errors.New("the server has ended the consumer")
		case <-g.gone:
			return false, eventlog.ErrReopened
		case <-ctx.Done():
			return false, nil
		}
		for size := 0; len(records) < tailRecords && len(messages) > 0 && size < tailBytes; {
			records = l.appendNext(records, after, <-messages, &from)
			if n := len(records); n > 0 {
				size += len(records[n-1].Data)
			}
		}
		if !l.gate.passable() { // these may be of a stream that has lost its end
			*after = before
			return true, nil
		}
		if l.now.Load() != g {
			return false, eventlog.ErrReopened
		}
		if !l.sure(ctx, g, &from, records) {
			*after = before
			return true, nil
		}
		if other := g.known.addAll(records); other != nil {
			l.disagree(g, other)
			*after = before
			return true, nil
		}
		l.tail.reached.Store(*after)
		g.advance(*after)
		g.topics.follow(before, records, *after)
		if len(records) > 0 && (ctx.Err() != nil || !yield(records, nil)) {
			return false, nil
		}
	}
}

// startConsumer starts a consumer that sends messages from a number on, until ctx is done.
func (l *Log) startConsumer(ctx context.Context, from uint64, messages chan<- jetstream.Msg) (jetstream.Consumer, jetstream.ConsumeContext, error) {
	within, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	creating, created := l.request(within)
	defer created()
	consumer, err := l.link.Load().js.OrderedConsumer(creating, l.opts.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, nil, err
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		select {
		case messages <- m:
		case <-ctx.Done():
		}
	}, jetstream.PullHeartbeat(tailHeartbeat), jetstream.PullExpiry(tailExpiry),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if ctx.Err() == nil {
				l.warnings.warn(l, "the consumer of the stream has an error: "+err.Error(), err)
			}
		}))
	return consumer, consuming, err
}

// endConsumer stops a consumer and deletes it, so that it does not count towards a limit. That can
// take 20 seconds: a client that is making the consumer anew answers only when it is done.
func (l *Log) endConsumer(consumer jetstream.Consumer, consuming jetstream.ConsumeContext) {
	consuming.Stop()
	ctx, cancel := l.request(l.closing)
	defer cancel()
	if ctx.Err() == nil {
		// If this fails, the servers delete the consumer after its InactiveThreshold.
		_ = l.link.Load().js.DeleteConsumer(ctx, l.opts.Stream, consumer.CachedInfo().Name)
	}
}

// A source says where the records of a Tail come from.
type source struct {
	consumer string // that has sent the last one; the client makes another one by itself
	pending  uint64 // how many more it had then
	changed  bool   // records of two consumers are together
	trusted  string // a consumer that has come to its end, and had the leader's records
}

// sure reports whether records are those that the leader has. A consumer is on any of the servers, so
// it is not trusted until it has come to what is new: see sameAsLeader.
func (l *Log) sure(ctx context.Context, g *generation, from *source, records []eventlog.Record) bool {
	changed := from.changed
	from.changed = false
	if len(records) == 0 || g.copies.Load() < 2 || from.consumer == from.trusted && !changed {
		return true
	}
	same, err := l.sameAsLeader(ctx, g, records[len(records)-1])
	if err != nil || !same || changed {
		_ = l.pause(ctx, time.Now().Add(time.Second)) // the next consumer may be on the same server
		return false
	}
	if from.pending == 0 {
		from.trusted = from.consumer
	}
	return true
}

// appendNext appends a message's record, unless Tail has yielded it before.
func (l *Log) appendNext(records []eventlog.Record, after *uint64, m jetstream.Msg, from *source) []eventlog.Record {
	meta, err := m.Metadata()
	if err != nil || meta.Sequence.Stream <= *after {
		return records
	}
	if from.consumer != meta.Consumer {
		from.consumer, from.changed = meta.Consumer, len(records) > 0
	}
	from.pending = meta.NumPending
	*after = meta.Sequence.Stream
	return append(records, l.record(*after, meta.Timestamp, m.Subject(), m.Headers(), m.Data()))
}
