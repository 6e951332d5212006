package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// A Message is what subscribers of a topic get.
type Message struct {
	Topic string
	Type  string // the event type; empty means "message"
	Data  string // must be UTF-8

	// Key makes it safe to publish the message again. Empty means a new key that
	// nobody else uses. It has at most 255 bytes.
	Key string
}

// An Outcome says what has become of a message.
type Outcome int

const (
	Unsent  Outcome = iota // the message is not stored
	Stored                 // the message is stored, now or by an earlier attempt with the same key
	Refused                // the hub does not take the message, and has not stored it
	Unknown                // the message may be stored
)

// String returns the outcome as a word, such as "stored".
func (o Outcome) String() string {
	switch o {
	case Unsent:
		return "unsent"
	case Stored:
		return "stored"
	case Refused:
		return "refused"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("Outcome(%d)", int(o))
}

// A Result is what has become of one message.
type Result struct {
	Outcome Outcome
	ID      string // the message's id, if it is stored
	Again   bool   // an earlier attempt with the same key had stored it
	Key     string // publishing with this key again is safe while the hub knows it
	Err     error  // why the message is not stored for certain; nil if it is
}

// An item is a message on its way.
type item struct {
	result Result
	topic  string
	typ    string
	line   []byte    // of the body of POST /batch
	first  time.Time // when it was first to be sent
	maybe  bool      // an attempt may have stored it
}

// newItem encodes a message. The item has an outcome already if that fails.
func newItem(m Message, key string) *item {
	if m.Key != "" {
		key = m.Key
	}
	it := &item{result: Result{Key: key}, topic: m.Topic, typ: m.Type}
	if !utf8.ValidString(m.Data) || !utf8.ValidString(m.Topic) || !utf8.ValidString(m.Type) {
		it.refuse(errNotUTF8)
		return it
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(struct {
		Topic string `json:"topic"`
		Type  string `json:"type,omitempty"`
		Data  string `json:"data"`
		Key   string `json:"key"`
	}{m.Topic, m.Type, m.Data, key})
	if err != nil {
		panic(err) // strings always marshal
	}
	it.line = b.Bytes()
	return it
}

func (it *item) done() bool { return it.result.Outcome != Unsent || it.result.Err != nil }

func (it *item) store(id string, again bool) {
	it.result.Outcome, it.result.ID, it.result.Again, it.result.Err = Stored, id, again, nil
}

// refuse notes that the hub does not take the message. If an earlier attempt may
// have stored it, its outcome is Unknown.
func (it *item) refuse(err error) {
	it.result.Outcome, it.result.Err = Refused, err
	if it.maybe {
		it.result.Outcome = Unknown
	}
}

// abandon notes that no further attempt follows.
func (it *item) abandon(err error) {
	it.result.Outcome, it.result.Err = Unsent, err
	if it.maybe {
		it.result.Outcome = Unknown
	}
}
