package sse

import (
	"bytes"
	"io"
	"iter"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

const defaultMaxEventSize = 32 << 20

// DecodeOptions configure how [Decode] differs from the standard. The zero
// value is the standard's behaviour.
type DecodeOptions struct {
	// LastEventID is the last event ID before the first event. A client that
	// reconnects sets it to the last event ID of its previous connection. Read
	// literally, the standard forgets that ID, but every browser keeps it.
	LastEventID string

	// Comments fills Event.Comment with the comment lines of the event's block.
	// Without it, Decode drops comments.
	Comments bool

	// OnComment is called for each comment line as soon as it is read, with the
	// text after the colon and the optional space. OnComment is called while the
	// sequence is ranged.
	OnComment func(text string)

	// Retry fills Event.Retry with the last retry field of the event's block.
	Retry bool

	// OnRetry is called for each valid retry field as soon as its line is read,
	// whether or not an event follows. The standard changes the reconnection
	// time at that point. OnRetry is called while the sequence is ranged.
	OnRetry func(time.Duration)

	// OnID is called at the end of each block that sets the last event ID and
	// makes no event, with the last event ID in force. OnID is called while the
	// sequence is ranged.
	OnID func(id string)

	// Unfinished also yields the last event if the input ends without the blank
	// line after it. Some servers of language models omit that line. The
	// standard drops such an event, because it may be incomplete. If the reader
	// fails with an error other than io.EOF, Decode drops the event even with
	// Unfinished.
	Unfinished bool

	// Dataless also yields some blocks without a data line, which the standard
	// does not dispatch: blocks that set the id or have an event type. With
	// Retry or Comments, it also yields blocks with a retry or a comment.
	Dataless bool

	// MaxEventSize limits the data of one event, in bytes. The same limit
	// applies to each line and to the comments of one block. A line may be 16
	// bytes longer, for its field name. Beyond the limit, Decode yields an
	// error that wraps ErrEventTooLarge. A Decode uses at most a small multiple
	// of the limit as memory. 0 means 32 MiB; a negative value means no limit.
	MaxEventSize int

	// SkipTooLarge yields a [*TooLargeError] in place of an event that is larger
	// than MaxEventSize, and goes on. Decode drops the event's data as it comes,
	// and keeps its id. Comments beyond the limit are dropped without an error.
	SkipTooLarge bool
}

// Decode returns the events in r, parsed according to WHATWG HTML 9.2.5 and
// 9.2.6. Nil options mean the standard's behaviour. Decode yields an event as
// soon as it has read the line end that completes it: CR, LF or CRLF. The
// event's ID is the last event ID in force, whether or not the event has an id
// field. Its Type is empty if the event has no type.
//
// The sequence ends when r ends. If r fails with an error other than io.EOF,
// Decode first yields the complete events before the error, then the error, and
// ends the sequence. A consumer that stops early may range again and gets the
// next event. After the end there are no more events. Only one goroutine may
// range at a time. Decode does not close r.
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
	keptBuffer = 64 << 10 // a buffer that has grown larger is released after its event

	unbounded = math.MaxInt / 4 // far more than any memory, and too small to overflow

	// lineSlack is how much longer than its value a line may be. It has room
	// for the longest field name, the colon and the space.
	lineSlack = 16
)

type decoder struct {
	r    io.Reader
	opts DecodeOptions
	max  int
	done bool // r has ended or failed

	buf        []byte
	start, end int // buf[start:end] is read and not yet parsed
	lf, cr     finder
	skipLF     bool // the last line ended in CR: an LF right after it belongs to the same line end
	bom        bool // a byte order mark may still begin the stream

	skipping field // the rest of the line belongs to this field, and is dropped
	tooLarge bool  // the block is beyond the limit
	size     int64 // the bytes of its data, if tooLarge

	// The block so far. If it has one data line, the usual case, data0 holds
	// that line as the final string. From the second line on, data holds all
	// lines.
	dataLines    int
	data0        string
	data         []byte
	commentLines int
	comment      []byte
	eventType    string
	retry        time.Duration
	idSet        bool

	lastID   string          // the standard's last event ID buffer
	ids      strings.Builder // the newest IDs, in one allocation
	lastType string          // the type of an earlier event, kept to reuse its string
}

func (d *decoder) events(yield func(Event, error) bool) {
	for !d.done {
		ev, ok, err := d.next()
		if err != nil {
			_, skipped := err.(*TooLargeError)
			d.done = d.done || !skipped
			if !yield(Event{}, err) {
				return
			}
		}
		if ok && !yield(ev, nil) {
			return
		}
	}
}

// next parses up to the end of a block, or reads once more. ok reports whether
// it found an event.
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
		} else if ev, ok, err := d.dispatch(); ok || err != nil {
			return ev, ok, err
		}
	}
	if d.end-d.start > d.max+lineSlack {
		if err := d.lineTooLarge(d.buf[d.start:d.end], true); err != nil {
			return Event{}, false, err
		}
	}
	switch err := d.fill(); {
	case err == nil:
		return Event{}, false, nil
	case err != io.EOF:
		return Event{}, false, err
	}
	// The input has ended. An unfinished event is dropped unless the options
	// ask for it.
	d.done = true
	if !d.opts.Unfinished {
		return Event{}, false, nil
	}
	if line := d.rest(); len(line) > 0 {
		if err := d.field(line); err != nil {
			return Event{}, false, err
		}
	}
	return d.dispatch()
}

// line returns the next whole line, without its line end. It returns false if
// no whole line has been read yet. The line is valid until the next fill.
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
	for {
		d.dropLF()
		window := d.buf[:d.end]
		i := min(d.lf.find(window, d.start, '\n'), d.cr.find(window, d.start, '\r'))
		line := d.buf[d.start:i]
		skipped := d.skipping != noField
		if skipped {
			d.skip(line)
		}
		if i == d.end {
			return nil, false
		}
		d.start = i + 1
		d.skipLF = d.buf[i] == '\r'
		if !skipped {
			return line, true
		}
		d.skipping = noField
	}
}

// rest returns the unfinished line at the end of the input.
func (d *decoder) rest() []byte {
	d.dropLF()
	return d.buf[d.start:d.end]
}

// dropLF drops the LF of a CRLF whose CR has already ended a line.
func (d *decoder) dropLF() {
	if d.skipLF && d.start < d.end {
		if d.buf[d.start] == '\n' {
			d.start++
		}
		d.skipLF = false
	}
}

var byteOrderMark = []byte("\uFEFF")

// A finder remembers how far it has searched for a byte, so that it looks at no
// byte of a stream twice.
type finder struct {
	at    int // the index of the byte if found; otherwise the end of the searched part
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

// fill makes room in the buffer and reads until it gets some bytes or an error.
func (d *decoder) fill() error {
	if d.start > 0 {
		n := copy(d.buf, d.buf[d.start:d.end])
		d.lf.at -= d.start
		d.cr.at -= d.start
		d.start, d.end = 0, n
	}
	switch {
	case d.end == len(d.buf):
		// One line fills the buffer, or there is no buffer yet.
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
				d.r = failed{err} // first parse the bytes that came with it
				err = nil
			}
			return err
		}
	}
	return io.ErrNoProgress
}

// failed is a reader that returns err from every Read.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// field processes a line that is not empty (WHATWG HTML 9.2.6).
func (d *decoder) field(line []byte) error {
	if len(line) > d.max+lineSlack {
		return d.lineTooLarge(line, false)
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
				d.lastID = d.keepID(value)
			}
		}
	case "retry":
		if retry, ok := parseRetry(value); ok {
			d.retry = retry
			if d.opts.OnRetry != nil {
				d.opts.OnRetry(retry)
			}
		}
	case "": // the line begins with the colon
		return d.addComment(value)
	}
	return nil
}

var colon = []byte(":")

// idBytes is how much one allocation holds of IDs. A short ID would cost each
// event an allocation of its own. Who keeps an ID keeps so much alive.
const idBytes = 256

// keepID returns an ID as a string. A [strings.Builder] never changes what its
// String has returned.
func (d *decoder) keepID(id []byte) string {
	if len(id) > idBytes/4 || !utf8.Valid(id) {
		return toValidUTF8(id)
	}
	if d.ids.Cap()-d.ids.Len() < len(id) {
		d.ids = strings.Builder{}
		d.ids.Grow(idBytes)
	}
	start := d.ids.Len()
	d.ids.Write(id)
	return d.ids.String()[start:]
}

func (d *decoder) addComment(value []byte) error {
	if d.opts.OnComment != nil {
		d.opts.OnComment(toValidUTF8(value))
	}
	if !d.opts.Comments {
		return nil
	}
	if d.commentLines > 0 {
		d.comment = append(d.comment, '\n')
	}
	d.commentLines++
	d.comment = appendValid(d.comment, value)
	if len(d.comment) <= d.max {
		return nil
	}
	if d.opts.SkipTooLarge {
		d.commentLines, d.comment = 0, d.comment[:0]
		return nil
	}
	return d.beyond("a comment")
}

func (d *decoder) addData(value []byte) error {
	size := 0
	if d.tooLarge {
		d.dropMore(int64(len(value)))
		return nil
	}
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
		if d.opts.SkipTooLarge {
			d.drop(int64(size))
			return nil
		}
		return d.beyond("an event")
	}
	return nil
}

// dispatch ends the block and returns its event. ok reports whether the block
// makes an event. err is a *TooLargeError if it makes one that is beyond the
// limit.
func (d *decoder) dispatch() (ev Event, ok bool, err error) {
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
	switch {
	case d.tooLarge:
		ev, ok, err = Event{}, false, &TooLargeError{Limit: d.max, Size: d.size, ID: d.lastID}
	case d.dataLines == 0 && d.idSet && d.opts.OnID != nil:
		d.opts.OnID(d.lastID)
	}

	d.dataLines, d.data0, d.commentLines, d.comment = 0, "", 0, d.comment[:0]
	d.eventType, d.retry, d.idSet = "", 0, false
	d.tooLarge, d.size = false, 0
	if cap(d.data) > keptBuffer {
		d.data = nil
	}
	if cap(d.comment) > keptBuffer {
		d.comment = nil
	}
	return ev, ok, err
}

// parseRetry parses ASCII digits as milliseconds. A value too large for a
// Duration becomes the longest Duration.
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
