package sse_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"example.com/tidings/sse"
)

// items returns what a sequence yields: data|id of an event, and limit/size/id of
// an event that is too large.
func items(r io.Reader, opts decodeOptions) (got []string) {
	for ev, err := range sse.Decode(r, &opts) {
		if large, ok := errors.AsType[*sse.TooLargeError](err); ok {
			got = append(got, fmt.Sprintf("%d/%d/%s", large.Limit, large.Size, large.ID))
		} else if err != nil {
			got = append(got, err.Error())
		} else {
			got = append(got, ev.Data+"|"+ev.ID)
		}
	}
	return got
}

func TestDecodeSkipsWhatIsTooLarge(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, tt := range []struct {
		name, stream string
		want         []string
	}{
		{"an event at the limit", "data: " + x(10) + "\nid: 1\n\n", []string{x(10) + "|1"}},
		{"an event above it", "data: " + x(11) + "\nid: 1\n\ndata: b\n\n", []string{"10/11/1", "b|1"}},
		{"the id first", "id: 1\ndata: " + x(11) + "\n\n", []string{"10/11/1"}},
		{"no id", "id: 1\n\ndata: " + x(11) + "\n\n", []string{"10/11/1"}},
		{"a line above every buffer", "data:" + x(50_000) + "\r\nid: 1\r\n\r\ndata: b\r\n\r\n", []string{"10/50000/1", "b|1"}},
		{"two lines", "data: " + x(6) + "\ndata: " + x(6) + "\nid: 1\n\n", []string{"10/13/1"}},
		{"many lines", strings.Repeat("data: x\n", 100) + "id: 1\n\n", []string{"10/199/1"}},
		{"a long line after a short one", "data: a\ndata:" + x(100) + "\nid: 1\n\n", []string{"10/102/1"}},
		{"short lines after a long one", "data: " + x(100) + "\ndata: a\ndata\n\n", []string{"10/103/"}},
		{"two long lines", "data: " + x(100) + "\rdata: " + x(100) + "\r\r", []string{"10/201/"}},
		{"a long comment", ":" + x(100) + "\ndata: a\n\n", []string{"a|"}},
		{"long comments", strings.Repeat(":xxxx\n", 10) + "data: a\n\n", []string{"a|"}},
		{"a long unknown field", x(100) + "\ndata: a\n\n", []string{"a|"}},
		{"a long retry", "retry: " + strings.Repeat("0", 100) + "\ndata: a\n\n", []string{"a|"}},
		{"a long id", "id: 1\n\nid: " + x(100) + "\ndata: abc\n\ndata: b\n\n", []string{"10/3/1", "b|1"}},
		{"a long type", "event: " + x(100) + "\ndata: a\n\ndata: b\n\n", []string{"10/1/", "b|"}},
		{"the end in a long line", "data: a\n\ndata: " + x(100), []string{"a|"}},
		{"the end after a long line", "data: a\n\ndata: " + x(100) + "\n", []string{"a|"}},
		{"a line end in CRLF after a long line", "data: " + x(100) + "\r\n\r\ndata: b\n\n", []string{"10/100/", "b|"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := decodeOptions{MaxEventSize: 10, SkipTooLarge: true, Comments: true}
			for name, r := range map[string]io.Reader{
				"whole":        strings.NewReader(tt.stream),
				"byte by byte": iotest.OneByteReader(strings.NewReader(tt.stream)),
			} {
				if got := items(r, opts); !slices.Equal(got, tt.want) {
					t.Errorf("%s: %q, want %q", name, got, tt.want)
				}
			}
		})
	}
}

// The sequence can be left at the error and ranged again, as at an event.
func TestDecodeGoesOnAfterATooLargeEvent(t *testing.T) {
	seq := sse.Decode(strings.NewReader("data: 123\n\ndata: a\n\n"), &decodeOptions{MaxEventSize: 2, SkipTooLarge: true})
	for _, err := range seq {
		if !errors.Is(err, sse.ErrEventTooLarge) || err.Error() != `sse: the event with the last event ID "" has 3 bytes, and is larger than MaxEventSize, which is 2 bytes` {
			t.Errorf("got %v", err)
		}
		break
	}
	for ev, err := range seq {
		if ev.Data != "a" || err != nil {
			t.Errorf("got %q, %v", ev, err)
		}
	}
}

// 64 MiB in one line cost no more memory than the limit.
func TestDecodeDropsALargeEventAsItComes(t *testing.T) {
	line := io.LimitReader(&endless{pattern: "x"}, 64<<20)
	r := io.MultiReader(strings.NewReader("data: "), line, strings.NewReader("\nid: 1\n\ndata: a\n\n"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := items(r, decodeOptions{MaxEventSize: 1 << 20, SkipTooLarge: true})
	runtime.ReadMemStats(&after)
	if want := []string{"1048576/67108864/1", "a|1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("allocated %d bytes", n)
	}
}

type endless struct{ pattern string }

func (e *endless) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += copy(p[i:], e.pattern) {
	}
	return len(p), nil
}

func TestDecodeTellsCommentsAndIDsAtOnce(t *testing.T) {
	var got []string
	note := func(what string) func(string) {
		return func(s string) { got = append(got, what+s) }
	}
	stream := ":a\n: b\n:\xff\nid: 1\n\nid: 2\ndata: x\n:c\n\nid\n\nid: 3\x00\n\nid: 4\nevent: e\n\n\nid: 5\n"
	seq := sse.Decode(iotest.OneByteReader(strings.NewReader(stream)), &decodeOptions{OnComment: note("comment "), OnID: note("id ")})
	for ev := range seq {
		note("event ")(ev.ID)
	}
	want := []string{"comment a", "comment b", "comment \uFFFD", "id 1", "comment c", "event 2", "id ", "id 4"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzSkipTooLarge compares the sequence without the limit with that which skips.
// Each event is there or too large, and the result does not depend on the chunks.
func FuzzSkipTooLarge(f *testing.F) {
	f.Add([]byte("data: 1234567890\nid: 1\n\ndata: a\n\n"), []byte{1, 3}, byte(4))
	f.Add([]byte("data: 12\r\ndata: 34\r\nid: 1\r\n\r\n:"+strings.Repeat("c", 40)+"\rdata: a\r\r"), []byte{2}, byte(4))
	f.Add([]byte("data: "+strings.Repeat("\xff", 40)+"\nid: 1\n\n"), []byte{7}, byte(9))
	f.Fuzz(func(t *testing.T, stream, chunks []byte, limit byte) {
		opts := decodeOptions{MaxEventSize: 1 + int(limit), SkipTooLarge: true}
		got := items(bytes.NewReader(stream), opts)
		if other := items(&chunkReader{stream: stream, chunks: chunks}, opts); !slices.Equal(got, other) {
			t.Fatalf("whole %q, in chunks %q\ninput %q", got, other, stream)
		}
		lines, _ := splitLines(utf8Decode(stream))
		for _, line := range lines {
			if name, _, _ := strings.Cut(string(line), ":"); (name == "id" || name == "event") && len(string(line)) > opts.MaxEventSize {
				return // such a line makes its event too large
			}
		}
		all, _, err := decodeAll(bytes.NewReader(stream), decodeOptions{})
		if err != nil || len(all) != len(got) {
			t.Fatalf("%d events and %d items, %v\ninput %q", len(all), len(got), err, stream)
		}
		for i, ev := range all {
			large := strings.HasPrefix(got[i], fmt.Sprint(opts.MaxEventSize, "/")) && strings.HasSuffix(got[i], "/"+ev.ID)
			if got[i] != ev.Data+"|"+ev.ID && !large || large && len(ev.Data) <= opts.MaxEventSize && got[i] != ev.Data+"|"+ev.ID {
				t.Fatalf("item %d is %q, want %q\ninput %q", i, got[i], ev, stream)
			}
		}
	})
}
