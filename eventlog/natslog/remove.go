package natslog

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// Remove implements [eventlog.Log]. The server overwrites each message, one after the other.
// In a cluster, a replica that is away does so when it is back, and the servers' Raft logs
// keep a message until NATS compacts them.
//
// JetStream does not know which topic an erased message had. So every reader that passes it
// is told of a hole. The reason is [sse.GapRemoved] as long as this Log is open. A Log that
// is opened later says [sse.GapLost]. So does one of another process, which notices within
// seconds. Where the oldest messages are erased, these logs say [sse.GapExpired].
func (l *Log) Remove(ctx context.Context, seqs []uint64) (n int, err error) {
	defer l.ended(&err)
	g := l.now.Load()
	info, err := l.info(ctx, infoRequest{})
	if err != nil {
		return 0, err
	}
	if info.Config.Metadata[epochKey] != g.epochs[0].ID {
		l.suspect()
		return 0, eventlog.ErrReopened // the numbers are those of another stream
	}
	for _, seq := range seqs {
		if seq < max(info.State.FirstSeq, 1) || seq > info.State.LastSeq || g.holes.removing(seq) {
			continue
		}
		if l.now.Load() != g {
			return n, eventlog.ErrReopened
		}
		within, cancel := l.request(ctx)
		err := l.erase(within, seq)
		cancel()
		if err != nil {
			if _, found := l.one(ctx, getRequest{Seq: seq}); !errors.Is(found, eventlog.ErrNotFound) {
				return n, failed(ctx, fmt.Errorf("removing message %d: %w", seq, err))
			}
		}
		if !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) { // it was there, even if the answer is lost
			n++
		}
		g.holes.add(seq, seq)
	}
	return n, nil
}

// RemoveTopic implements [eventlog.Log], as Remove does.
func (l *Log) RemoveTopic(ctx context.Context, topic string, upTo uint64) (n int, err error) {
	defer l.ended(&err)
	if err := topics.Check(topic); err != nil {
		return 0, err
	}
	g := l.now.Load()
	_, last, err := l.bounds(ctx)
	if err != nil {
		return 0, err
	}
	var seqs []uint64
	for r, err := range l.records(ctx, g, topics.MustFilters(topic), 0, min(upTo, last)) {
		if err != nil {
			return 0, err
		}
		seqs = append(seqs, r.Seq)
	}
	return l.Remove(ctx, seqs)
}

// erase has the server overwrite a message. The error is [jetstream.ErrMsgDeleteUnsuccessful] if
// the server has answered that it cannot.
func (l *Log) erase(ctx context.Context, seq uint64) error {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	err := l.call(ctx, "STREAM.MSG.DELETE."+l.opts.Stream, map[string]uint64{"seq": seq}, &answer)
	if err == nil && answer.Error != nil {
		err = fmt.Errorf("%w: %w", jetstream.ErrMsgDeleteUnsuccessful, answer.Error)
	}
	return err
}
