package eventlog

import (
	"errors"
	"fmt"
)

// The errors of a log that its users tell apart. A log may wrap them.
var (
	// ErrClosed is returned once the log is closed.
	ErrClosed = errors.New("eventlog: closed")

	// ErrReopened is returned to a caller that has another generation of the log: see
	// [State].
	ErrReopened = errors.New("eventlog: the log was opened anew")

	// ErrTooLarge refuses a message that is larger than the log takes. It may come as a
	// [TooLargeError].
	ErrTooLarge = errors.New("eventlog: message too large")

	// ErrKeyConflict refuses a message whose key was used for another message.
	ErrKeyConflict = errors.New("eventlog: the key was used for another message")

	// ErrFull refuses a message for which the disk has no room. Stored messages
	// stay, and can be read.
	ErrFull = errors.New("eventlog: no room to store the message")

	// ErrFailed refuses a message because the log has failed for good: see [Failer]. The
	// message is not stored. Stored messages can still be read.
	ErrFailed = errors.New("eventlog: the log has failed, and stores nothing more")

	// ErrTooManyTopics refuses a message on a topic without a retained message, because the
	// log has as many topics as it takes. ErrTooManyKeys refuses one with a new key, because
	// it remembers as many keys as it takes. Other messages are stored, and those on topics
	// that begin with [topics.ReservedPrefix].
	ErrTooManyTopics = errors.New("eventlog: too many topics")
	ErrTooManyKeys   = errors.New("eventlog: too many idempotency keys")

	// ErrUnavailable means that the log cannot be reached now. The same call may succeed
	// later. A message that gets it is not stored.
	ErrUnavailable = errors.New("eventlog: the log cannot be reached now")

	// ErrUnconfirmed means that the log has not said whether it has stored a message.
	ErrUnconfirmed = errors.New("eventlog: it is not known whether the message is stored")

	// ErrNotFound means that the hub found no retained record. A log may return it, too,
	// where it finds none.
	ErrNotFound = errors.New("eventlog: not found")
)

// A NotFoundError is an [ErrNotFound] that says why the log no longer has the record:
// [sse.GapExpired], [sse.GapRemoved] or [sse.GapLost]. Of a lost record it is not known to
// which topic it belonged.
type NotFoundError struct{ Reason string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("%v: %s", ErrNotFound, e.Reason) }

// Is makes errors.Is find ErrNotFound.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// A TooLargeError is an [ErrTooLarge] that says how many bytes the message takes and may
// take. Where a log has refused it, they include its topic, type and key, and what the log
// adds.
type TooLargeError struct{ Size, Limit int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%v: it takes %d bytes, and may take %d", ErrTooLarge, e.Size, e.Limit)
}

// Is makes errors.Is find ErrTooLarge.
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }
