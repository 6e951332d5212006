package bench

import (
	"bytes"
	"errors"
)

// A scanner takes an event stream as it comes, in pieces of any size, and finds
// the events in it, as WHATWG HTML 9.2.5 and 9.2.6 say; ids and retries it passes
// over. It copies what spans two pieces and nothing else. The zero value is that
// of a stream that has not begun, and takes no line at all: limit must be set. It
// is for one goroutine at a time.
type scanner struct {
	limit int // of a line and of an event's data, in bytes

	// The event that next has found. They hold until the next call, and as long
	// as its bytes do.
	typ, data []byte

	line    []byte // the beginning of a line whose end has not come
	ownData []byte // the data, where it is copied
	ownType []byte
	hasData bool
	found   bool // typ and data are those of an event that is over
	afterCR bool // an LF now belongs to the CR before
	begun   bool // the first line is over, or has begun with something else than a BOM
}

var errEventTooLarge = errors.New("the stream has an event that is larger than any of this run")

// next takes bytes from the front of b, and returns how many. It reports true at
// an event, and otherwise takes all of b. After an error it is not called again.
func (s *scanner) next(b []byte) (n int, ok bool, err error) {
	if s.found {
		s.typ, s.data, s.hasData, s.found = nil, nil, false, false
	}
	for n < len(b) {
		if s.afterCR {
			s.afterCR = false
			if b[n] == '\n' {
				n++
				continue
			}
		}
		size := lineSize(b[n:])
		if size < 0 {
			if len(s.line)+len(b)-n > s.limit {
				return len(b), false, errEventTooLarge
			}
			s.line = append(s.line, b[n:]...)
			break
		}
		line := b[n : n+size]
		s.afterCR = b[n+size] == '\r'
		n += size + 1
		copied := len(s.line) > 0
		if copied {
			s.line = append(s.line, line...)
			line, s.line = s.line, s.line[:0]
		}
		if len(line) > s.limit {
			return n, false, errEventTooLarge
		}
		if !s.begun {
			s.begun = true
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if len(line) == 0 {
			if s.hasData {
				s.found = true
				return n, true, nil
			}
			s.typ = nil
			continue
		}
		if err := s.field(line, copied); err != nil {
			return n, false, err
		}
	}
	s.keep()
	return len(b), false, nil
}

// lineSize returns where the first line of b ends, or -1.
func lineSize(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	if lf >= 0 {
		b = b[:lf]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return lf
}

var (
	dataField  = []byte("data")
	eventField = []byte("event")
)

// field takes a line that is not empty. Where the line is a copy, which the next
// one overwrites, what is kept of it is copied again.
func (s *scanner) field(line []byte, copied bool) error {
	name, value, colon := bytes.Cut(line, []byte{':'})
	if colon && len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch {
	case bytes.Equal(name, dataField):
		if s.hasData || copied {
			own := s.ownData[:0]
			if s.hasData {
				own = append(append(own, s.data...), '\n')
			}
			if len(own)+len(value) > s.limit {
				return errEventTooLarge
			}
			s.ownData = append(own, value...)
			value = s.ownData
		}
		s.data, s.hasData = value, true
	case bytes.Equal(name, eventField):
		if copied {
			s.ownType = append(s.ownType[:0], value...)
			value = s.ownType
		}
		s.typ = value
	}
	return nil
}

// keep copies what an event has so far of a piece that is over.
func (s *scanner) keep() {
	if s.hasData {
		s.ownData = append(s.ownData[:0], s.data...)
		s.data = s.ownData
	}
	if len(s.typ) > 0 {
		s.ownType = append(s.ownType[:0], s.typ...)
		s.typ = s.ownType
	}
}
