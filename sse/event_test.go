package sse_test

import (
	"encoding"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"example.com/tidings/sse"
)

var _ encoding.TextAppender = sse.Event{}

func TestAppendText(t *testing.T) {
	tests := []struct {
		name  string
		event sse.Event
		want  string
	}{
		{"the zero Event encodes to nothing", sse.Event{}, ""},
		{"data", sse.Event{Data: "x"}, "data: x\n\n"},
		{"all fields: comment, event, retry, data, id last", sse.Event{"7", "tick", "a", "hi", 3 * time.Second},
			": hi\nevent: tick\nretry: 3000\ndata: a\nid: 7\n\n"},
		{"LF separates lines", sse.Event{Data: "a\nb"}, "data: a\ndata: b\n\n"},
		{"CR separates lines", sse.Event{Data: "a\rb"}, "data: a\ndata: b\n\n"},
		{"CRLF is one line end", sse.Event{Data: "a\r\nb"}, "data: a\ndata: b\n\n"},
		{"LFCR is two", sse.Event{Data: "a\n\rb"}, "data: a\ndata:\ndata: b\n\n"},
		{"CRCRLF is two", sse.Event{Data: "a\r\r\nb"}, "data: a\ndata:\ndata: b\n\n"},
		{"a line end at the end makes an empty last line", sse.Event{Data: "a\n"}, "data: a\ndata:\n\n"},
		{"a CR at the end too", sse.Event{Data: "a\r"}, "data: a\ndata:\n\n"},
		{"a CRLF at the end too", sse.Event{Data: "a\r\n"}, "data: a\ndata:\n\n"},
		{"only a line end", sse.Event{Data: "\n"}, "data:\ndata:\n\n"},
		{"a leading line end", sse.Event{Data: "\r\na"}, "data:\ndata: a\n\n"},
		{"mixed line ends", sse.Event{Data: "a\rb\nc\r\nd\r\r\n\ne"}, "data: a\ndata: b\ndata: c\ndata: d\ndata:\ndata:\ndata: e\n\n"},
		{"U+2028, U+2029, U+0085, VT and FF are not line ends", sse.Event{Data: "a\u2028b\u2029c\u0085d\ve\ff"}, "data: a\u2028b\u2029c\u0085d\ve\ff\n\n"},
		{"a leading space survives the client's stripping of one", sse.Event{Data: " a"}, "data:  a\n\n"},
		{"a colon is no field end in data", sse.Event{Data: "id: 5"}, "data: id: 5\n\n"},
		{"NUL in data stays", sse.Event{Data: "a\x00b"}, "data: a\x00b\n\n"},
		{"a type alone is dispatched with empty data", sse.Event{Type: "ping"}, "event: ping\ndata:\n\n"},
		{"the type message is the default, and some clients take it for another one when it is named", sse.Event{Type: "message", Data: "x"}, "data: x\n\n"},
		{"the type message alone is dispatched with empty data", sse.Event{Type: "message", ID: "9"}, "data:\nid: 9\n\n"},
		{"an id alone sets the last event ID and is not dispatched", sse.Event{ID: "9"}, "id: 9\n\n"},
		{"a comment alone has no blank line", sse.Event{Comment: "hi"}, ": hi\n"},
		{"a comment with line ends cannot break out", sse.Event{Comment: "a\rdata: b\r\n\nid: c"}, ": a\n: data: b\n:\n: id: c\n"},
		{"a retry alone has no blank line", sse.Event{Retry: 1500 * time.Millisecond}, "retry: 1500\n"},
		{"a retry is rounded up to a whole millisecond", sse.Event{Retry: 1}, "retry: 1\n"},
		{"the longest retry", sse.Event{Retry: math.MaxInt64}, "retry: 9223372036855\n"},
		{"invalid UTF-8 becomes U+FFFD, one per maximal subpart", sse.Event{ID: "\xff", Type: "\xe2\x82", Data: "a\xf0\x9f\x98b\xc0\x80", Comment: "\xed\xa0\x80"},
			": \uFFFD\uFFFD\uFFFD\nevent: \uFFFD\ndata: a\uFFFDb\uFFFD\uFFFD\nid: \uFFFD\n\n"},
		{"an id beyond Latin-1", sse.Event{ID: "é→", Data: "x"}, "data: x\nid: é→\n\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.event.AppendText([]byte("before|"))
			if err != nil || string(got) != "before|"+tt.want {
				t.Errorf("AppendText = %q, %v; want %q", got, err, "before|"+tt.want)
			}
		})
	}
}

func TestAppendTextRefusesWhatWouldBreakTheFraming(t *testing.T) {
	tests := []struct {
		name  string
		event sse.Event
		field string
	}{
		{"LF in an id", sse.Event{ID: "a\nb"}, "ID"},
		{"CR in an id", sse.Event{ID: "a\rb"}, "ID"},
		{"CRLF in an id", sse.Event{ID: "\r\n"}, "ID"},
		{"NUL in an id", sse.Event{ID: "a\x00"}, "ID"},
		{"LF in a type", sse.Event{Type: "\ndata: x"}, "Type"},
		{"CR in a type", sse.Event{Type: "x\r"}, "Type"},
		{"a negative retry", sse.Event{Retry: -1}, "Retry"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.event.Data, tt.event.Comment = "x", "y"
			got, err := tt.event.AppendText([]byte("before|"))
			fieldErr, ok := errors.AsType[*sse.FieldError](err)
			if !ok || fieldErr.Field != tt.field || fieldErr.Reason == "" {
				t.Errorf("err = %v, want a FieldError of %s", err, tt.field)
			}
			if string(got) != "before|" {
				t.Errorf("the buffer has become %q", got)
			}
		})
	}
}

func TestAppendTextAllocatesNothingWithRoom(t *testing.T) {
	ev := sse.Event{ID: "12", Type: "tick", Data: "a\nb\r\nc é", Comment: "x", Retry: time.Second}
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ev.AppendText(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// With a quadratic search for line ends, this test would take minutes.
func TestAppendTextTakesLinearTime(t *testing.T) {
	for _, unit := range []string{"\r", "\n", "\r\n", "\n\r"} {
		data := strings.Repeat(unit, 1<<20/len(unit))
		if _, err := (sse.Event{Data: data, Comment: data}).AppendText(nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJSON(t *testing.T) {
	ev, err := sse.JSON("msg", map[string]any{"html": "<b>&</b>", "n": 1})
	if want := (sse.Event{Type: "msg", Data: `{"html":"<b>&</b>","n":1}`}); ev != want || err != nil {
		t.Errorf("JSON = %+v, %v; want %+v", ev, err, want)
	}
	if ev, err := sse.JSON("", "a\nb"); ev != (sse.Event{Data: `"a\nb"`}) || err != nil {
		t.Errorf("JSON = %+v, %v", ev, err)
	}
	if ev, err := sse.JSON("", make(chan int)); err == nil || ev != (sse.Event{}) {
		t.Errorf("JSON of a channel = %+v, %v; want an error", ev, err)
	}
}

func TestGapErrorEvent(t *testing.T) {
	tests := []struct {
		gap  sse.GapError
		want string
	}{
		{sse.GapError{Reason: "lag", Missed: 39}, `{"reason":"lag","missed":39}`},
		{sse.GapError{Reason: "retention", After: "a-1", Next: "a-9"}, `{"reason":"retention","after":"a-1","next":"a-9"}`},
		{sse.GapError{}, `{}`},
	}
	for _, tt := range tests {
		if got := tt.gap.Event(); got != (sse.Event{Type: "tidings.gap", Data: tt.want}) {
			t.Errorf("Event = %+v, want data %s", got, tt.want)
		}
	}
	if got := (&sse.GapError{Reason: "lag", Missed: 39}).Error(); got != "sse: gap: 39 missed (lag)" {
		t.Errorf("Error = %q", got)
	}
}
