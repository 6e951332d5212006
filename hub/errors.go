package hub

import (
	"errors"
	"fmt"
)

// The errors of this package that a program may want to tell apart, besides
// [*InvalidError] and [*BatchError]. Others are those of the log.
var (
	// ErrClosed is returned once the hub or the log is closed.
	ErrClosed = errors.New("hub: closed")

	// ErrUnavailable says that a subscription cannot be taken just now: the hub
	// is stopping, or at its limit of subscribers.
	ErrUnavailable = errors.New("hub: no subscription can be taken just now")

	// ErrReserved refuses what begins with [ReservedPrefix].
	ErrReserved = errors.New("hub: reserved")

	// ErrTooLarge refuses a message that is larger than the hub or the log takes.
	ErrTooLarge = errors.New("hub: message too large")

	// ErrKeyConflict refuses a message whose key was used for another one, or
	// for one that is no longer retained and cannot be compared.
	ErrKeyConflict = errors.New("hub: the key was used for another message")

	// ErrFull refuses a message for which there is no room on the disk. What is
	// stored stays, and can be read.
	ErrFull = errors.New("hub: no room to store the message")

	// ErrNotFound says that the log does not retain what was asked for.
	ErrNotFound = errors.New("hub: not found")
)

// An InvalidError refuses an argument. Its text can be shown to the client that
// sent it.
type InvalidError struct {
	Field  string // "topic", "filter", "type", "data", "key", "from", "lag" or "format"
	Reason string // what is wrong with it, as "is empty"
}

func (e *InvalidError) Error() string { return "hub: the " + e.Field + " " + e.Reason }

func invalid(field, format string, args ...any) *InvalidError {
	return &InvalidError{field, fmt.Sprintf(format, args...)}
}

// A BatchError says which message of a batch is refused. Nothing of the batch
// is stored.
type BatchError struct {
	Index int // from 0
	Err   error
}

func (e *BatchError) Error() string {
	return fmt.Sprintf("hub: message %d of the batch: %v", e.Index+1, e.Err)
}
func (e *BatchError) Unwrap() error { return e.Err }
