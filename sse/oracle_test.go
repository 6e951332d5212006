package sse_test

import (
	"math"
	"math/big"
	"slices"
	"time"

	"example.com/tidings/sse"
)

// This file is a second, literal implementation of the standard. It holds the
// whole stream in memory, takes the steps in the order of the text, and shares
// no code with the package. If Decode and the oracle differ, one of them has
// misread WHATWG HTML 9.2.6.

// oracle interprets stream with the given options. retries are the values for
// the calls of OnRetry, in order. The oracle ignores MaxEventSize.
func oracle(stream []byte, opts sse.DecodeOptions) (events []sse.Event, retries []time.Duration) {
	lines, rest := splitLines(utf8Decode(stream))
	s := interpreter{opts: opts, lastEventIDBuffer: opts.LastEventID}
	for _, line := range lines {
		s.line(line)
	}
	// 9.2.6: "Once the end of the file is reached, any pending data must be
	// discarded." The Unfinished option deviates from that.
	if opts.Unfinished {
		if len(rest) > 0 {
			s.line(rest)
		}
		s.line(nil)
	}
	return s.events, s.retries
}

// utf8Decode is "UTF-8 decode" (Encoding Standard, section 6): it removes one
// byte order mark at the start and decodes the rest.
func utf8Decode(stream []byte) []rune {
	if len(stream) >= 3 && stream[0] == 0xEF && stream[1] == 0xBB && stream[2] == 0xBF {
		stream = stream[3:]
	}
	return utf8DecodeWithoutBOM(stream)
}

// utf8DecodeWithoutBOM is the handler of the UTF-8 decoder (Encoding Standard,
// 8.1.1). It processes all bytes with the error mode "replacement".
func utf8DecodeWithoutBOM(stream []byte) []rune {
	var (
		out       []rune
		codePoint rune
		seen      int
		needed    int
		lower     byte = 0x80
		upper     byte = 0xBF
	)
	for i := 0; i < len(stream); i++ {
		b := stream[i]
		if needed == 0 {
			switch {
			case b <= 0x7F:
				out = append(out, rune(b))
			case b >= 0xC2 && b <= 0xDF:
				needed, codePoint = 1, rune(b&0x1F)
			case b >= 0xE0 && b <= 0xEF:
				if b == 0xE0 {
					lower = 0xA0
				}
				if b == 0xED {
					upper = 0x9F
				}
				needed, codePoint = 2, rune(b&0xF)
			case b >= 0xF0 && b <= 0xF4:
				if b == 0xF0 {
					lower = 0x90
				}
				if b == 0xF4 {
					upper = 0x8F
				}
				needed, codePoint = 3, rune(b&0x7)
			default:
				out = append(out, 0xFFFD)
			}
			continue
		}
		if b < lower || b > upper {
			codePoint, needed, seen, lower, upper = 0, 0, 0, 0x80, 0xBF
			out = append(out, 0xFFFD)
			i-- // "restore byte to ioQueue": the byte is processed again
			continue
		}
		lower, upper = 0x80, 0xBF
		codePoint = codePoint<<6 | rune(b&0x3F)
		seen++
		if seen == needed {
			out = append(out, codePoint)
			codePoint, needed, seen = 0, 0, 0
		}
	}
	if needed != 0 { // end-of-queue inside a sequence
		out = append(out, 0xFFFD)
	}
	return out
}

// splitLines splits the text at its line ends (9.2.6: a CRLF pair, an LF not
// preceded by a CR, a CR not followed by an LF). rest is the text after the
// last line end.
func splitLines(text []rune) (lines [][]rune, rest []rune) {
	start := 0
	for i := 0; i < len(text); i++ {
		if text[i] != '\n' && text[i] != '\r' {
			continue
		}
		lines = append(lines, text[start:i])
		if text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			i++
		}
		start = i + 1
	}
	return lines, text[start:]
}

// interpreter holds the buffers of 9.2.6, and the state that the options of
// Decode need in addition.
type interpreter struct {
	opts sse.DecodeOptions

	dataBuffer        string
	eventTypeBuffer   string
	lastEventIDBuffer string

	idTaken  bool     // the block had an id field that was not ignored
	comments []string // the comment lines of the block
	retry    time.Duration

	events  []sse.Event
	retries []time.Duration
}

// line is "Lines must be processed, in the order they are received, as
// follows" of 9.2.6.
func (s *interpreter) line(line []rune) {
	if len(line) == 0 {
		s.dispatch()
		return
	}
	colon := slices.Index(line, ':')
	switch {
	case colon == 0:
		s.comments = append(s.comments, string(withoutLeadingSpace(line[1:])))
	case colon > 0:
		s.field(string(line[:colon]), string(withoutLeadingSpace(line[colon+1:])))
	default:
		s.field(string(line), "")
	}
}

func withoutLeadingSpace(value []rune) []rune {
	if len(value) > 0 && value[0] == ' ' {
		return value[1:]
	}
	return value
}

// field is "The steps to process the field" of 9.2.6.
func (s *interpreter) field(name, value string) {
	switch name {
	case "event":
		s.eventTypeBuffer = value
	case "data":
		s.dataBuffer += value + "\n"
	case "id":
		if !slices.Contains([]rune(value), 0) {
			s.lastEventIDBuffer = value
			s.idTaken = true
		}
	case "retry":
		if d, ok := milliseconds(value); ok {
			s.retry = d
			s.retries = append(s.retries, d)
		}
	}
}

// milliseconds interprets a retry value. It accepts only ASCII digits, and at
// least one, which the standard leaves open. A value too large for a Duration
// becomes the largest Duration.
func milliseconds(value string) (time.Duration, bool) {
	if value == "" {
		return 0, false
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	ns, _ := new(big.Int).SetString(value, 10)
	ns.Mul(ns, big.NewInt(1_000_000))
	if !ns.IsInt64() {
		return math.MaxInt64, true
	}
	return time.Duration(ns.Int64()), true
}

// dispatch is "dispatch the event" of 9.2.6.
func (s *interpreter) dispatch() {
	e := sse.Event{ID: s.lastEventIDBuffer, Type: s.eventTypeBuffer}
	if s.opts.Retry {
		e.Retry = s.retry
	}
	if s.opts.Comments {
		for i, c := range s.comments {
			if i > 0 {
				e.Comment += "\n"
			}
			e.Comment += c
		}
	}
	// A data line, even an empty one, leaves at least its LF in the buffer.
	if s.dataBuffer != "" {
		e.Data = s.dataBuffer[:len(s.dataBuffer)-1]
		s.events = append(s.events, e)
	} else if s.opts.Dataless && (s.idTaken || e.Type != "" || e.Retry > 0 || e.Comment != "") {
		s.events = append(s.events, e)
	}
	s.dataBuffer, s.eventTypeBuffer = "", ""
	s.idTaken, s.comments, s.retry = false, nil, 0
}
