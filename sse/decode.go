package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"time"
	"unicode/utf8"
)

// ErrEventTooLarge is wrapped by the error of [Decode] for an event past
// [DecodeOptions.MaxEventSize].
var ErrEventTooLarge = errors.New("sse: event too large")

const defaultMaxEventSize = 16 << 20

// DecodeOptions configure [Decode] beyond the events of the standard. The zero
// value is the standard's behaviour.
type DecodeOptions struct {
	// LastEventID is the last event ID in force before the first event: what a
	// client that reconnects has from the connection before. The standard read
	// literally forgets it; every browser keeps it.
	LastEventID string

	// Comments fills Event.Comment with the comment lines of the event's
	// block. Otherwise comments are dropped as they come.
	Comments bool

	// Retry fills Event.Retry with the last retry field of the event's block.
	Retry bool

	// OnRetry is called for each valid retry field as soon as its line is
	// read, whether or not an event follows: that is when the standard changes
	// the reconnection time. It is called while the sequence is ranged.
	OnRetry func(time.Duration)

	// Unfinished also yields the event that the end of the input leaves without
	// its blank line, as some servers of language models do. The standard drops
	// it, since it may be cut short. An error of the reader other than io.EOF
	// drops it all the same.
	Unfinished bool

	// Dataless also yields the blocks that have no data line and are not
	// dispatched by the standard: those that set the id or have an event type
	// and, where these are asked for, those with a retry or a comment.
	Dataless bool

	// MaxEventSize bounds the data of one event, in bytes, and likewise each
	// line and the comments of one block. Past it Decode yields an error that
	// wraps ErrEventTooLarge; a line may be 16 bytes longer, for its field name.
	// It bounds the memory of a Decode to a small multiple. 0 means 16 MiB; a negative value means no bound.
	MaxEventSize int
}

// Decode returns the events that r holds, parsed as WHATWG HTML 9.2.5 and
// 9.2.6 say; nil options are the standard's behaviour. An event is yielded as
// soon as the line end that completes it is read, be it CR, LF or CRLF. Its ID
// is the last event ID in force, whether or not the event has an id field; its
// Type is empty when it has none.
//
// The sequence ends when r does. An error of r other than io.EOF is yielded
// after the events before it, and ends the sequence too. A consumer that stops
// may range again, and goes on with the next event; after the end there is
// none. Only one goroutine may range at a time. Decode does not close r.
func Decode(r io.Reader, opts *DecodeOptions) iter.Seq2[Event, error] {
	d := &decoder{r: r, bom: true}
	if opts != nil {
		d.opts = *opts
	}
	switch d.max = d.opts.MaxEventSize; {
	case d.max == 0:
		d.max = defaultMaxEventSize
	case d.max < 0 || d.max > unbounded:
		d.max = unbounded
	}
	d.lastID = d.opts.LastEventID
	return d.events
}

const (
	minBuffer  = 4 << 10
	keptBuffer = 64 << 10 // what has grown larger for one event is let go after it

	unbounded = math.MaxInt / 4 // far past memory, far from overflow

	// lineSlack is what a line may have beyond its value: room for the longest
	// field name, the colon and the space.
	lineSlack = 16
)

type decoder struct {
	r    io.Reader
	opts DecodeOptions
	max  int
	done bool // r has ended, or failed

	buf        []byte
	start, end int // what of buf is read and not yet parsed
	lf, cr     finder
	skipLF     bool // the last line ended in CR: an LF right after it belongs to that
	bom        bool // a byte order mark may still begin the stream

	// The block so far. A single data line, the usual case, is kept as the
	// string that it will be; data takes over from the second line on.
	dataLines    int
	data0        string
	data         []byte
	commentLines int
	comment      []byte
	eventType    string
	retry        time.Duration
	idSet        bool

	lastID   string // the standard's last event ID buffer
	lastType string // of an earlier event, kept to share its memory
}

func (d *decoder) events(yield func(Event, error) bool) {
	for !d.done {
		ev, ok, err := d.next()
		if err != nil {
			d.done = true
			yield(Event{}, err)
			return
		}
		if ok && !yield(ev, nil) {
			return
		}
	}
}

// next parses up to the end of a block, or reads once more. ok is whether it
// has come upon an event.
func (d *decoder) next() (ev Event, ok bool, err error) {
	for {
		line, ok := d.line()
		if !ok {
			break
		}
		if len(line) > 0 {
			if err := d.field(line); err != nil {
				return Event{}, false, err
			}
		} else if ev, ok := d.dispatch(); ok {
			return ev, true, nil
		}
	}
	if d.end-d.start > d.max+lineSlack {
		return Event{}, false, d.tooLarge()
	}
	switch err := d.fill(); {
	case err == nil:
		return Event{}, false, nil
	case err != io.EOF:
		return Event{}, false, err
	}
	// The end. What it leaves unfinished is dropped unless asked for.
	d.done = true
	if !d.opts.Unfinished {
		return Event{}, false, nil
	}
	if line := d.rest(); len(line) > 0 {
		if err := d.field(line); err != nil {
			return Event{}, false, err
		}
	}
	ev, ok = d.dispatch()
	return ev, ok, nil
}

// line returns the next whole line, without its end, or false when more must
// be read first. It is valid until the next fill.
func (d *decoder) line() ([]byte, bool) {
	if d.bom {
		have := d.buf[d.start:d.end]
		if len(have) < len(byteOrderMark) && bytes.HasPrefix(byteOrderMark, have) {
			return nil, false
		}
		if bytes.HasPrefix(have, byteOrderMark) {
			d.start += len(byteOrderMark)
		}
		d.bom = false
	}
	d.dropLF()
	window := d.buf[:d.end]
	i := min(d.lf.find(window, d.start, '\n'), d.cr.find(window, d.start, '\r'))
	if i == d.end {
		return nil, false
	}
	line := d.buf[d.start:i]
	d.start = i + 1
	d.skipLF = d.buf[i] == '\r'
	return line, true
}

// rest returns what the end of the input leaves of a line.
func (d *decoder) rest() []byte {
	d.dropLF()
	return d.buf[d.start:d.end]
}

// dropLF drops the LF of a CRLF whose CR has ended a line already.
func (d *decoder) dropLF() {
	if d.skipLF && d.start < d.end {
		if d.buf[d.start] == '\n' {
			d.start++
		}
		d.skipLF = false
	}
}

var byteOrderMark = []byte("\uFEFF")

// A finder remembers where it has looked for a byte, so that no byte of a
// stream is looked at twice.
type finder struct {
	at    int // where the byte is, or else up to where there is none
	found bool
}

// find returns the index of the first c in b at or after start, or len(b).
func (f *finder) find(b []byte, start int, c byte) int {
	if f.at < start {
		f.at, f.found = start, false
	}
	if !f.found {
		i := bytes.IndexByte(b[f.at:], c)
		if i < 0 {
			f.at = len(b)
		} else {
			f.at += i
			f.found = true
		}
	}
	return f.at
}

// fill reads once, after making room.
func (d *decoder) fill() error {
	if d.start > 0 {
		n := copy(d.buf, d.buf[d.start:d.end])
		d.lf.at -= d.start
		d.cr.at -= d.start
		d.start, d.end = 0, n
	}
	switch {
	case d.end == len(d.buf):
		// One line fills it, or there is none yet.
		size := max(minBuffer, min(2*len(d.buf), d.max+2*lineSlack))
		buf := make([]byte, max(size, d.end+lineSlack))
		copy(buf, d.buf[:d.end])
		d.buf = buf
	case len(d.buf) > keptBuffer && d.end < keptBuffer/2:
		d.buf = append(make([]byte, 0, keptBuffer), d.buf[:d.end]...)[:keptBuffer]
	}
	for range 100 {
		n, err := d.r.Read(d.buf[d.end:])
		d.end += n
		if n > 0 || err != nil {
			if n > 0 && err != nil {
				d.r = failed{err} // parse first what came with it
				err = nil
			}
			return err
		}
	}
	return io.ErrNoProgress
}

// failed is a reader at its end.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// field takes a line that is not empty (WHATWG HTML 9.2.6).
func (d *decoder) field(line []byte) error {
	if len(line) > d.max+lineSlack {
		return d.tooLarge()
	}
	name, value, _ := bytes.Cut(line, colon)
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(name) {
	case "data":
		return d.addData(value)
	case "event":
		if string(value) != d.lastType {
			d.lastType = toValidUTF8(value)
		}
		d.eventType = d.lastType
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			d.idSet = true
			if string(value) != d.lastID || !utf8.Valid(value) {
				d.lastID = toValidUTF8(value)
			}
		}
	case "retry":
		if retry, ok := parseRetry(value); ok {
			d.retry = retry
			if d.opts.OnRetry != nil {
				d.opts.OnRetry(retry)
			}
		}
	case "": // a comment: the line begins with the colon
		if d.opts.Comments {
			if d.commentLines > 0 {
				d.comment = append(d.comment, '\n')
			}
			d.commentLines++
			d.comment = appendValid(d.comment, value)
			if len(d.comment) > d.max {
				return d.tooLarge()
			}
		}
	}
	return nil
}

var colon = []byte(":")

func (d *decoder) addData(value []byte) error {
	size := 0
	if d.dataLines == 0 {
		d.data0 = toValidUTF8(value)
		size = len(d.data0)
	} else {
		if d.dataLines == 1 {
			d.data = append(d.data[:0], d.data0...)
			d.data0 = ""
		}
		d.data = append(d.data, '\n')
		d.data = appendValid(d.data, value)
		size = len(d.data)
	}
	d.dataLines++
	if size > d.max {
		return d.tooLarge()
	}
	return nil
}

// dispatch ends the block and returns its event, if it makes one.
func (d *decoder) dispatch() (ev Event, ok bool) {
	ev.ID, ev.Type = d.lastID, d.eventType
	if d.dataLines == 1 {
		ev.Data = d.data0
	} else if d.dataLines > 1 {
		ev.Data = string(d.data)
	}
	if len(d.comment) > 0 {
		ev.Comment = string(d.comment)
	}
	if d.opts.Retry {
		ev.Retry = d.retry
	}
	ok = d.dataLines > 0 ||
		d.opts.Dataless && (d.idSet || ev.Type != "" || ev.Retry > 0 || ev.Comment != "")

	d.dataLines, d.data0, d.commentLines, d.comment = 0, "", 0, d.comment[:0]
	d.eventType, d.retry, d.idSet = "", 0, false
	if cap(d.data) > keptBuffer {
		d.data = nil
	}
	if cap(d.comment) > keptBuffer {
		d.comment = nil
	}
	return ev, ok
}

func (d *decoder) tooLarge() error {
	return fmt.Errorf("%w: past the bound of %d bytes", ErrEventTooLarge, d.max)
}

// parseRetry parses ASCII digits as milliseconds, saturated at the longest
// Duration.
func parseRetry(value []byte) (time.Duration, bool) {
	const most = math.MaxInt64 / int64(time.Millisecond)
	if len(value) == 0 {
		return 0, false
	}
	var ms int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		if ms <= most {
			ms = ms*10 + int64(c-'0')
		}
	}
	if ms > most {
		return math.MaxInt64, true
	}
	return time.Duration(ms) * time.Millisecond, true
}
