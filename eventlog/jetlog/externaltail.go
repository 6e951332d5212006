package jetlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

// These bound how soon a consumer finds that the server has forgotten it.
const (
	tailHeartbeat = 2 * time.Second
	tailExpiry    = 10 * time.Second
)

// tail reads with ordered consumers, a new one for each connection. A consumer begins at a
// sequence number, never at the newest message.
func (x *external) tail(ctx context.Context, l *Log, c *core, after uint64, yield func([]eventlog.Record, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.closing, cancel)()
	for ctx.Err() == nil {
		more, err := x.consume(ctx, l, c, &after, yield)
		switch {
		case ctx.Err() != nil || err == nil && !more:
			return nil
		case err != nil:
			x.suspect()
			return fmt.Errorf("jetlog: the tail of the stream: %w", err)
		}
	}
	return nil
}

// consume reads until the connection is made again, or the loop is left. more is true in
// the first case: another consumer goes on.
func (x *external) consume(ctx context.Context, l *Log, c *core, after *uint64, yield func([]eventlog.Record, error) bool) (more bool, err error) {
	again := x.reconnection()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	creating, created := context.WithTimeout(ctx, requestTimeout)
	defer created()
	consumer, err := x.js.OrderedConsumer(creating, x.opts.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       *after + 1,
		InactiveThreshold: time.Minute,
	})
	if err != nil && !x.nc.IsConnected() {
		select {
		case <-again:
		case <-ctx.Done():
		}
		return true, nil
	}
	if err != nil {
		return false, err
	}
	messages := make(chan jetstream.Msg, tailRecords)
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		select {
		case messages <- m:
		case <-ctx.Done():
		}
	}, jetstream.PullHeartbeat(tailHeartbeat), jetstream.PullExpiry(tailExpiry),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if ctx.Err() == nil {
				l.logger.Debug("the tail of the stream", "error", err)
			}
		}))
	if err != nil {
		return false, err
	}
	defer consuming.Stop()
	for {
		var records []eventlog.Record
		select {
		case m := <-messages:
			records = appendNext(records, l.names, after, m)
		case <-again:
			return true, nil
		case <-consuming.Closed():
			return false, errors.New("the server has ended the consumer")
		case <-c.gone:
			return false, eventlog.ErrReopened
		case <-ctx.Done():
			return false, nil
		}
		for size := 0; len(records) < tailRecords && len(messages) > 0 && size < tailBytes; {
			records = appendNext(records, l.names, after, <-messages)
			if n := len(records); n > 0 {
				size += len(records[n-1].Data)
			}
		}
		if l.core.Load() != c {
			return false, eventlog.ErrReopened
		}
		c.head.advance(*after)
		if len(records) > 0 && (ctx.Err() != nil || !yield(records, nil)) {
			return false, nil
		}
	}
}

// appendNext appends a message's record, unless Tail has yielded it before.
func appendNext(records []eventlog.Record, names naming, after *uint64, m jetstream.Msg) []eventlog.Record {
	meta, err := m.Metadata()
	if err != nil || meta.Sequence.Stream <= *after {
		return records
	}
	*after = meta.Sequence.Stream
	return append(records, eventlog.Record{
		Seq: *after, Time: meta.Timestamp.UTC(), Topic: names.topic(m.Subject()),
		Type: decodeType(m.Headers().Get(typeHeader)), Data: string(m.Data()),
	})
}
