//go:build linux

package main_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	main "example.com/tidings/bench/load"
)

const okChunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

// chunks returns texts as the chunks of a body, with the final chunk.
func chunks(texts ...string) string {
	var b strings.Builder
	for _, text := range append(texts, "") {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(text), text)
	}
	return b.String()
}

func message(at int64, number uint32) string {
	return string(main.AppendMessage(nil, at, number, 100))
}

func TestMessagesAreFoundHoweverTheyAreCut(t *testing.T) {
	const at = 1e18 + 7
	m := message(at, 1)
	for _, tt := range []struct {
		rule, answer string
		want         []uint32
	}{
		{"a message a chunk", okChunked + chunks("data: "+m+"\n\n", "data: "+message(at, 2)+"\n\n"), []uint32{1, 2}},
		{"a message in two chunks", okChunked + chunks("data: "+m[:20], m[20:]+"\n\n"), []uint32{1}},
		{"several in a chunk", okChunked + chunks(strings.Repeat("data: "+m+"\n\n", 3)), []uint32{1, 1, 1}},
		{"a chunk's size in capitals, with an extension", okChunked + fmt.Sprintf("%X;a=b\r\n%s\r\n", len(m), m), []uint32{1}},
		{"an answer without chunks", "HTTP/1.1 200 OK\r\n\r\ndata: " + m + "\n\n", []uint32{1}},
		{"an @ before the mark", okChunked + chunks("a@b @@x @@12 "+m), []uint32{1}},
		{"nothing but the hub's own", okChunked + chunks("event: tidings.open\nid: 0a-1\n\n"), nil},
		{"what comes after the end", okChunked + chunks(m) + chunks(m), []uint32{1}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			for size := 1; size <= len(tt.answer); size++ {
				var s main.Stream
				var got []uint32
				for cut := range slices.Chunk([]byte(tt.answer), size) {
					err := s.Feed(cut, func(when int64, number uint32) {
						if when != at {
							t.Errorf("the time is %d, want %d", when, int64(at))
						}
						got = append(got, number)
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(got, tt.want) {
					t.Fatalf("cut at each %d bytes: got %d, want %d", size, got, tt.want)
				}
			}
		})
	}
}

func TestOtherStatusesAreErrors(t *testing.T) {
	var s main.Stream
	err := s.Feed([]byte("HTTP/1.1 503 Service Unavailable\r\n\r\n"), func(int64, uint32) {})
	if err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v, want an error with the status", err)
	}
}

func TestMessagesCostNoAllocation(t *testing.T) {
	var s main.Stream
	n := 0
	found := func(int64, uint32) { n++ }
	if err := s.Feed([]byte(okChunked), found); err != nil {
		t.Fatal(err)
	}
	part := "data: " + message(1e18, 1) + "\n\n"
	chunk := fmt.Appendf(nil, "%x\r\n%s\r\n", len(part), part)
	allocs := testing.AllocsPerRun(100, func() {
		if err := s.Feed(chunk, found); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 || n != 101 {
		t.Errorf("%v allocations for a message, and %d messages; want 0 and 101", allocs, n)
	}
}
