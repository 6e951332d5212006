package sse

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrEventTooLarge is wrapped by the error that [Decode] yields for an event, or
// the comments of one, larger than [DecodeOptions.MaxEventSize].
var ErrEventTooLarge = errors.New("larger than MaxEventSize")

// A TooLargeError reports that a sequence goes on without one event, which is
// larger than a limit. [Decode] yields it if [DecodeOptions.SkipTooLarge] is
// set. It wraps [ErrEventTooLarge].
type TooLargeError struct {
	// Limit is the limit in bytes.
	Limit int

	// Size is the size of the event's data in bytes, as it came.
	Size int64

	// ID is the last event ID in force at the end of the event.
	ID string
}

// Error describes the event for a log.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("sse: the event with the last event ID %q has %d bytes, and is %v, which is %d bytes", e.ID, e.Size, ErrEventTooLarge, e.Limit)
}

// Unwrap returns ErrEventTooLarge.
func (e *TooLargeError) Unwrap() error { return ErrEventTooLarge }

// A field is what a decoder that skips a line has to know about it.
type field byte

const (
	noField    field = iota // no line is skipped
	dataField               // the line counts as data
	otherField              // the line counts as nothing
)

// lineTooLarge handles a line that is too long, of which b is read. unfinished
// says that more of the line follows. Without SkipTooLarge it returns an error.
func (d *decoder) lineTooLarge(b []byte, unfinished bool) error {
	comment := b[0] == ':'
	switch {
	case d.opts.SkipTooLarge:
	case comment:
		return d.beyond("a comment")
	default:
		return d.beyond("an event")
	}
	name, value, _ := bytes.Cut(b, colon)
	kind := otherField
	switch string(name) {
	case "data":
		kind = dataField
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
		d.drop(d.held())
		d.dropMore(int64(len(value)))
	case "event", "id":
		d.drop(d.held())
	}
	if unfinished {
		d.skipping = kind
		d.start = d.end
	}
	return nil
}

// held returns the size of the block's data so far.
func (d *decoder) held() int64 {
	switch {
	case d.tooLarge:
		return d.size
	case d.dataLines == 1:
		return int64(len(d.data0))
	case d.dataLines > 1:
		return int64(len(d.data))
	}
	return 0
}

// drop drops the data of the block, which has size bytes so far.
func (d *decoder) drop(size int64) {
	d.tooLarge, d.size = true, size
	d.data0, d.data = "", nil
}

// dropMore counts another data line of a block whose data is dropped.
func (d *decoder) dropMore(size int64) {
	if d.dataLines > 0 {
		size++ // the line end before the line
	}
	d.dataLines++
	d.size += size
}

// skip drops more of a line.
func (d *decoder) skip(part []byte) {
	if d.skipping == dataField {
		d.size += int64(len(part))
	}
	d.start += len(part)
}

func (d *decoder) beyond(what string) error {
	return fmt.Errorf("sse: %s is %w, which is %d bytes", what, ErrEventTooLarge, d.max)
}
