package server_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"example.com/tidings/internal/server"
)

// frameOf returns an HTTP/2 frame.
func frameOf(kind, flags byte, stream uint32, payload ...byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// padded returns a DATA frame with content and padding.
func padded(content, padding int) []byte {
	return frameOf(0, 8, 1, append([]byte{byte(padding)}, make([]byte, content+padding)...)...)
}

func TestFramesAreFound(t *testing.T) {
	tests := []struct {
		name  string
		bytes []byte
		want  []server.Frame
	}{
		{"nothing", nil, nil},
		{"half of a header", frameOf(6, 0, 0)[:8], nil},
		{"a PING and a SETTINGS", append(frameOf(6, 1, 0, make([]byte, 8)...), frameOf(4, 0, 0)...), []server.Frame{
			{Kind: 6, Flags: 1, Length: 8, Content: 8}, {Kind: 4},
		}},
		{"the payload has yet to come", frameOf(1, 5, 1<<31|7, make([]byte, 300)...)[:20], []server.Frame{
			{Kind: 1, Flags: 5, Length: 300, Content: 300, Stream: 7},
		}},
		{"DATA of padding only", padded(0, 255), []server.Frame{{Flags: 8, Length: 256, Stream: 1}}},
		{"DATA with padding", padded(5, 3), []server.Frame{{Flags: 8, Length: 9, Content: 5, Stream: 1}}},
		{"padding that does not fit", frameOf(0, 8, 1, 9, 0), []server.Frame{{Flags: 8, Length: 2, Stream: 1}}},
		{"padded and empty, which is an error", append(frameOf(0, 8, 1), frameOf(4, 0, 0)...), []server.Frame{{Flags: 8, Stream: 1}, {Kind: 4}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := server.Frames(tt.bytes); !slices.Equal(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// However the bytes are cut into reads, the frames are the same.
func FuzzFrames(f *testing.F) {
	f.Add(append(frameOf(6, 0, 0, make([]byte, 8)...), padded(20, 7)...), uint8(3), uint8(10))
	f.Add(append(padded(0, 0), frameOf(8, 0, 5, 0, 0, 0, 1)...), uint8(1), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, first, then uint8) {
		whole := server.Frames(b)
		chunks := [][]byte{b[:min(len(b), int(first))]}
		rest := b[len(chunks[0]):]
		for chunk := range slices.Chunk(rest, max(1, int(then))) {
			chunks = append(chunks, chunk)
		}
		if cut := server.Frames(chunks...); !slices.Equal(cut, whole) {
			t.Fatalf("in chunks %+v, else %+v", cut, whole)
		}
		// The frames and their payloads cover the bytes.
		at := 0
		for _, fr := range whole {
			if fr.Content > fr.Length || at+9 > len(b) {
				t.Fatalf("%+v at %d of %d bytes", fr, at, len(b))
			}
			at += 9 + fr.Length
		}
		// What is left is no whole header. The padding's length belongs to it.
		if rest := len(b) - at; rest > 9 {
			t.Fatalf("%d bytes after the last frame", rest)
		}
	})
}
