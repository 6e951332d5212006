package sse_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"example.com/tidings/sse"
)

func TestDecodeYieldsAnEventBeforeTheNextRead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reads []string // the last read completes the event
	}{
		{"LF LF", []string{"data: a\n\n"}},
		{"CR CR", []string{"data: a\r\r"}},
		{"CRLF CRLF", []string{"data: a\r\n\r\n"}},
		{"CRLF CR, its LF not there yet", []string{"data: a\r\n\r"}},
		{"LF CR", []string{"data: a\n\r"}},
		{"the blank line alone, LF", []string{"data: a\n", "\n"}},
		{"the blank line alone, CR", []string{"data: a\r", "\r"}},
		{"the blank line alone, CRLF in two reads", []string{"data: a\r", "\n", "\r"}},
		{"after a BOM", []string{"\ufeff", "data: a\r\r"}},
		{"after a BOM in pieces", []string{"\xef", "\xbb", "\xbf", "data: a\r\r"}},
		{"byte by byte", strings.Split("data: a\r\r", "")},
		{"with the start of the next event", []string{"data: a\n\ndata: b\nid:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &scriptReader{}
			for _, data := range tt.reads {
				r.reads = append(r.reads, scriptedRead{data: data})
			}
			for e, err := range sse.Decode(r, nil) {
				if e.Data != "a" || err != nil {
					t.Errorf("got %q, %v", e, err)
				}
				if r.calls != len(tt.reads) {
					t.Errorf("yielded after %d reads, want %d", r.calls, len(tt.reads))
				}
				return
			}
			t.Error("no event")
		})
	}
}

// The stream goes silent after each event. If Decode held the event back, the
// bubble would deadlock and the test would fail.
func TestDecodeYieldsFromAStreamThatGoesSilent(t *testing.T) {
	for _, end := range []string{"\n\n", "\r\r", "\r\n\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			pr, pw := io.Pipe()
			go pw.Write([]byte("data: a" + end))
			next, stop := iter.Pull2(sse.Decode(pr, nil))
			if e, err, ok := next(); !ok || err != nil || e.Data != "a" {
				t.Errorf("after %q: %q, %v, %v", end, e, err, ok)
			}
			go pw.Write([]byte("data: b" + end))
			if e, err, ok := next(); !ok || err != nil || e.Data != "b" {
				t.Errorf("after %q: %q, %v, %v", end, e, err, ok)
			}
			stop()
		})
	}
}

func TestDecodeCallsOnRetryBeforeTheNextRead(t *testing.T) {
	for _, line := range []string{"retry: 5\n", "retry: 5\r"} {
		r := &scriptReader{reads: []scriptedRead{{data: line}, {data: "data: a\n\n"}}}
		called := 0
		opts := &sse.DecodeOptions{OnRetry: func(d time.Duration) {
			called++
			if d != 5*time.Millisecond || r.calls != 1 {
				t.Errorf("%q: OnRetry(%v) after %d reads", line, d, r.calls)
			}
		}}
		for range sse.Decode(r, opts) {
		}
		if called != 1 {
			t.Errorf("%q: OnRetry called %d times", line, called)
		}
	}
}

var errBroken = errors.New("broken")

func TestDecodeYieldsReadErrors(t *testing.T) {
	const two = "data: a\n\ndata: b\n\n"
	for _, tt := range []struct {
		name  string
		reads []scriptedRead
		opts  decodeOptions
		want  eventList
		err   error
	}{
		{"at once", []scriptedRead{{"", errBroken}}, decodeOptions{}, nil, errBroken},
		{"after events", []scriptedRead{{two, nil}, {"", errBroken}}, decodeOptions{}, dataEvents("a", "b"), errBroken},
		{"with the last events", []scriptedRead{{two, errBroken}}, decodeOptions{}, dataEvents("a", "b"), errBroken},
		{"with the last byte of an event", []scriptedRead{{"data: a\n", nil}, {"\n", errBroken}}, decodeOptions{}, dataEvents("a"), errBroken},
		{"inside a block", []scriptedRead{{two + "data: c\n", errBroken}}, decodeOptions{}, dataEvents("a", "b"), errBroken},
		{"inside a line", []scriptedRead{{two + "dat", errBroken}}, decodeOptions{}, dataEvents("a", "b"), errBroken},
		{"inside a BOM", []scriptedRead{{"\xef\xbb", errBroken}}, decodeOptions{}, nil, errBroken},
		{"unexpected end", []scriptedRead{{two, io.ErrUnexpectedEOF}}, decodeOptions{}, dataEvents("a", "b"), io.ErrUnexpectedEOF},
		{"no more is read after it", []scriptedRead{{"data: a\n\n", errBroken}, {"data: b\n\n", nil}}, decodeOptions{}, dataEvents("a"), errBroken},
		{
			"is not the end that Unfinished means", []scriptedRead{{"data: a\n\ndata: b\n", errBroken}},
			decodeOptions{Unfinished: true}, dataEvents("a"), errBroken,
		},
		{"the end with the last events", []scriptedRead{{two, io.EOF}}, decodeOptions{}, dataEvents("a", "b"), nil},
		{
			"the end with an unfinished event", []scriptedRead{{"data: a\n\ndata: b", io.EOF}},
			decodeOptions{Unfinished: true}, dataEvents("a", "b"), nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seq := sse.Decode(&scriptReader{reads: tt.reads}, &tt.opts)
			var got eventList
			var errs []error
			for e, err := range seq {
				if err != nil {
					errs = append(errs, err)
					if e != (sse.Event{}) {
						t.Errorf("the error comes with the event %q", e)
					}
				} else {
					got = append(got, e)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.err == nil && len(errs) != 0 || tt.err != nil && (len(errs) != 1 || !errors.Is(errs[0], tt.err)) {
				t.Errorf("errors %v, want once %v", errs, tt.err)
			}
			for e, err := range seq {
				t.Errorf("ranged again after its end: %q, %v", e, err)
			}
		})
	}
}

func TestDecodeReadsThatBringNothing(t *testing.T) {
	r := &scriptReader{reads: []scriptedRead{{}, {data: "data: a\n"}, {}, {}, {data: "\ndata"}, {}, {data: ": b\n\n"}, {}, {}}}
	if got, _, err := decodeAll(r, decodeOptions{}); err != nil || !slices.Equal(got, dataEvents("a", "b")) {
		t.Errorf("some: got %q, %v", got, err)
	}

	first := strings.NewReader("data: a\n\ndata: b\n")
	calls := 0
	endless := readerFunc(func(p []byte) (int, error) {
		if calls++; calls > 100_000 {
			return 0, errors.New("read for ever")
		}
		n, _ := first.Read(p)
		return n, nil
	})
	if got, _, err := decodeAll(endless, decodeOptions{}); !errors.Is(err, io.ErrNoProgress) || !slices.Equal(got, dataEvents("a")) {
		t.Errorf("for ever: got %q, %v, want io.ErrNoProgress", got, err)
	}
}

func TestDecodeStopsAndGoesOn(t *testing.T) {
	r := &scriptReader{reads: []scriptedRead{{data: "id: 1\ndata: a\n\ndata: b\r\n\r\ndata: c\r\r"}, {data: "\ndata: d\n\n"}, {data: "data: e"}}}
	seq := sse.Decode(r, &sse.DecodeOptions{Unfinished: true})
	var got eventList
	for i := range 5 {
		for e, err := range seq {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
			break
		}
		if i < 3 && r.calls != 1 {
			t.Errorf("%d reads for the first three events, which one read holds", r.calls)
		}
	}
	want := eventList{{ID: "1", Data: "a"}, {ID: "1", Data: "b"}, {ID: "1", Data: "c"}, {ID: "1", Data: "d"}, {ID: "1", Data: "e"}}
	if !slices.Equal(got, want) {
		t.Errorf("ranged five times for one event each: got %q, want %q", got, want)
	}
	for e, err := range seq {
		t.Errorf("ranged again after its end: %q, %v", e, err)
	}
}

type closeReader struct {
	io.Reader
	closed bool
}

func (c *closeReader) Close() error {
	c.closed = true
	return nil
}

func TestDecodeDoesNotClose(t *testing.T) {
	r := &closeReader{Reader: strings.NewReader("data: a\n\n")}
	for range sse.Decode(r, nil) {
	}
	if r.closed {
		t.Error("Decode closed its reader")
	}
}

func TestDecodeMaxEventSize(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   string
		opts decodeOptions
		want int // how many events come before the end or the error
		ok   bool
	}{
		{"a line of exactly the bound", "data: 0123456789\n\n", decodeOptions{}, 1, true},
		{"one byte more", "data: 0123456789a\n\n", decodeOptions{}, 0, false},
		{"one byte more, without the space", "data:0123456789a\n\n", decodeOptions{}, 0, false},
		{"lines of exactly the bound, the LF between them counted", "data:01234\ndata:6789\n\n", decodeOptions{}, 1, true},
		{"lines of one byte more", "data:01234\ndata:67890\n\n", decodeOptions{}, 0, false},
		{"the LFs of empty lines, exactly", strings.Repeat("data\n", 11) + "\n", decodeOptions{}, 1, true},
		{"the LFs of empty lines, one more", strings.Repeat("data\n", 12) + "\n", decodeOptions{}, 0, false},
		{"counted as decoded, exactly", "data:\xff\xff\xff-\n\n", decodeOptions{}, 1, true},
		{"counted as decoded, one more", "data:\xff\xff\xff--\n\n", decodeOptions{}, 0, false},
		{"events before it", "data:a\n\ndata:b\n\ndata:0123456789a\n\ndata:c\n\n", decodeOptions{}, 2, false},
		{"many events within it", strings.Repeat("data:0123456789\n\n", 50), decodeOptions{}, 50, true},
		{"id, type and data each of exactly the bound", "id:0123456789\nevent:0123456789\ndata:0123456789\n\n", decodeOptions{}, 1, true},
		{"comments of exactly the bound", ":01234\n:6789\ndata:0123456789\n\n", decodeOptions{Comments: true}, 1, true},
		{"comments of one byte more", ":01234\n:67890\ndata:a\n\n", decodeOptions{Comments: true}, 0, false},
		{"one comment far past it", ":" + strings.Repeat("x", 10_000) + "\ndata:a\n\n", decodeOptions{}, 0, false},
		{"comments that nobody asked for", ":01234\n:67890\ndata:a\n\n", decodeOptions{}, 1, true},
		{"comments of several blocks", ":0123456789\n\n:0123456789\n\ndata:a\n\n", decodeOptions{Comments: true}, 1, true},
		{"unfinished, exactly", "data:0123456789", decodeOptions{Unfinished: true}, 1, true},
		{"unfinished, one byte more", "data:0123456789a", decodeOptions{Unfinished: true}, 0, false},
		{"a line far past it", "foo:" + strings.Repeat("x", 10_000) + "\ndata:a\n\n", decodeOptions{}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.MaxEventSize = 10
			for _, r := range []io.Reader{
				strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in)), iotest.DataErrReader(strings.NewReader(tt.in)),
			} {
				got, _, err := decodeAll(r, tt.opts)
				if len(got) != tt.want || tt.ok && err != nil || !tt.ok && !errors.Is(err, sse.ErrEventTooLarge) {
					t.Errorf("%d events, error %v; want %d, ok %v", len(got), err, tt.want, tt.ok)
				}
				what := "an event"
				if strings.Contains(tt.name, "comment") {
					what = "a comment"
				}
				if want := "sse: " + what + " is larger than MaxEventSize, which is 10 bytes"; !tt.ok && err.Error() != want {
					t.Errorf("error %q, want %q", err, want)
				}
			}
		})
	}
}

func TestDecodeLongLines(t *testing.T) {
	const bound = 32 << 20
	for _, tt := range []struct {
		size, max int
		ok        bool
	}{
		{14_000_000, 0, true},
		{bound, 0, true},
		{bound + 1, 0, false},
		{bound + 1, -1, true},
	} {
		data := strings.Repeat("x", tt.size)
		in := io.MultiReader(strings.NewReader("data: "), strings.NewReader(data), strings.NewReader("\n\ndata: after\n\n"))
		got, _, err := decodeAll(in, decodeOptions{MaxEventSize: tt.max})
		if tt.ok && (err != nil || len(got) != 2 || got[0].Data != data || got[1].Data != "after") {
			t.Errorf("a line of %d bytes, MaxEventSize %d: %d events, %v", tt.size, tt.max, len(got), err)
		}
		if !tt.ok && (!errors.Is(err, sse.ErrEventTooLarge) || len(got) != 0) {
			t.Errorf("a line of %d bytes, MaxEventSize %d: %d events, %v", tt.size, tt.max, len(got), err)
		}
	}
}

// A patternReader returns prefix, then pattern repeatedly, until it has
// returned limit bytes.
type patternReader struct {
	prefix, pattern string
	given, limit    int
}

func (r *patternReader) Read(p []byte) (int, error) {
	if r.given >= r.limit {
		return 0, io.EOF
	}
	for i := range p {
		if at := r.given + i; at < len(r.prefix) {
			p[i] = r.prefix[at]
		} else {
			p[i] = r.pattern[(at-len(r.prefix))%len(r.pattern)]
		}
	}
	r.given += len(p)
	return len(p), nil
}

// Whatever a server sends without end, Decode allocates at most a small
// multiple of MaxEventSize, or fails soon after that size.
func TestDecodeEndlessInput(t *testing.T) {
	const (
		bound = 16 << 10
		limit = 1 << 20
		slack = 64 << 10 // for buffers that do not depend on the bound
	)
	for _, tt := range []struct {
		name, prefix, pattern string
		comments              bool
		most                  int // bytes read before the error, without buffers; 0 means no error
	}{
		{"a data line", "data: ", "x", false, 3 * bound},
		{"a data line of ill-formed UTF-8", "data:", "\xff", false, 3 * bound},
		{"a data line of NULs", "data:", "\x00", false, 3 * bound},
		{"data lines", "", "data: 0123456789\n", false, 3 * bound},
		{"empty data lines", "", "data:\n", false, 8 * bound},
		{"bare data lines, CR", "", "data\r", false, 8 * bound},
		{"data lines of ill-formed UTF-8", "", "data:\xff\n", false, 4 * bound},
		{"an id", "id:", "1", false, 3 * bound},
		{"a type", "event:", "e", false, 3 * bound},
		{"the digits of a retry", "retry:", "0", false, 3 * bound},
		{"a comment line", ":", "c", false, 3 * bound},
		{"a comment line, with Comments", ":", "c", true, 3 * bound},
		{"an unknown field", "foo:", "x", false, 3 * bound},
		{"a field name", "", "x", false, 3 * bound},
		{"byte order marks", "", "\ufeff", false, 3 * bound},
		{"NULs", "", "\x00", false, 3 * bound},
		{"comment lines in one block, with Comments", "", ": keep-alive\n", true, 3 * bound},
		{"empty comment lines in one block, with Comments", "", ":\n", true, 4 * bound},
		{"empty comment lines", "", ":\n", false, 0},
		{"comment lines", "", ": keep-alive\r\n", false, 0},
		{"comment lines in a block with data", "data: a\n", ":\n", false, 0},
		{"comment blocks", "", ": keep-alive\n\n", false, 0},
		{"blank lines", "", "\n", false, 0},
		{"blank lines, CR", "", "\r", false, 0},
		{"ids in one block", "", "id: 1\n", false, 0},
		{"types in one block", "", "event: e\n", false, 0},
		{"retries in one block", "", "retry: 1\n", false, 0},
		{"unknown fields in one block", "", "foo: bar\n", false, 0},
		{"unknown lines in one block", "", "<html>\r\n", false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &patternReader{prefix: tt.prefix, pattern: tt.pattern, limit: limit}
			opts := sse.DecodeOptions{MaxEventSize: bound, Comments: tt.comments}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var err error
			for e, e2 := range sse.Decode(r, &opts) {
				if err = e2; err == nil {
					t.Errorf("event %.100q", e)
				}
			}
			runtime.ReadMemStats(&after)
			// The total of all allocations, not only the memory in use at one
			// time.
			if total := after.TotalAlloc - before.TotalAlloc; total > 16*bound+slack {
				t.Errorf("allocated %d bytes, want at most %d", total, 16*bound+slack)
			}
			switch {
			case tt.most == 0 && err != nil:
				t.Errorf("after %d bytes: %v, want no error", r.given, err)
			case tt.most > 0 && !errors.Is(err, sse.ErrEventTooLarge):
				t.Errorf("after %d bytes: error %v, want ErrEventTooLarge", r.given, err)
			case tt.most > 0 && r.given > tt.most+slack:
				t.Errorf("failed after %d bytes, want at most %d", r.given, tt.most+slack)
			}
		})
	}
}

// A stream may last for days. Decode must not hold the memory of a large event
// until the stream ends.
func TestDecodeLetsGoOfLargeEvents(t *testing.T) {
	const size = 8 << 20
	for _, tt := range []struct{ name, prefix, pattern string }{
		{"one line", "data: ", "x"},
		{"many lines", "", "data: 0123456789\n"},
		{"many comments", "data: x\n", ": 0123456789\n"},
	} {
		heap := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		r := io.MultiReader(
			&patternReader{prefix: tt.prefix, pattern: tt.pattern, limit: size},
			strings.NewReader("\n\n\n"), strings.NewReader("data: b\n\n"), strings.NewReader("data: c\n\n"),
		)
		for e, err := range sse.Decode(r, &sse.DecodeOptions{Comments: true}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Data == "c" {
				if after := heap(); after > before+1<<20 {
					t.Errorf("%s: %d bytes are held after an event of %d", tt.name, after-before, size)
				}
			}
		}
	}
}

// Decode allocates only the strings of an event: one string for data of one
// line, one more for an id that changes, and none for a type that stays the
// same.
func TestDecodeAllocations(t *testing.T) {
	const n = 1000
	for _, tt := range []struct {
		name string
		line func(i int) string
		most float64 // for each event
	}{
		{"data", func(int) string { return "data: hello, world\n\n" }, 1},
		{"type and data", func(int) string { return "event: tick\ndata: hello, world\n\n" }, 1},
		{"comment, type, retry, data and id", func(i int) string {
			return fmt.Sprintf(": c\nevent: tick\nretry: 10\ndata: hello, world\nid: event-%d\n\n", i)
		}, 2},
		{"data of three lines", func(int) string { return "data: one line\ndata: two lines\ndata: three lines\n\n" }, 2},
		{"keep-alive", func(int) string { return ": keep-alive\n" }, 0},
	} {
		var in bytes.Buffer
		for i := range n {
			in.WriteString(tt.line(i))
		}
		r := bytes.NewReader(in.Bytes())
		opts := &sse.DecodeOptions{OnRetry: func(time.Duration) {}}
		allocs := testing.AllocsPerRun(10, func() {
			r.Reset(in.Bytes())
			for _, err := range sse.Decode(r, opts) {
				if err != nil {
					t.Fatal(err)
				}
			}
		})
		if most := tt.most*n + 16; allocs > most {
			t.Errorf("%s: %.0f allocations for %d events, want at most %.0f", tt.name, allocs, n, most)
		}
	}
}
