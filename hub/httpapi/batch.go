package httpapi

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"

	"example.com/tidings/hub"
	"example.com/tidings/internal/idempotency"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/request"
)

// lineTypes are the media types of one JSON text a line. None is registered; the
// first is what most send.
var lineTypes = []string{"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}

// publishBatch answers POST /batch.
func (a *api) publishBatch(w http.ResponseWriter, r *http.Request, _, _ string) error {
	if err := checkBatchHead(r.Header); err != nil {
		return err
	}
	if a.opts.Authorize != nil {
		if _, err := a.authorize(r, Access{Action: ActionPublish}); err != nil {
			return err
		}
	}
	hold := request.NewHold(a.budgets)
	defer hold.Release()
	batch := batch{maxMessage: a.opts.MaxMessage, work: &hold.Work}
	err := request.ReadLines(w, r, &hold, a.opts.MaxBatch, a.batchTooLarge, func(line []byte) (int, error) {
		err := batch.add(line)
		return batch.size(), err
	})
	if err == nil {
		err = batch.complete()
	}
	if err != nil {
		return err
	}
	if a.opts.Authorize != nil {
		if err := a.authorizeBatch(r, batch); err != nil {
			return err
		}
	}
	ctx := detach(r, len(batch.messages))
	defer ctx.cancel()
	if slices.ContainsFunc(batch.messages, func(m hub.Message) bool { return m.Key != "" }) {
		idempotency.SetWindow(w.Header(), a.hub.KeyWindow())
	}
	published, err := a.hub.PublishBatch(ctx, batch.messages)
	if err != nil {
		refusal := a.unpublished(r, err)
		if bad, ok := errors.AsType[*hub.BatchError](err); ok {
			return onLine(batch.lines[bad.Index], refusal)
		}
		return refusal
	}
	hold.Shrink(batch.answered())
	batch.messages, batch.lines = nil, nil
	a.answerBatch(w, r, published)
	return nil
}

// authorizeBatch asks whether all messages of a batch may be published, and scopes their keys. A refusal names the line
// of the first that may not.
func (a *api) authorizeBatch(r *http.Request, b batch) error {
	names := b.topics()
	d, refusal := a.authorize(r, Access{Action: ActionPublish, Topics: names})
	if refusal == nil {
		for i := range b.messages {
			b.messages[i].Key = idempotency.Scope(d.Subject, b.messages[i].Key)
		}
		return nil
	}
	for i, m := range b.messages {
		asked := !slices.Contains(names, m.Topic)
		if asked {
			continue
		}
		names = slices.DeleteFunc(names, func(name string) bool { return name == m.Topic })
		_, err := a.authorize(r, Access{Action: ActionPublish, Topics: []string{m.Topic}})
		if p, ok := errors.AsType[*problem.Problem](err); ok {
			return onLine(b.lines[i], p)
		} else if err != nil {
			return err
		}
	}
	return refusal
}

func checkBatchHead(h http.Header) error {
	if len(h[idempotency.Header]) > 0 {
		return problem.InvalidKey.With("A batch has no " + idempotency.Header + " of its own: give each message a key, as in {\"topic\": …, \"data\": …, \"key\": …}.").About("key")
	}
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || !slices.Contains(lineTypes, mediaType) {
		return problem.UnsupportedMediaType.With("A batch is one JSON object a line, and says so: send the header Content-Type: application/x-ndjson.")
	}
	return request.CheckEncoding(h)
}

func (a *api) batchTooLarge() error {
	return problem.BodyTooLarge.Withf("A batch may have up to %d bytes. Send several.", a.opts.MaxBatch)
}

// answerBatch answers with a line for each message. The status is 200 if all are
// stored, and otherwise that of the first which is not: to a client that looks at
// the status alone the batch has failed.
func (a *api) answerBatch(w http.ResponseWriter, r *http.Request, published []hub.Published) {
	status := http.StatusOK
	var refusal *problem.Problem // the last one
	for _, p := range published {
		if p.Err != nil {
			refusal = a.unpublished(r, p.Err)
			status = refusal.Type.Status()
			if after := refusal.Header.Get("Retry-After"); after != "" {
				w.Header().Set("Retry-After", after)
			}
			break
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := a.answer(w, r, status)
	defer out.release()
	var line []byte
	for i, p := range published {
		switch {
		case p.Err == nil:
			line = appendStored(line[:0], p)
		case i > 0 && p.Topic == published[i-1].Topic && errors.Is(p.Err, published[i-1].Err):
			// The line is that of the message before.
		default:
			if s := refusal.Type.Status(); s < 500 || s == http.StatusInsufficientStorage {
				refusal = a.unpublished(r, p.Err) // otherwise all that follow have failed with it
			}
			line = appendRefused(line[:0], p.Topic, refusal)
		}
		if i > 0 {
			out.raw("\n")
		}
		out.bytes(line)
	}
	out.end()
}

// appendStored appends the line of a message that is stored. Neither ids nor
// topics have characters that JSON escapes.
func appendStored(b []byte, p hub.Published) []byte {
	b = append(b, `{"id":"`...)
	b, _ = p.ID.AppendText(b)
	b = append(b, `","topic":"`...)
	b = append(b, p.Topic...)
	if p.Repeat {
		return append(b, `","status":200}`...)
	}
	return append(b, `","status":201}`...)
}

// appendRefused appends the line of a message that the log refused.
func appendRefused(b []byte, topic string, refusal *problem.Problem) []byte {
	line, err := json.Marshal(struct {
		Topic  string `json:"topic"`
		Status int    `json:"status"`
		Type   string `json:"type"`
		Detail string `json:"detail"`
	}{topic, refusal.Type.Status(), refusal.Type.URI(), refusal.Detail})
	if err != nil {
		panic(err) // strings and integers always marshal
	}
	return append(b, line...)
}
