package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

// Requests that need the latest state go to the stream's leader. Any replica may answer a
// batch, as of an earlier state.

// info asks the leader about the stream. If the stream was made again, and the log not yet
// opened anew, info returns [eventlog.ErrReopened]: the new stream lacks what readers ask for.
func (l *Log) info(ctx context.Context, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	g := l.now.Load()
	info, err := l.ask(ctx, g, opts...)
	if err != nil {
		return nil, err
	}
	if !g.isOf(info) {
		l.suspect()
		return nil, eventlog.ErrReopened
	}
	g.count.Store(int64(info.State.NumSubjects))
	return info, nil
}

// ask is info for any stream of the name.
func (l *Log) ask(ctx context.Context, g *generation, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	within, cancel := l.request(ctx)
	defer cancel()
	info, err := g.stream.Info(within, opts...)
	return info, failed(ctx, err)
}

// bounds returns the sequence numbers of the stream's first and last message. They are never
// behind what was acknowledged. In an empty stream, first is one more than last.
func (l *Log) bounds(ctx context.Context) (first, last uint64, err error) {
	info, err := l.info(ctx)
	if err != nil {
		return 0, 0, err
	}
	first, last = boundsIn(info)
	return first, last, nil
}

// boundsIn returns the bounds in a leader's answer.
func boundsIn(info *jetstream.StreamInfo) (first, last uint64) {
	first, last = info.State.FirstSeq, info.State.LastSeq
	if info.State.Msgs == 0 {
		first = last + 1
	}
	return first, last
}

// A getRequest asks for messages.
type getRequest struct {
	Seq      uint64 `json:"seq,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`

	// LastsFor asks for the newest message, from Seq on, of each subject that matches one
	// of these.
	LastsFor []string `json:"multi_last,omitempty"`
}

// one asks the leader for one message. It returns [eventlog.ErrNotFound] if there is none.
func (l *Log) one(ctx context.Context, req getRequest) (eventlog.Record, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return eventlog.Record{}, err
	}
	within, cancel := l.request(ctx)
	defer cancel()
	m, err := l.nc.RequestWithContext(within, "$JS.API.STREAM.MSG.GET."+l.opts.Stream, body)
	if err != nil {
		return eventlog.Record{}, failed(ctx, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return eventlog.Record{}, failed(ctx, err)
	}
	if e := answer.Error; e != nil {
		if e.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return eventlog.Record{}, eventlog.ErrNotFound
		}
		return eventlog.Record{}, failed(ctx, e)
	}
	found := &answer.Message
	var header nats.Header
	if len(found.Header) > 0 {
		if header, err = nats.DecodeHeadersMsg(found.Header); err != nil {
			return eventlog.Record{}, failed(ctx, err)
		}
	}
	return l.record(found.Seq, found.Time, found.Subject, header, found.Data), nil
}

// record returns the record of a stored message.
func (l *Log) record(seq uint64, t time.Time, subject string, header nats.Header, data []byte) eventlog.Record {
	return eventlog.Record{
		Seq: seq, Time: t.UTC(), Topic: l.names.topic(subject), Type: decodeType(header.Get(typeHeader)), Data: string(data),
	}
}

// next returns the first selected record from seq on, or [eventlog.ErrNotFound]. It is never
// behind. It sends one request for each filter, because the API takes one at a time. Two or
// three filters are usual, so next does not try to save requests.
func (l *Log) next(ctx context.Context, sel *selection, seq uint64) (eventlog.Record, error) {
	var first eventlog.Record
	for _, subject := range sel.subjects {
		r, err := l.one(ctx, getRequest{Seq: seq, NextFor: subject})
		switch {
		case errors.Is(err, eventlog.ErrNotFound):
		case err != nil:
			return eventlog.Record{}, err
		case first.Seq == 0 || r.Seq < first.Seq:
			first = r
		}
	}
	if first.Seq == 0 {
		return eventlog.Record{}, eventlog.ErrNotFound
	}
	return first, nil
}

// errTooMany means that a server refuses to send so many results.
var errTooMany = errors.New("natslog: JetStream: too many results")

// batch asks any replica for a batch. It returns the records, and the header of the message
// that ends the batch. A replica that is behind ends it too early, but no record before the
// end is missing.
func (l *Log) batch(ctx context.Context, req getRequest) (records []eventlog.Record, end nats.Header, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, nil, err
	}
	inbox := l.nc.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, nil, failed(ctx, err)
	}
	defer sub.Unsubscribe()
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, nil, failed(ctx, err)
	}
	if err := l.nc.PublishRequest("$JS.API.DIRECT.GET."+l.opts.Stream, inbox, body); err != nil {
		return nil, nil, failed(ctx, err)
	}
	within, cancel := l.request(ctx)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(within)
		if err != nil {
			return nil, nil, failed(ctx, err)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end, or nothing is found
			return records, m.Header, nil
		case "413":
			return nil, nil, errTooMany
		case "503":
			return nil, nil, errNoStream
		default:
			return nil, nil, fmt.Errorf("natslog: JetStream: %s %s", status, m.Header.Get("Description"))
		}
		seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
		if err != nil {
			return nil, nil, fmt.Errorf("natslog: JetStream's answer has no sequence number: %w", err)
		}
		t, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
		if err != nil {
			return nil, nil, fmt.Errorf("natslog: JetStream's answer has no time: %w", err)
		}
		records = append(records, l.record(seq, t, m.Header.Get(jetstream.SubjectHeader), m.Header, m.Data))
	}
}
