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

// An infoRequest asks for the state of the stream.
type infoRequest struct {
	Deleted bool   `json:"deleted_details,omitempty"`
	Subject string `json:"subjects_filter,omitempty"` // counts the messages of one subject
}

// infoTimeout is after how long a leader is asked once more.
const infoTimeout = 2 * time.Second

// info asks the leader about the stream. If the stream was made again, and the log not yet
// opened anew, info returns [eventlog.ErrReopened]: the new stream lacks what readers ask for. A
// leader that was just elected may not have the newest messages yet: then info asks again.
func (l *Log) info(ctx context.Context, req infoRequest) (*jetstream.StreamInfo, error) {
	for deadline := time.Now().Add(requestTimeout); ; {
		g := l.now.Load()
		attempt, cancel := context.WithTimeout(ctx, infoTimeout)
		info, err := l.ask(attempt, req)
		cancel()
		switch {
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && time.Now().Before(deadline):
			continue // that leader has died, or has much to do
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			return nil, errNoAnswer
		case err != nil:
			return nil, err
		case !g.isOf(info):
			l.suspect()
			return nil, eventlog.ErrReopened
		case info.State.LastSeq >= g.head.Load():
			g.count.Store(int64(info.State.NumSubjects))
			return info, nil
		}
		l.suspect()
		if err := l.pause(ctx, deadline); err != nil {
			return nil, err
		}
	}
}

// pause waits a moment before a leader that is behind is asked again. After the deadline it fails
// with errBehind.
func (l *Log) pause(ctx context.Context, deadline time.Time) error {
	if time.Now().After(deadline) {
		return errBehind
	}
	select {
	case <-time.After(100 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.closing.Done():
		return eventlog.ErrClosed
	}
}

// ask is info for any stream of the name, in any state.
func (l *Log) ask(ctx context.Context, req infoRequest) (*jetstream.StreamInfo, error) {
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.StreamInfo
	}
	err := l.call(ctx, "STREAM.INFO."+l.opts.Stream, req, &answer)
	if err == nil && answer.Error != nil {
		err = apiError(answer.Error)
	}
	if err != nil {
		return nil, failed(ctx, err)
	}
	return &answer.StreamInfo, nil
}

// apiError returns an error that JetStream has answered.
func apiError(e *jetstream.APIError) error {
	if e.ErrorCode == jetstream.JSErrCodeStreamNotFound {
		return jetstream.ErrStreamNotFound
	}
	return e
}

// call sends a request to JetStream, and parses the answer.
func (l *Log) call(ctx context.Context, method string, req, answer any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	within, cancel := l.request(ctx)
	defer cancel()
	m, err := l.link.Load().nc.RequestWithContext(within, "$JS.API."+method, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(m.Data, answer)
}

// bounds returns the sequence numbers of the stream's first and last message. They are never
// behind what was acknowledged. In an empty stream, first is one more than last.
func (l *Log) bounds(ctx context.Context) (first, last uint64, err error) {
	info, err := l.info(ctx, infoRequest{})
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

// A storedMessage is a message as STREAM.MSG.GET returns it.
type storedMessage struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Header  []byte    `json:"hdrs"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"`
}

// message asks the leader of a stream for one message. It returns [eventlog.ErrNotFound] if there
// is none, and jetstream.ErrStreamNotFound if there is no stream.
func (l *Log) message(ctx context.Context, stream string, req getRequest) (*storedMessage, error) {
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message storedMessage       `json:"message"`
	}
	err := l.call(ctx, "STREAM.MSG.GET."+stream, req, &answer)
	if e := answer.Error; err == nil && e != nil {
		if e.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return nil, eventlog.ErrNotFound
		}
		err = apiError(e)
	}
	if err != nil {
		return nil, failed(ctx, err)
	}
	return &answer.Message, nil
}

// one asks the leader for one message. It returns [eventlog.ErrNotFound] if there is none.
func (l *Log) one(ctx context.Context, req getRequest) (eventlog.Record, error) {
	r, _, err := l.withHeader(ctx, req)
	return r, err
}

// withHeader is one, and returns the message's header, too.
func (l *Log) withHeader(ctx context.Context, req getRequest) (eventlog.Record, nats.Header, error) {
	found, err := l.message(ctx, l.opts.Stream, req)
	if err != nil {
		return eventlog.Record{}, nil, err
	}
	var header nats.Header
	if len(found.Header) > 0 {
		if header, err = nats.DecodeHeadersMsg(found.Header); err != nil {
			header = nil // another program's
		}
	}
	return l.record(found.Seq, found.Time, found.Subject, header, found.Data), header, nil
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
	nc := l.link.Load().nc
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, nil, failed(ctx, err)
	}
	defer sub.Unsubscribe()
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, nil, failed(ctx, err)
	}
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+l.opts.Stream, inbox, body); err != nil {
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
