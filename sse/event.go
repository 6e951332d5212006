package sse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An Event is one server-sent event, with the five parts that the wire format
// has. It is a comparable value and safe to share.
type Event struct {
	// ID becomes the client's last event ID, which the client sends back as
	// Last-Event-ID when it reconnects. An empty ID leaves the client's last
	// event ID unchanged. ID must not contain a line end or a NUL. Some clients
	// cannot send back characters beyond Latin-1.
	ID string

	// Type is the event type. A browser dispatches the event to the listeners
	// for this type. Empty means the standard's default, "message". Type must
	// not contain a line end.
	Type string

	// Data is the payload, any text. LF, CR and CRLF all separate lines. The
	// client receives each of them as LF.
	Data string

	// Comment is text that a browser ignores. Each of its lines becomes one
	// comment line.
	Comment string

	// Retry tells the client how long to wait before it reconnects. It is
	// rounded up to whole milliseconds. 0 leaves the client's delay unchanged.
	Retry time.Duration
}

// A FieldError names the field of an [Event] that cannot be encoded.
type FieldError struct {
	Field  string // "ID", "Type" or "Retry", as in Event
	Reason string // what is wrong with it, such as "contains a line end"
}

func (e *FieldError) Error() string {
	return "sse: Event." + e.Field + " " + e.Reason
}

// JSON returns an event of the given type, which may be empty, with v encoded
// as JSON in its data. Unlike [json.Marshal], JSON does not escape <, > and &.
// It returns an error if v cannot be encoded. It does not check the type:
// [Event.AppendText] does that.
func JSON(eventType string, v any) (Event, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return Event{}, fmt.Errorf("sse: encode event data: %w", err)
	}
	return Event{Type: eventType, Data: string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))}, nil
}

// AppendText appends the event in its wire form to b (WHATWG HTML 9.2.5) and
// returns the extended buffer. It allocates nothing when b has room.
//
// The order of fields is comment, event, retry, data, id. The id comes last
// because some clients store it as soon as its line arrives. If the connection
// broke before the event was complete, such a client would resume after an
// event that it has not seen. Lines end in LF; AppendText never writes a CR. It
// replaces invalid UTF-8 with U+FFFD.
//
// An event with a type or data gets a data line, and the client dispatches it.
// The type "message" is the standard's default and gets no event line: some
// clients take an event that names it for one of another type.
// The client does not dispatch an event with only an id, a retry or a comment.
// If such an event has no id, AppendText also omits the blank line after it,
// because some clients would dispatch an empty event. The zero Event appends
// nothing.
//
// The error is a [*FieldError] if a field would break the framing: an ID or
// Type with a line end, an ID with a NUL, or a negative Retry. AppendText then
// returns b unchanged.
func (e Event) AppendText(b []byte) ([]byte, error) {
	if err := e.check(); err != nil {
		return b, err
	}
	if e.Comment != "" {
		b = appendLines(b, ":", e.Comment)
	}
	if e.Type != "" && e.Type != defaultType {
		b = append(b, "event: "...)
		b = appendValid(b, e.Type)
		b = append(b, '\n')
	}
	if e.Retry > 0 {
		ms := int64(e.Retry / time.Millisecond)
		if e.Retry%time.Millisecond > 0 {
			ms++
		}
		b = append(b, "retry: "...)
		b = strconv.AppendInt(b, ms, 10)
		b = append(b, '\n')
	}
	if e.dispatched() {
		b = appendLines(b, "data:", e.Data)
	}
	if e.ID != "" {
		b = append(b, "id: "...)
		b = appendValid(b, e.ID)
		b = append(b, '\n')
	}
	if e.dispatched() || e.ID != "" {
		b = append(b, '\n')
	}
	return b, nil
}

// defaultType is the type of an event that names none.
const defaultType = "message"

// dispatched reports whether a client dispatches the event.
func (e *Event) dispatched() bool { return e.Data != "" || e.Type != "" }

func (e *Event) check() error {
	const lineEnd = "contains a line end"
	switch {
	case hasLineEnd(e.ID):
		return &FieldError{"ID", lineEnd}
	case strings.IndexByte(e.ID, 0) >= 0:
		return &FieldError{"ID", "contains a NUL"}
	case hasLineEnd(e.Type):
		return &FieldError{"Type", lineEnd}
	case e.Retry < 0:
		return &FieldError{"Retry", "is negative"}
	}
	return nil
}

func hasLineEnd(s string) bool {
	return strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0
}

// appendLines appends each line of text as a line that starts with name. A
// space follows the name unless the line is empty. The client strips that
// space.
func appendLines(b []byte, name, text string) []byte {
	// lf and cr are the indexes of the next LF and CR. Each is searched again
	// only after the loop has passed it, so the time is linear in the length of
	// text.
	lf, cr := nextByte(text, '\n', 0), nextByte(text, '\r', 0)
	for start := 0; ; {
		end := min(lf, cr)
		b = append(b, name...)
		if end > start {
			b = append(b, ' ')
			b = appendValid(b, text[start:end])
		}
		b = append(b, '\n')
		if end == len(text) {
			return b
		}
		start = end + 1
		if end == cr && strings.HasPrefix(text[start:], "\n") { // CRLF is one line end
			start++
		}
		if lf < start {
			lf = nextByte(text, '\n', start)
		}
		if cr < start {
			cr = nextByte(text, '\r', start)
		}
	}
}

// nextByte returns the index of the first c in s at or after from, or len(s).
func nextByte(s string, c byte, from int) int {
	if i := strings.IndexByte(s[from:], c); i >= 0 {
		return from + i
	}
	return len(s)
}
