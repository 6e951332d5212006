package hub

import (
	"strconv"

	"example.com/tidings/sse"
)

// Position returns the entry's place, for package fanout.
func (e *entry) Position() uint64 { return e.Seq }

// Wire returns the event in a Format as it stands on the wire of a stream that was
// taken over. It is made for the first who asks, and then shared.
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
