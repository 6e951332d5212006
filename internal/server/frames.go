package server

import "encoding/binary"

// clientPreface is what a connection of HTTP/2 begins with (RFC 9113, section 3.4).
const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// The types of frames (RFC 9113, section 6).
const (
	frameData         = 0
	frameHeaders      = 1
	framePriority     = 2
	frameRSTStream    = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameWindowUpdate = 8
	frameContinuation = 9
)

// The flags of DATA frames (RFC 9113, section 6.1).
const (
	flagEndStream = 1
	flagPadded    = 8
)

// frameHeaderSize is the size of a frame without its payload.
const frameHeaderSize = 9

// A frame is the header of an HTTP/2 frame.
type frame struct {
	kind, flags byte
	length      int    // of the payload
	stream      uint32 // 0 for the connection
	content     int    // length, without the padding of DATA
}

// A frameScanner finds the frames in what one side of an HTTP/2 connection sends. The zero
// value expects a frame's first byte.
type frameScanner struct {
	head [frameHeaderSize + 1]byte // with the length of the padding, if the frame has that
	have int                       // bytes of head
	rest int                       // bytes of the payload that are still to come
}

// between reports whether the next byte is a frame's first one.
func (s *frameScanner) between() bool { return s.have == 0 && s.rest == 0 }

// scan calls found for each frame whose header ends in p. A padded DATA frame counts once the
// length of its padding is known.
func (s *frameScanner) scan(p []byte, found func(frame)) {
	for len(p) > 0 {
		if s.rest > 0 {
			n := min(s.rest, len(p))
			s.rest -= n
			p = p[n:]
			continue
		}
		want := frameHeaderSize
		if s.have >= frameHeaderSize {
			want++
		}
		n := copy(s.head[s.have:want], p)
		s.have += n
		p = p[n:]
		if s.have < want {
			return
		}
		f := s.parse()
		padded := f.kind == frameData && f.flags&flagPadded != 0 && f.length > 0
		if padded && want == frameHeaderSize {
			continue
		}
		if padded {
			f.content = max(0, f.length-1-int(s.head[frameHeaderSize]))
		}
		s.have, s.rest = 0, f.length-(want-frameHeaderSize)
		found(f)
	}
}

// parse reads head.
func (s *frameScanner) parse() frame {
	length := int(s.head[0])<<16 | int(s.head[1])<<8 | int(s.head[2])
	return frame{
		kind: s.head[3], flags: s.head[4], length: length, content: length,
		stream: binary.BigEndian.Uint32(s.head[5:]) & (1<<31 - 1),
	}
}
