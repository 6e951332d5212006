package sse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An Event is one server-sent event: the five things that can stand on the
// wire. It is a value, comparable and safe to share.
type Event struct {
	// ID becomes the client's last event ID, which it sends back as
	// Last-Event-ID when it reconnects. Empty leaves the client's as it is. It
	// may hold no line end and no NUL. Some clients cannot send back what lies
	// beyond Latin-1.
	ID string

	// Type is the event type: a browser dispatches the event to the listeners
	// of this name. Empty means the standard's default, "message". It may hold
	// no line end.
	Type string

	// Data is the payload, any text. LF, CR and CRLF all separate lines, and
	// arrive as LF.
	Data string

	// Comment is text that a browser ignores, one comment line for each line
	// of it.
	Comment string

	// Retry tells the client how long to wait before it reconnects, in whole
	// milliseconds, rounded up. 0 leaves the client's delay as it is.
	Retry time.Duration
}

// A FieldError names the field of an [Event] that cannot be put on the wire.
type FieldError struct {
	Field  string // "ID", "Type" or "Retry", as in Event
	Reason string // what is wrong with it, as "contains a line end"
}

func (e *FieldError) Error() string {
	return "sse: Event." + e.Field + " " + e.Reason
}

// JSON returns an event of the given type, which may be empty, whose data is v
// as JSON. Unlike [json.Marshal] it leaves <, > and & as they are. The error is
// that of encoding v; the type is checked when the event is encoded.
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
// because some clients take it when its line arrives, not when the event is
// complete: cut in between, they would resume after an event that they have
// not seen. Lines end in LF; CR is never written. What is not UTF-8 is written
// as U+FFFD.
//
// An event that has a type, or data, has a data line and is dispatched by the
// client. One that has only an id, a retry or a comment is not; without an id
// it is also not followed by a blank line, for which some clients would
// dispatch an empty event. The zero Event appends nothing.
//
// The error is a [*FieldError] when a field would break the framing: an ID or
// Type with a line end, an ID with a NUL, a negative Retry. Then b is returned
// as it was.
func (e Event) AppendText(b []byte) ([]byte, error) {
	if err := e.check(); err != nil {
		return b, err
	}
	if e.Comment != "" {
		b = appendLines(b, ":", e.Comment)
	}
	if e.Type != "" {
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

// appendLines appends text, a line of its own with the given name for each of
// its lines. A space follows the name, which the client strips, except on an
// empty line.
func appendLines(b []byte, name, text string) []byte {
	// lf and cr are where the next of each is, looked for again only when it
	// has been passed: the time is linear in text, however its lines end.
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
