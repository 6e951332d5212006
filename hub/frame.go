package hub

import (
	"strconv"

	"example.com/tidings/sse"
)

// Position returns the entry's place, for package delivery.
func (e *entry) Position() uint64 { return e.Seq }

// Size returns about how much memory the entry takes.
func (e *entry) Size() int { return e.size() }

// Wire returns the event in a Format as a chunk of an HTTP/1.1 body. It is made for the
// first who asks, and then shared. A record that cannot be sent has a gap in its place.
func (e *entry) Wire(form uint8) []byte {
	at := &e.frames[form]
	if frame := at.Load(); frame != nil {
		return *frame
	}
	frame := chunk(e.wire(Format(form)))
	if !at.CompareAndSwap(nil, &frame) {
		return *at.Load()
	}
	return frame
}

// wire returns the message as an event. What is acknowledged is dispatched: an
// event without type and data would not be (WHATWG HTML 9.2.6).
func (e *entry) wire(f Format) sse.Event {
	if gap := e.gap(); gap != nil {
		return gapEvent(gap)
	}
	if f == FormatEnvelope {
		return sse.Event{ID: e.id, Data: e.json()}
	}
	ev := sse.Event{ID: e.id, Type: e.Type, Data: e.Data}
	if ev.Type == "" && ev.Data == "" {
		ev.Type = e.eventType()
	}
	return ev
}

// gap returns what stands in the place of a record that cannot be sent, nil for every
// other one.
func (e *entry) gap() *sse.GapError {
	if !e.invalid {
		return nil
	}
	return &sse.GapError{Reason: GapInvalid, After: e.before, Next: e.id, Missed: 1}
}

// An eventFrame is an event of the hub's own, or a gap, for one stream or a few.
type eventFrame struct {
	position uint64
	chunk    []byte
	gap      *sse.GapError // what a subscription yields in its place, if anything
}

func (f *eventFrame) Position() uint64  { return f.position }
func (f *eventFrame) Wire(uint8) []byte { return f.chunk }
func (f *eventFrame) Size() int         { return len(f.chunk) }

// chunk returns an event as a chunk of an HTTP/1.1 body (RFC 9112, section 7.1), nil
// if it cannot be on the wire.
func chunk(ev sse.Event) []byte {
	const digits = 8 // enough for 4 GiB
	room := digits + len("\r\n")
	b := make([]byte, room, room+len(ev.Data)+len(ev.Data)/64+len(ev.ID)+len(ev.Type)+48)
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
