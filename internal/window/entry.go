// Package window keeps the newest messages of a log in memory. Each message is encoded
// once for each form, and all streams share the result.
package window

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/delivery"
	"example.com/tidings/sse"
)

// The forms in which an event can be sent, for [Entry.Wire].
const (
	Data     uint8 = iota // the message's type and data
	Envelope              // no type, and an Event as JSON
	forms

	NoForm = delivery.NoForm // of what an iterator gets
)

var _ = [1]int{}[delivery.Forms-forms] // does not compile if delivery has another number of forms

// An Entry is a record with its encoded forms. It is a [delivery.Frame].
type Entry struct {
	eventlog.Record
	ID eventlog.Position

	// gap is set for a record that cannot be sent as an event, or must not be sent any more.
	gap atomic.Pointer[sse.GapError]

	chunks [delivery.Forms]atomic.Pointer[chunk] // by form

	holding
}

// NewEntry returns the entry of a record whose number the timeline names.
func NewEntry(names eventlog.Timeline, rec eventlog.Record) *Entry {
	e := &Entry{Record: rec, ID: names.ID(rec)}
	if rec.Invalid || strings.ContainsAny(rec.Type, "\r\n") { // see sse.Event.AppendText
		e.setGap(names, sse.GapInvalid)
	}
	return e
}

func (e *Entry) setGap(names eventlog.Timeline, reason string) {
	e.gap.Store(&sse.GapError{Reason: reason, After: names.Position(e.Seq - 1).String(), Next: e.ID.String(), Missed: 1})
}

// Erase makes the entry a gap, for a record that the log no longer has: whoever is handed the
// entry from now on, in whatever form, gets the gap in its place. It may be called at any time.
func (e *Entry) Erase(names eventlog.Timeline, reason string) {
	if e.gap.Load() != nil {
		return
	}
	e.setGap(names, reason)
	for form := range e.chunks {
		if e.chunks[form].Load() != nil {
			e.replace(uint8(form))
		}
	}
}

// replace encodes a form again.
func (e *Entry) replace(form uint8) {
	c := newChunk(Chunk(e.encode(form)))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ownChunk(c)
	if old := e.chunks[form].Swap(c); old != nil {
		old.own(false)
	}
}

// Position returns the entry's sequence number.
func (e *Entry) Position() uint64 { return e.Seq }

// Size returns how much memory the entry takes without its encoded forms.
func (e *Entry) Size() int {
	if e.bytes > 0 { // since Own
		return e.bytes
	}
	if e.account != nil && e.account.shared {
		return entryBytes
	}
	return entryBytes + allocated(len(e.Topic)) + allocated(len(e.Type)) + allocated(len(e.Data))
}

// Gap returns the gap that takes the place of a record which cannot be sent, and nil for
// every other record.
func (e *Entry) Gap() *sse.GapError {
	gap := e.gap.Load()
	if gap == nil {
		return nil
	}
	return new(*gap) // the caller may change it
}

// Wire returns the event in a form, as a chunk of an HTTP/1.1 body. It is encoded once, for
// the first caller. (If several are first, one result is kept.)
func (e *Entry) Wire(form uint8) []byte { return e.chunk(form).wire }

func (e *Entry) chunk(form uint8) *chunk {
	at := &e.chunks[form]
	if c := at.Load(); c != nil {
		return c
	}
	gap := e.gap.Load()
	if !e.first(form, newChunk(Chunk(e.encode(form)))) {
		return at.Load()
	}
	if e.gap.Load() != gap { // it was erased meanwhile
		e.replace(form)
	}
	return at.Load()
}

// first keeps a form that was encoded, and reports whether it is the first of its kind.
func (e *Entry) first(form uint8, c *chunk) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.chunks[form].Load() != nil {
		return false
	}
	e.ownChunk(c)
	e.chunks[form].Store(c)
	return true
}

// encode returns the message as an event. A subscriber gets every message that was
// acknowledged. [sse.Event.AppendText] drops an event without type and data. The type
// "message" gives such a message an empty data line.
func (e *Entry) encode(form uint8) sse.Event {
	if gap := e.Gap(); gap != nil {
		return GapEvent(gap)
	}
	ev := sse.Event{ID: e.ID.String()}
	switch form {
	case Data:
		ev.Type, ev.Data = e.Type, e.Data
		if ev.Type == "" && ev.Data == "" {
			ev.Type = e.EventType()
		}
	case Envelope:
		ev.Data = JSON(e.Event())
	default:
		panic("window: a form without an encoding")
	}
	return ev
}

// EventType returns the event type that clients dispatch the event with.
func (e *Entry) EventType() string {
	if e.Type == "" {
		return "message"
	}
	return e.Type
}

// An Event is the JSON of a message.
type Event struct {
	ID    eventlog.Position `json:"id"`
	Topic string            `json:"topic"`
	Type  string            `json:"type"` // "message" if it was published without one
	Data  string            `json:"data"`
	Time  time.Time         `json:"time"`
}

// Event returns the message as subscribers get it.
func (e *Entry) Event() Event { return Event{e.ID, e.Topic, e.EventType(), e.Data, e.Time} }

// JSON returns v, which is made of strings, numbers, times and positions, as JSON.
func JSON(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// A Notice is an event of the hub itself, for one stream or a few. It is a
// [delivery.Frame].
type Notice struct {
	At    uint64
	Chunk []byte
	Gap   *sse.GapError // what a subscription yields instead, if anything
	Event *Event        // the same, if it is no error
}

// Position returns the position that a client has after the event.
func (n *Notice) Position() uint64 { return n.At }

// Wire returns the same chunk for every form.
func (n *Notice) Wire(uint8) []byte { return n.Chunk }

// Size returns about how much memory the event takes.
func (n *Notice) Size() int { return len(n.Chunk) }

// GapNotice returns the event that tells of a gap.
func GapNotice(gap *sse.GapError, at uint64) *Notice {
	return &Notice{At: at, Chunk: Chunk(GapEvent(gap)), Gap: gap}
}

// GapEvent returns a gap as an event. Its id is where the client goes on, since it then
// knows of the gap.
func GapEvent(gap *sse.GapError) sse.Event {
	ev := gap.Event()
	ev.ID = gap.Next
	return ev
}

// digits is how many hexadecimal digits the size of a chunk may have: enough for 4 GiB.
const digits = 8

// Chunk returns an event as a chunk of an HTTP/1.1 body (RFC 9112, section 7.1), or nil
// if it cannot be encoded.
func Chunk(ev sse.Event) []byte {
	room := digits + len("\r\n")
	lines := 1 + strings.Count(ev.Data, "\n") + strings.Count(ev.Data, "\r")
	b := slices.Grow([]byte(nil), room+len(ev.Data)+lines*len("data: ")+len(ev.ID)+len(ev.Type)+48)[:room]
	b, err := ev.AppendText(b)
	if err != nil {
		return nil
	}
	size := strconv.FormatInt(int64(len(b)-room), 16)
	begin := digits - len(size)
	copy(b[begin:], size)
	copy(b[digits:], "\r\n")
	return append(b, "\r\n"...)[begin:]
}
