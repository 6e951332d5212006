//go:build linux

package main_test

import (
	"bufio"
	"strings"
	"testing"

	main "example.com/tidings/bench/publish"
)

func FuzzCount(f *testing.F) {
	f.Add("event: tidings.open\ndata: {}\n\ndata: x\n\ndata: y\n\n", 1, 2)
	f.Add("event: event: tidings.gap\n\n", 9, 3)
	f.Fuzz(func(t *testing.T, stream string, a, b int) {
		stream = strings.ReplaceAll(stream, "\n\n\n", "\n\n") // occurrences must not overlap
		for strings.Contains(stream, "\n\n\n") {
			stream = strings.ReplaceAll(stream, "\n\n\n", "\n\n")
		}
		// The parts take turns with a and b bytes.
		var parts [][]byte
		for rest, n := []byte(stream), a; len(rest) > 0; n = a + b - n {
			size := min(max(n%40, 1), len(rest))
			parts = append(parts, rest[:size])
			rest = rest[size:]
		}
		for _, text := range []string{"\n\n", "event: tidings.", "event: tidings.gap"} {
			if got, want := main.Count(text, parts...), strings.Count(stream, text); got != want {
				t.Errorf("%q in %q: got %d, want %d", text, parts, got, want)
			}
		}
	})
}

func TestReadAnswer(t *testing.T) {
	const next = "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"
	for _, tt := range []struct {
		rule, answer string
		want         int // 0 is an error
	}{
		{"with a length", "HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc", 201},
		{"names of fields have no case, RFC 9110, 5.1", "HTTP/1.1 200 OK\r\ncontent-LENGTH:3\r\n\r\nabc", 200},
		{"in chunks, RFC 9112, 7.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", 200},
		{"a refusal", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}", 503},
		{"no length", "HTTP/1.1 200 OK\r\n\r\n", 0},
		{"no answer", "SSH-2.0\r\n\r\n", 0},
		{"too short", "HTTP/1.1 2\r\n\r\n", 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			in := bufio.NewReader(strings.NewReader(tt.answer + next))
			got, err := main.ReadAnswer(in)
			if tt.want == 0 {
				if err == nil {
					t.Errorf("got %d, want an error", got)
				}
				return
			}
			if got != tt.want || err != nil {
				t.Errorf("got %d, %v, want %d", got, err, tt.want)
			}
			if got, err := main.ReadAnswer(in); got != 201 || err != nil {
				t.Errorf("the next answer: got %d, %v, want 201", got, err)
			}
		})
	}
}

func TestMiddleID(t *testing.T) {
	for _, tt := range []struct {
		rule, first, last string
		want              string // empty is an error
	}{
		{"half way", "0w3k7zq4m8tc-1", "0w3k7zq4m8tc-5000000", "0w3k7zq4m8tc-2500000"},
		{"retention removed the beginning", "a-100", "a-200", "a-150"},
		{"a later run stored the end", "a-1", "b-1002", "a-501"},
		{"no number", "a-1", "a-x", ""},
		{"no ids", "", "", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if got, err := main.MiddleID(tt.first, tt.last); got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}
