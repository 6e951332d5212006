package hub

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// A Message is what is published.
type Message = eventlog.Message

// Published is the result of publishing a message.
type Published struct {
	ID     eventlog.Position // of the event that subscribers get
	Topic  string
	Repeat bool // the message had been published before, under the same key

	// Err says why a message of a batch is not stored, or that this is not known. Publish
	// returns it instead.
	Err error
}

// Publish stores a message in the log, and returns when that is done. From then on every
// subscriber gets it, once, or is told that it missed it. The error is an [*InvalidError],
// [topics.ErrReserved], an error of the log such as [eventlog.ErrTooLarge],
// [eventlog.ErrKeyConflict], [eventlog.ErrTooManyTopics] or [eventlog.ErrFull], [eventlog.ErrFailed] after the log has
// failed, [eventlog.ErrUnavailable] or [eventlog.ErrUnconfirmed] while it is away, or [eventlog.ErrClosed] after Drain. It may be wrapped. If ctx is done meanwhile the message may or may not have been stored:
// publishing it again under the same key settles that.
func (h *Hub) Publish(ctx context.Context, m Message) (Published, error) {
	if err := h.check(m); err != nil {
		return Published{}, err
	}
	results, err := h.append(ctx, []Message{m})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return Published{}, err
	}
	return Published{ID: results[0].ID, Topic: m.Topic, Repeat: results[0].Repeat}, nil
}

// PublishBatch stores messages in their order, and returns when that is done. It checks
// every message first: with a [*BatchError], or [eventlog.ErrClosed], nothing is stored.
//
// Otherwise there is a result for each message, whose Err says whether it is stored. After
// [eventlog.ErrKeyConflict], [eventlog.ErrTooLarge], [eventlog.ErrTooManyTopics] and
// [eventlog.ErrTooManyKeys] the log goes on with the next message. After any other error, the messages before are stored, and those after are not.
// Publishing the same batch again is safe if each message has a key.
func (h *Hub) PublishBatch(ctx context.Context, messages []Message) ([]Published, error) {
	for i, m := range messages {
		if err := h.check(m); err != nil {
			return nil, &BatchError{i, err}
		}
	}
	results, err := h.append(ctx, messages)
	if err != nil {
		return nil, err
	}
	published := make([]Published, len(results))
	for i, a := range results {
		published[i] = Published{a.ID, messages[i].Topic, a.Repeat, a.Err}
	}
	return published, nil
}

// KeyWindow returns how long the log remembers the key of a message, if it retains the message
// for so long. Within that time, counted from when the message was stored, publishing the
// message again is safe. 0 means that the log does not say.
func (h *Hub) KeyWindow() time.Duration { return h.window.Load().KeyWindow }

// append stores messages that have been checked.
func (h *Hub) append(ctx context.Context, messages []Message) ([]eventlog.Appended, error) {
	end, err := h.pace(ctx, len(messages))
	if err != nil {
		return nil, err
	}
	defer end()
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, cmp.Or(h.Err(), eventlog.ErrClosed)
	}
	h.publishing.Add(1)
	h.mu.Unlock()
	defer h.publishing.Done()

	results := h.log.Append(ctx, messages)
	var last eventlog.Position
	for _, a := range results {
		if a.Err == nil && a.ID.Seq > last.Seq {
			last = a.ID
		}
	}
	h.window.Acknowledged(last)
	return results, nil
}

// check refuses a message that cannot be published, whatever the log says.
func (h *Hub) check(m Message) error {
	if err := checkTopic(m.Topic); err != nil {
		return err
	}
	if err := checkType(m.Type); err != nil {
		return err
	}
	switch {
	case len(m.Data) > h.opts.MaxMessage:
		return &eventlog.TooLargeError{Size: int64(len(m.Data)), Limit: int64(h.opts.MaxMessage)}
	case !utf8.ValidString(m.Data):
		return invalid("data", "is not UTF-8")
	case len(m.Key) > eventlog.MaxKeyBytes:
		return invalid("key", "has %d bytes, more than %d", len(m.Key), eventlog.MaxKeyBytes)
	}
	return nil
}

func checkType(s string) error {
	switch {
	case len(s) > eventlog.MaxTypeBytes:
		return invalid("type", "has %d bytes, more than %d", len(s), eventlog.MaxTypeBytes)
	case !utf8.ValidString(s):
		return invalid("type", "is not UTF-8")
	case strings.ContainsAny(s, "\r\n\x00"):
		return invalid("type", "%q has a line end or a NUL", s)
	case strings.HasPrefix(s, topics.ReservedPrefix):
		return fmt.Errorf("%w: the type %q begins with %q", topics.ErrReserved, s, topics.ReservedPrefix)
	}
	return nil
}
