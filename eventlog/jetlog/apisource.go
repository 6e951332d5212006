package jetlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// apiSource reads a stream through JetStream's API. Requests that need the latest state go
// to the stream's leader. Any replica may answer a scan.
type apiSource struct {
	nc     *nats.Conn
	stream string
	names  naming
}

// requestTimeout bounds the wait for an answer.
const requestTimeout = 5 * time.Second

// The codes of JetStream's errors.
const (
	codeNotFound      = 10037 // no message
	codeNoStream      = 10059
	codeInFlight      = 10158 // the same message id is being stored
	statusNotFound    = "404"
	statusTooMany     = "413"
	statusEnd         = "204"
	statusNoResponder = "503"
)

// request sends a request to JetStream's API, and decodes the answer.
func (a *apiSource) request(ctx context.Context, subject string, body any, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := a.nc.RequestWithContext(ctx, "$JS.API."+subject, data)
	if err != nil {
		return a.failed(err)
	}
	return json.Unmarshal(m.Data, answer)
}

// failed translates the error of a failed request.
func (a *apiSource) failed(err error) error {
	switch {
	case a.nc.IsClosed():
		return errReopening
	case errors.Is(err, nats.ErrNoResponders):
		return errNoStream
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("jetlog: no answer from NATS within %v: %w", requestTimeout, err)
	}
	return fmt.Errorf("jetlog: %w", err)
}

// errNoStream means that no server answers for the stream.
var errNoStream = errors.New("jetlog: the NATS server has no JetStream, or the stream has no leader")

type apiError struct {
	Code int    `json:"err_code"`
	Text string `json:"description"`
}

func (e *apiError) Error() string { return "jetlog: JetStream: " + e.Text }

func (a *apiSource) state(ctx context.Context) (eventlog.State, error) {
	info, err := a.info(ctx, struct{}{})
	if err != nil {
		return eventlog.State{}, err
	}
	return stateOf(info.State.Messages, info.State.First, info.State.Last), nil
}

// A streamInfo has the needed fields of the answer to STREAM.INFO.
type streamInfo struct {
	Error *apiError `json:"error"`
	Total int       `json:"total"`
	Limit int       `json:"limit"`
	State struct {
		Messages uint64            `json:"messages"`
		First    uint64            `json:"first_seq"`
		Last     uint64            `json:"last_seq"`
		Deleted  []uint64          `json:"deleted"`
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
	Config struct {
		Metadata map[string]string `json:"metadata"`
	} `json:"config"`
}

func (a *apiSource) info(ctx context.Context, request any) (*streamInfo, error) {
	info := new(streamInfo)
	if err := a.request(ctx, "STREAM.INFO."+a.stream, request, info); err != nil {
		return nil, err
	}
	if info.Error != nil {
		return nil, info.Error
	}
	return info, nil
}

// A getRequest asks the leader for one message, or any replica for a batch.
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

// leader asks the stream's leader for one message.
func (a *apiSource) leader(ctx context.Context, req getRequest) (eventlog.Record, error) {
	var answer struct {
		Error   *apiError `json:"error"`
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := a.request(ctx, "STREAM.MSG.GET."+a.stream, req, &answer); err != nil {
		return eventlog.Record{}, err
	}
	if e := answer.Error; e != nil {
		if e.Code == codeNotFound {
			return eventlog.Record{}, eventlog.ErrNotFound
		}
		return eventlog.Record{}, e
	}
	m := &answer.Message
	return eventlog.Record{
		Seq: m.Seq, Time: m.Time.UTC(), Topic: a.names.topic(m.Subject), Type: typeIn(m.Header), Data: string(m.Data),
	}, nil
}

func (a *apiSource) get(ctx context.Context, seq uint64) (eventlog.Record, error) {
	return a.leader(ctx, getRequest{Seq: seq})
}

func (a *apiSource) last(ctx context.Context, topic string) (eventlog.Record, error) {
	return a.leader(ctx, getRequest{LastFor: a.names.subject(topic)})
}

// next sends one request for each filter, because the API takes one filter at a time. Two
// or three filters are usual, so next does not try to save requests.
func (a *apiSource) next(ctx context.Context, sel *selection, seq uint64) (eventlog.Record, error) {
	var first eventlog.Record
	for _, subject := range sel.subjects {
		r, err := a.leader(ctx, getRequest{Seq: seq, NextFor: subject})
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

func (a *apiSource) scan(ctx context.Context, seq uint64, n, maxBytes int) ([]eventlog.Record, error) {
	records, _, err := a.batch(ctx, getRequest{Seq: seq, Batch: n, MaxBytes: max(maxBytes, 1)})
	return records, err
}

// errTooMany means that a server refuses to send so many results.
var errTooMany = errors.New("jetlog: JetStream: too many results")

// batch asks any replica for a batch. It returns the records, and the header of the message
// that ends the batch.
func (a *apiSource) batch(ctx context.Context, req getRequest) (records []eventlog.Record, end nats.Header, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, nil, err
	}
	inbox := a.nc.NewInbox()
	sub, err := a.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, nil, a.failed(err)
	}
	defer sub.Unsubscribe()
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, nil, a.failed(err)
	}
	if err := a.nc.PublishRequest("$JS.API.DIRECT.GET."+a.stream, inbox, body); err != nil {
		return nil, nil, a.failed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, nil, a.failed(err)
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case statusEnd, statusNotFound:
			return records, m.Header, nil
		case statusTooMany:
			return nil, nil, errTooMany
		case statusNoResponder:
			return nil, nil, errNoStream
		default:
			return nil, nil, fmt.Errorf("jetlog: JetStream: %s %s", status, m.Header.Get("Description"))
		}
		r, err := a.direct(m)
		if err != nil {
			return nil, nil, err
		}
		records = append(records, r)
	}
}

// direct returns the record in an answer to DIRECT.GET.
func (a *apiSource) direct(m *nats.Msg) (eventlog.Record, error) {
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return eventlog.Record{}, fmt.Errorf("jetlog: JetStream's answer has no sequence number: %w", err)
	}
	t, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		return eventlog.Record{}, fmt.Errorf("jetlog: JetStream's answer has no time: %w", err)
	}
	return eventlog.Record{
		Seq: seq, Time: t.UTC(), Topic: a.names.topic(m.Header.Get("Nats-Subject")),
		Type: decodeType(m.Header.Get(typeHeader)), Data: string(m.Data),
	}, nil
}

// lastsBytes is about how many bytes of data an answer to LastsFor has.
const lastsBytes = 4 << 20

// newest asks any replica. A server refuses to answer for more than 1,024 topics.
func (a *apiSource) newest(ctx context.Context, sel *selection, after, upTo uint64, limit int) ([]uint64, uint64, bool, error) {
	for deadline := time.Now().Add(requestTimeout); ; {
		records, end, err := a.batch(ctx, getRequest{LastsFor: sel.subjects, Seq: after + 1, Batch: limit, MaxBytes: lastsBytes})
		switch {
		case errors.Is(err, errTooMany):
			return nil, 0, false, nil
		case err != nil:
			return nil, 0, false, err
		case end.Get("Status") == statusNotFound && end.Get("Description") != "No Results":
			return nil, 0, false, nil // a record is damaged: Read skips it
		}
		reached, err := a.reaches(ctx, end, sel, after, upTo)
		if err != nil {
			return nil, 0, false, err
		}
		if reached {
			var seqs []uint64
			for _, r := range records {
				if r.Seq > upTo {
					return seqs, upTo, true, nil
				}
				seqs = append(seqs, r.Seq)
			}
			if len(seqs) == 0 {
				return nil, upTo, true, nil
			}
			return seqs, seqs[len(seqs)-1], true, nil
		}
		if time.Now().After(deadline) {
			return nil, 0, false, fmt.Errorf("jetlog: a replica of the stream has been behind for %v", requestTimeout)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, 0, false, ctx.Err()
		}
	}
}

// reaches reports whether the replica that answered LastsFor has all selected records up to
// upTo. A replica that is behind omits the newest records.
func (a *apiSource) reaches(ctx context.Context, end nats.Header, sel *selection, after, upTo uint64) (bool, error) {
	if at, err := strconv.ParseUint(end.Get("Nats-UpTo-Sequence"), 10, 64); err == nil {
		return at >= upTo, nil
	}
	// The replica has no selected record, and does not say how far it is.
	r, err := a.next(ctx, sel, after+1)
	if errors.Is(err, eventlog.ErrNotFound) {
		return true, nil
	}
	return err == nil && r.Seq > upTo, err
}

// lastsAtOnce bounds the topics in one request, so that the request is not too large.
const lastsAtOnce = 256

// newestOf asks any replica. A replica that is behind may not know of a later record.
func (a *apiSource) newestOf(ctx context.Context, records []eventlog.Record) (map[uint64]bool, error) {
	lasts := lastOfTopics(records)
	for topics := range slices.Chunk(slices.Collect(maps.Keys(lasts)), lastsAtOnce) {
		req := getRequest{MaxBytes: lastsBytes}
		for _, topic := range topics {
			req.LastsFor = append(req.LastsFor, a.names.subject(topic))
		}
		for left := len(topics); left > 0; {
			answer, _, err := a.batch(ctx, req)
			if err != nil {
				return nil, err
			}
			if len(answer) == 0 {
				break
			}
			for _, r := range answer {
				lasts[r.Topic] = max(lasts[r.Topic], r.Seq)
				req.Seq = r.Seq + 1
				left--
			}
		}
	}
	found := map[uint64]bool{}
	for _, seq := range lasts {
		found[seq] = true
	}
	return found, nil
}

func (a *apiSource) topics(ctx context.Context, f topics.Filter) (map[string]uint64, error) {
	topics := map[string]uint64{}
	for offset := 0; ; {
		info, err := a.info(ctx, map[string]any{"subjects_filter": a.names.filter(f), "offset": offset})
		if err != nil {
			return nil, err
		}
		for subject, n := range info.State.Subjects {
			topics[a.names.topic(subject)] = n
		}
		if offset += len(info.State.Subjects); len(info.State.Subjects) == 0 || offset >= info.Total {
			return topics, nil
		}
	}
}
