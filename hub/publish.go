package hub

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Published is what becomes of a message that is published.
type Published struct {
	ID     string // of the event that subscribers get
	Topic  string
	Repeat bool // it had been published before, under the same key

	// Err says why one message of a batch is not stored, or that this is not
	// known. Publish returns it instead.
	Err error
}

// Publish has the log store a message, and returns when that is done. From then
// on every subscriber gets it, once, or is told that it missed it. The error is
// an [*InvalidError], [ErrReserved], [ErrTooLarge], [ErrKeyConflict], [ErrFull],
// [ErrClosed], each possibly wrapped, or another one of the log. When ctx is done
// meanwhile the message may have been stored or not: publishing it again under
// the same key settles that.
func (h *Hub) Publish(ctx context.Context, m Message) (Published, error) {
	if err := h.check(m); err != nil {
		return Published{}, err
	}
	published, err := h.append(ctx, []Message{m})
	if err == nil {
		err = published[0].Err
	}
	if err != nil {
		return Published{}, err
	}
	return published[0], nil
}

// PublishBatch has the log store messages, in order, and returns when that is
// done. There is a result for each, whose Err says whether it is stored: where
// storing fails on the way, the messages before are stored, and those after it
// are not. (A message that is refused with [ErrKeyConflict] or [ErrTooLarge] by
// the log does not hold up those after it.) To publish the same batch again is safe
// where each message has a key.
//
// Every message is checked first: with a [*BatchError], or [ErrClosed], nothing
// is stored.
func (h *Hub) PublishBatch(ctx context.Context, messages []Message) ([]Published, error) {
	for i, m := range messages {
		if err := h.check(m); err != nil {
			return nil, &BatchError{i, err}
		}
	}
	return h.append(ctx, messages)
}

func (h *Hub) append(ctx context.Context, messages []Message) ([]Published, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	h.publishing.Add(1)
	h.mu.Unlock()
	defer h.publishing.Done()

	results := h.log.Append(ctx, messages)
	names := timeline(h.log.Epochs())
	published := make([]Published, len(results))
	last := uint64(0)
	for i, a := range results {
		published[i] = Published{Topic: messages[i].Topic, Repeat: a.Repeat, Err: a.Err}
		if a.Err == nil {
			published[i].ID = names.position(a.Seq).String()
			last = max(last, a.Seq)
		}
	}
	h.mu.Lock()
	if &names[0] == &h.view.load().timeline[0] { // otherwise the log is about to be read anew
		h.appended = max(h.appended, last)
	}
	h.mu.Unlock()
	return published, nil
}

// check refuses a message that cannot be published, whatever the log says.
func (h *Hub) check(m Message) error {
	if err := CheckTopic(m.Topic); err != nil {
		return err
	}
	if err := checkType(m.Type); err != nil {
		return err
	}
	switch {
	case len(m.Data) > h.opts.MaxMessage:
		return fmt.Errorf("%w: the data has %d bytes, more than %d", ErrTooLarge, len(m.Data), h.opts.MaxMessage)
	case !utf8.ValidString(m.Data):
		return invalid("data", "is not UTF-8")
	case len(m.Key) > MaxKeyBytes:
		return invalid("key", "has %d bytes, more than %d", len(m.Key), MaxKeyBytes)
	}
	return nil
}

func checkType(s string) error {
	switch {
	case len(s) > MaxTypeBytes:
		return invalid("type", "has %d bytes, more than %d", len(s), MaxTypeBytes)
	case !utf8.ValidString(s):
		return invalid("type", "is not UTF-8")
	case strings.ContainsAny(s, "\r\n\x00"):
		return invalid("type", "%s has a line end or a NUL", quote(s))
	case strings.HasPrefix(s, ReservedPrefix):
		return fmt.Errorf("%w: type %s begins with %q", ErrReserved, quote(s), ReservedPrefix)
	}
	return nil
}
