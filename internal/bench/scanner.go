package bench

import (
	"bytes"
	"errors"
)

// A scanner finds the events in an event stream that arrives in pieces of any size
// (WHATWG HTML 9.2.5 and 9.2.6). It ignores ids and retries. It copies only the
// events that span two pieces. The zero value is ready for a stream, except that
// limit must be set: with a limit of 0 every line is too long. It is for one
// goroutine at a time.
type scanner struct {
	limit int // of a line and of an event's data, in bytes

	// The event that next has found. They are valid until the next call, and while
	// the bytes of next are.
	typ, data []byte

	line    []byte // the beginning of an incomplete line
	ownData []byte // the buffer of data, if it is a copy
	ownType []byte
	hasData bool
	found   bool // typ and data are a complete event
	afterCR bool // the last byte was a CR; an LF belongs to it
	begun   bool // the first line is complete
}

var errEventTooLarge = errors.New("the stream has an event larger than any of this run")

// next takes n bytes from the front of b. It returns ok after an event. Otherwise it
// takes all of b. It must not be called again after an error.
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

// lineSize returns the size of the first line of b, or -1 if b has no line end.
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

// field takes a line that is not empty. If the line is itself a copy, the next line
// overwrites it, so field copies the parts that it keeps.
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

// keep copies the incomplete event out of a piece that the caller may reuse.
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
