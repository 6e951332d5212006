package sse_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/tidings/sse"
)

// A chunkReader uses the sizes in chunks for its calls of Read, one after the
// other and then again from the start. A size of 0 means no bytes and no error.
// It overwrites the rest of p with garbage. It returns io.EOF with the last
// bytes if endWithData is set, and after them otherwise.
type chunkReader struct {
	stream      []byte
	chunks      []byte
	at, empty   int
	endWithData bool
}

func (c *chunkReader) Read(p []byte) (int, error) {
	size := 1
	if len(c.chunks) > 0 {
		size = int(c.chunks[c.at%len(c.chunks)])
		c.at++
	}
	if size == 0 && c.empty < 3 {
		c.empty++
		return 0, nil
	}
	c.empty = 0
	n := copy(p, c.stream[:min(max(size, 1), len(c.stream))])
	c.stream = c.stream[n:]
	for i := n; i < min(n+32, len(p)); i++ {
		p[i] = "\n\rdata:scribble\n\n"[(i-n)%17]
	}
	if len(c.stream) == 0 && (n == 0 || c.endWithData) {
		return n, io.EOF
	}
	return n, nil
}

// eachOption calls f with all 16 combinations of the options that can be on or
// off.
func eachOption(lastEventID string, f func(opts decodeOptions)) {
	for i := range 16 {
		f(decodeOptions{
			LastEventID: lastEventID,
			Comments:    i&1 != 0, Retry: i&2 != 0, Unfinished: i&4 != 0, Dataless: i&8 != 0,
		})
	}
}

// checkStream checks that Decode and the oracle agree about stream, read whole
// and in chunks.
func checkStream(t *testing.T, stream, chunks []byte, opts decodeOptions) {
	t.Helper()
	want, wantRetries := oracle(stream, opts)
	for _, r := range []struct {
		name string
		r    io.Reader
	}{
		{"whole", bytes.NewReader(stream)},
		{"in chunks", &chunkReader{stream: stream, chunks: chunks}},
		{"in chunks, end with data", &chunkReader{stream: stream, chunks: chunks, endWithData: true}},
	} {
		got, retries, err := decodeAll(r.r, opts)
		if err != nil {
			t.Errorf("%s: %v\ninput %q, chunks %v, options %+v", r.name, err, stream, chunks, opts)
		} else if !slices.Equal(got, want) || !slices.Equal(retries, wantRetries) {
			t.Errorf("%s:\n   got %q, retries %v\noracle %q, retries %v\ninput %q, chunks %v, options %+v",
				r.name, got, retries, want, wantRetries, stream, chunks, opts)
		}
	}
}

// checkBound decodes stream with a small MaxEventSize. The result must not
// depend on the chunks. The events before the error must be the same as without
// a limit. The error must occur if and only if the stream exceeds the limit.
func checkBound(t *testing.T, stream, chunks []byte, opts decodeOptions, bound int) {
	t.Helper()
	all, _ := oracle(stream, opts)
	opts.MaxEventSize = bound
	whole, wholeRetries, wholeErr := decodeAll(bytes.NewReader(stream), opts)
	got, retries, err := decodeAll(&chunkReader{stream: stream, chunks: chunks}, opts)
	describe := func() string {
		return fmt.Sprintf("input %q, chunks %v, options %+v", stream, chunks, opts)
	}
	if !slices.Equal(got, whole) || !slices.Equal(retries, wholeRetries) || (err == nil) != (wholeErr == nil) {
		t.Errorf("in chunks %q, %v, error %v\nwhole     %q, %v, error %v\n%s",
			got, retries, err, whole, wholeRetries, wholeErr, describe())
	}
	if err != nil && !errors.Is(err, sse.ErrEventTooLarge) {
		t.Errorf("error %v, want ErrEventTooLarge\n%s", err, describe())
	}
	if len(got) > len(all) || !slices.Equal(got, all[:len(got)]) || err == nil && len(got) < len(all) {
		t.Errorf("with the bound    %q, error %v\nwithout the bound %q\n%s", got, err, all, describe())
	}
	for _, e := range got {
		if len(e.Data) > bound || len(e.Comment) > bound {
			t.Errorf("event %q is past the bound\n%s", e, describe())
		}
	}
	if err != nil && withinBound(stream, bound) {
		t.Errorf("%v, though no line and no block is longer than that\n%s", err, describe())
	}
}

// withinBound reports whether, in each block, all decoded lines together are
// within the bound. If so, Decode must not fail.
func withinBound(stream []byte, bound int) bool {
	lines, rest := splitLines(utf8Decode(stream))
	block := 0
	for _, line := range append(lines, rest) {
		if len(line) == 0 {
			block = 0
		} else if block += len(string(line)) + 1; block > bound {
			return false
		}
	}
	return true
}

func FuzzDecodeChunking(f *testing.F) {
	for _, table := range conformanceTables {
		for i, c := range table.cases {
			if len(c.in) < 1000 {
				f.Add([]byte(c.in), []byte{byte(i % 7), 3, byte(i % 3)}, c.opts.LastEventID, byte(i))
			}
		}
	}
	f.Fuzz(func(t *testing.T, stream, chunks []byte, lastEventID string, bound byte) {
		lastEventID = strings.ToValidUTF8(lastEventID, "?") // for an ill-formed option, nothing is promised
		eachOption(lastEventID, func(opts decodeOptions) {
			checkStream(t, stream, chunks, opts)
			checkBound(t, stream, chunks, opts, 1+int(bound))
		})
		if len(stream) <= 64 {
			checkPrompt(t, stream, decodeOptions{LastEventID: lastEventID, Comments: true, Retry: true, Dataless: true})
		}
	})
}

// TestRandomStreams compares Decode with the oracle on streams made of pieces
// that are difficult for a parser.
func TestRandomStreams(t *testing.T) {
	pieces := []string{
		"data", "data:", "data: ", "data: a", "data:b\n", "data\n\n", "data:c\n\n", "data:d\r\r", "id", "id:", "id: 1", "id:2\n", "event", "event: e",
		"event:f\n", "retry", "retry:", "retry: 10\n", "retry:9223372036855\n", "0", "7", "x", "foo", "foo: bar\n", ":", ": c", ":k\n",
		" ", "  ", "\t", "\x00", "\n", "\n", "\n", "\r", "\r", "\r\n", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r",
		"\ufeff", "\xef", "\xef\xbb", "\xbb", "\xbf", "\xff", "\xc2", "\xe2\x82", "\xe2\x82\xac", "\xed\xa0\x80", "\xf0\x9f\x98", "\x80",
		"é", "\u2028", "\u0085", "\v", "da", "ta", "Data:", "lastEventId:",
	}
	random := rand.New(rand.NewPCG(20260601, 9206))
	yielded, retries := 0, 0
	for i := range 20_000 {
		var stream []byte
		if random.IntN(8) == 0 {
			stream = append(stream, "\ufeff"...)
		}
		for range 1 + random.IntN(24) {
			stream = append(stream, pieces[random.IntN(len(pieces))]...)
		}
		chunks := make([]byte, 1+random.IntN(6))
		for j := range chunks {
			chunks[j] = byte(random.IntN(9))
		}
		opts := decodeOptions{
			LastEventID: []string{"", "0"}[random.IntN(2)],
			Comments:    random.IntN(2) == 0, Retry: random.IntN(2) == 0,
			Unfinished: random.IntN(2) == 0, Dataless: random.IntN(2) == 0,
		}
		checkStream(t, stream, chunks, opts)
		if i%4 == 0 {
			checkBound(t, stream, chunks, opts, 1+random.IntN(24))
		}
		if i%16 == 0 {
			checkPrompt(t, stream, opts)
		}
		if t.Failed() {
			return
		}
		es, ds := oracle(stream, opts)
		yielded += len(es)
		retries += len(ds)
	}
	if yielded < 10_000 || retries < 2_000 {
		t.Errorf("the streams held %d events and %d retries: too few to mean anything", yielded, retries)
	}
}

// received returns e as a decoder with Comments and Retry receives it: line
// ends are LF, ill-formed UTF-8 is U+FFFD, the retry is in whole
// milliseconds, and the type message is no type.
func received(e sse.Event) sse.Event {
	text := func(s string) string { return string(utf8DecodeWithoutBOM([]byte(s))) }
	lines := strings.NewReplacer("\r\n", "\n", "\r", "\n")
	e.ID, e.Type = text(e.ID), text(e.Type)
	if e.Type == "message" {
		e.Type = "" // the default, which is not written
	}
	e.Data, e.Comment = lines.Replace(text(e.Data)), lines.Replace(text(e.Comment))
	if past := e.Retry % time.Millisecond; past > 0 {
		e.Retry -= past
		if e.Retry > math.MaxInt64-time.Millisecond {
			e.Retry = math.MaxInt64
		} else {
			e.Retry += time.Millisecond
		}
	}
	return e
}

// badFields returns the fields of e for which AppendText must fail.
func badFields(e sse.Event) []string {
	var bad []string
	if strings.ContainsAny(e.ID, "\r\n\x00") {
		bad = append(bad, "ID")
	}
	if strings.ContainsAny(e.Type, "\r\n") {
		bad = append(bad, "Type")
	}
	if e.Retry < 0 {
		bad = append(bad, "Retry")
	}
	return bad
}

// appendChecked calls AppendText and checks what it promises for every call. ok
// reports whether AppendText accepted the event.
func appendChecked(t *testing.T, b []byte, e sse.Event) (out []byte, ok bool) {
	t.Helper()
	before := bytes.Clone(b)
	out, err := e.AppendText(b)
	bad := badFields(e)
	if !bytes.HasPrefix(out, before) {
		t.Fatalf("AppendText of %q changed the buffer %q into %q", e, before, out)
	}
	if err == nil {
		if len(bad) > 0 {
			t.Fatalf("AppendText of %q: no error, want one for %v", e, bad)
		}
		wire := out[len(before):]
		if !utf8.Valid(wire) {
			t.Fatalf("AppendText of %q writes ill-formed UTF-8: %q", e, wire)
		}
		if bytes.ContainsRune(wire, '\r') {
			t.Fatalf("AppendText of %q writes a CR: %q", e, wire)
		}
		if len(wire) > 0 && wire[len(wire)-1] != '\n' {
			t.Fatalf("AppendText of %q does not end its last line: %q", e, wire)
		}
		if i := bytes.Index(wire, []byte("\n\n")); i >= 0 && i != len(wire)-2 {
			t.Fatalf("AppendText of %q has a blank line before its end: %q", e, wire)
		}
		return out, true
	}
	fe, isField := errors.AsType[*sse.FieldError](err)
	if !isField || !slices.Contains(bad, fe.Field) {
		t.Fatalf("AppendText of %q: error %#v, want a FieldError for one of %v", e, err, bad)
	}
	if len(out) != len(before) {
		t.Fatalf("AppendText of %q fails with %v and appends %q", e, err, out[len(before):])
	}
	return out, false
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("1", "tick", "hello", "", int64(0), []byte(nil))
	f.Add("", "", "a\rb\nc\r\nd\n\re", "x\r\r\ny", int64(1), []byte("data: before\n"))
	f.Add("é\xff", "\xe2\x82", "\xf0\x9f\x98\n\x98\xed\xa0\x80", "\xc0\x80", int64(math.MaxInt64), []byte("x"))
	f.Add("a\nid: b", "e\rdata: x", "\n", "\n", int64(-1), []byte{})
	f.Add(" 1 ", " e ", " a\n b", " c", int64(999_999), []byte{})
	f.Add("", "ping", "", "", int64(0), []byte{})
	f.Add("9", "", "", "only an id", int64(time.Second), []byte{})
	f.Add("", "", "", "only a comment", int64(time.Second), []byte{})
	f.Add("\ufeff1", "\ufeff", "\ufeff\u2028\u0085\v\f", "data: x\n\ndata: y", int64(time.Hour), []byte{})
	for _, bad := range []string{"a\nb", "a\rb", "a\r\nb", "\n", "\r", "\x00", "a\x00b"} {
		f.Add(bad, "", "x", "", int64(0), []byte("data: before\n\n"))
		f.Add("", bad, "x", "", int64(0), []byte("data: before\n\n"))
	}
	f.Add("1", "tick", "x", "", int64(-1), []byte("data: before\n\n"))
	f.Add("1", "message", "", "", int64(0), []byte{})
	f.Fuzz(func(t *testing.T, id, typ, data, comment string, retry int64, buffer []byte) {
		e := sse.Event{ID: id, Type: typ, Data: data, Comment: comment, Retry: time.Duration(retry)}
		out, ok := appendChecked(t, buffer, e)
		if !ok {
			return
		}
		wire := out[len(buffer):]
		want := received(e)
		dispatched := e.Type != "" || e.Data != ""
		eachOption("", func(opts decodeOptions) {
			want := want
			if !opts.Comments {
				want.Comment = ""
			}
			if !opts.Retry {
				want.Retry = 0
			}
			// An event that is not dispatched comes back as a block without
			// data. The block ends at the blank line after an id, or at the end
			// of the input.
			kept := opts.Dataless && (e.ID != "" || opts.Unfinished && want != sse.Event{})
			got, _, err := decodeAll(bytes.NewReader(wire), opts)
			switch {
			case err != nil:
				t.Errorf("%v\nwire %q", err, wire)
			case (dispatched || kept) && (len(got) != 1 || got[0] != want):
				t.Errorf("options %+v\nevent %q\n wire %q\n  got %q\n want %q", opts, e, wire, got, want)
			case !dispatched && !kept && len(got) != 0:
				t.Errorf("options %+v: %q is not to be dispatched\nwire %q\n got %q", opts, e, wire, got)
			}
		})
	})
}

// FuzzAppendTextInjection encodes several events in a row. The text in one
// event must not add, hide or change another event.
func FuzzAppendTextInjection(f *testing.F) {
	f.Add("a\x1f1\x1fone\x1e\x1f\x1ftwo\x1e", uint8(0))
	f.Add("data: x\x1f\x1fy\r\n\r\nid: 7\n\ndata: z\x1fhi\x1e\x1f\x1f\x1fkeep-alive\x1e\x1f9\x1f\n", uint8(3))
	f.Add("\x1f\x1f\x1f:\rdata: x\n\n\x1e\x1f\x1f\x1f\x1e\x1f\x1f\r", uint8(255))
	f.Add("\x1fid\x1f\x1f\x1e\x1f\x1fa", uint8(1))
	f.Add("message\x1f1\x1f\x1f\x1emessage\x1f\x1fa", uint8(0))
	f.Fuzz(func(t *testing.T, script string, retries uint8) {
		var wire []byte
		var want eventList
		var comments []string // comments since the last blank line
		var retry time.Duration
		var last string
		for i, record := range strings.Split(script, "\x1e") {
			var field [4]string
			copy(field[:], strings.Split(record, "\x1f"))
			e := sse.Event{Type: field[0], ID: field[1], Data: field[2], Comment: field[3]}
			if retries>>(i%8)&1 != 0 {
				e.Retry = time.Duration(i+1) * time.Millisecond
			}
			var ok bool
			if wire, ok = appendChecked(t, wire, e); !ok {
				continue
			}
			dispatched := e.Type != "" || e.Data != ""
			e = received(e)
			if e.Comment != "" {
				comments = append(comments, e.Comment)
			}
			if e.Retry > 0 {
				retry = e.Retry
			}
			if e.ID != "" {
				last = e.ID
			}
			if dispatched {
				want = append(want, sse.Event{
					ID: last, Type: e.Type, Data: e.Data, Comment: strings.Join(comments, "\n"), Retry: retry,
				})
			}
			if dispatched || e.ID != "" {
				comments, retry = nil, 0
			}
		}
		got, _, err := decodeAll(bytes.NewReader(wire), decodeOptions{Comments: true, Retry: true})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("script %q\nwire %q\n got %q, error %v\nwant %q", script, wire, got, err, want)
		}
	})
}
