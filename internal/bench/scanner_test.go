package bench_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/tidings/internal/bench"
	"example.com/tidings/sse"
)

type event struct{ typ, data string }

// scan reads a stream in pieces.
func scan(t *testing.T, stream, sizes []byte, limit int) (events []event, err error) {
	s := bench.NewScanner(limit)
	pieces(stream, sizes, func(b []byte) bool {
		for len(b) > 0 && err == nil {
			var n int
			var ok bool
			n, ok, err = s.Next(b)
			if n < 1 || !ok && err == nil && n != len(b) {
				t.Fatalf("%d of %d bytes taken, and nothing found", n, len(b))
			}
			if b = b[n:]; ok {
				typ, data := s.Event()
				events = append(events, event{typ, data})
			}
		}
		return err == nil
	})
	return events, err
}

// The tests of sse.Decode check the rules of the standard. Here the scanner must find
// the same events as sse.Decode, in pieces of any size.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{
		"event: tidings.open\nretry: 2000\ndata: {}\nid: 1\n\ndata: a\nid: 2\n\n",
		"data: a\rdata: b\r\ndata\r\n\r\n\ndata:c\n\n",
		"\xef\xbb\xbfdata: a\n\n:comment\nevent: x\n\ndata:\n\n",
		"event: x\nevent\ndata:  a\nfoo: bar\ndata : c\n\ndata: cut",
	} {
		f.Add([]byte(s), []byte{0})
		f.Add([]byte(s), []byte{4, 0, 11})
		f.Add([]byte(s), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, stream, sizes []byte) {
		if !utf8.Valid(stream) {
			return // sse.Decode replaces invalid bytes, and the sum of a marker notices them
		}
		got, err := scan(t, stream, sizes, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var want []event
		for e, err := range sse.Decode(bytes.NewReader(stream), nil) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, event{e.Type, e.Data})
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q in pieces of %v: %q, want %q", stream, sizes, got, want)
		}
	})
}

func TestScannerIsBounded(t *testing.T) {
	long := strings.Repeat("x", 200)
	for name, stream := range map[string]string{
		"a line":             "data: " + long + "\n\n",
		"a line without end": long,
		"a comment":          ":" + long + "\n",
		"many lines of data": strings.Repeat("data: 12345\n", 30) + "\n",
	} {
		for _, sizes := range []string{"", "\x00", "\x10"} {
			if events, err := scan(t, []byte(stream), []byte(sizes), 100); err == nil {
				t.Errorf("%s, in pieces of %q: no error and %q", name, sizes, events)
			}
		}
	}
}

// The path of every delivery allocates nothing.
func TestNothingIsAllocatedForAnEvent(t *testing.T) {
	data := bench.NewData(100)
	bench.NewMarker(1, 2, 3, 4).Put(data)
	events := "data: " + string(data) + "\nid: 0123456789012-0123456789\n\n"
	frame := fmt.Appendf(nil, "%x\r\n%s\r\n", len(events), events)
	r, s := new(bench.Reply), bench.NewScanner(1000)
	r.Next([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
	found := 0
	if n := testing.AllocsPerRun(1000, func() {
		for b := frame; len(b) > 0; {
			body, n, err := r.Next(b)
			if err != nil {
				t.Fatal(err)
			}
			b = b[n:]
			for len(body) > 0 {
				n, ok, err := s.Next(body)
				if err != nil {
					t.Fatal(err)
				}
				if body = body[n:]; ok {
					found++
				}
			}
		}
	}); n != 0 || found != 1001 {
		t.Errorf("%v allocations, %d events", n, found)
	}
}

func BenchmarkEvent(b *testing.B) {
	data := bench.NewData(100)
	bench.NewMarker(1, 2, 3, 4).Put(data)
	stream := []byte("data: " + string(data) + "\nid: 0123456789012-0123456789\n\n")
	s := bench.NewScanner(1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := s.Next(stream); !ok || err != nil {
			b.Fatal(err)
		}
		if _, ok := bench.ParseMarker(data); !ok {
			b.Fatal("no marker")
		}
	}
}
