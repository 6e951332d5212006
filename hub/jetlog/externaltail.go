package jetlog

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/hub"
)

// How soon a consumer finds that the server has forgotten it.
const (
	tailHeartbeat = 2 * time.Second
	tailExpiry    = 10 * time.Second
)

// tail reads with ordered consumers, one after each connection. They begin at a
// sequence number, never at what is new.
func (x *external) tail(ctx context.Context, l *Log, after uint64, yield func([]hub.Record, error) bool) {
	c := l.core.Load()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.closing, cancel)()
	for ctx.Err() == nil {
		more, err := x.consume(ctx, l, c, &after, yield)
		switch {
		case ctx.Err() != nil || err == nil && !more:
			return
		case err != nil:
			x.suspect()
			yield(nil, fmt.Errorf("jetlog: the tail of the stream: %w", err))
			return
		}
	}
}

// consume reads until the connection is made again, which is when there is more,
// or the loop is left.
func (x *external) consume(ctx context.Context, l *Log, c *core, after *uint64, yield func([]hub.Record, error) bool) (more bool, err error) {
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
		var records []hub.Record
		select {
		case m := <-messages:
			records = appendNext(records, l.names, after, m)
		case <-again:
			return true, nil
		case <-consuming.Closed():
			return false, errReopened
		case <-c.gone:
			return false, errReopened
		case <-ctx.Done():
			return false, nil
		}
		for size := 0; len(records) < tailRecords && len(messages) > 0 && size < tailBytes; {
			records = appendNext(records, l.names, after, <-messages)
			if n := len(records); n > 0 {
				size += len(records[n-1].Data)
			}
		}
		c.head.advance(*after)
		if len(records) > 0 && (ctx.Err() != nil || !yield(records, nil)) {
			return false, nil
		}
	}
}

// appendNext appends a message's record, unless it was yielded before.
func appendNext(records []hub.Record, names naming, after *uint64, m jetstream.Msg) []hub.Record {
	meta, err := m.Metadata()
	if err != nil || meta.Sequence.Stream <= *after {
		return records
	}
	*after = meta.Sequence.Stream
	return append(records, hub.Record{
		Seq: *after, Time: meta.Timestamp.UTC(), Topic: names.topic(m.Subject()),
		Type: decodeType(m.Headers().Get(typeHeader)), Data: string(m.Data()),
	})
}
