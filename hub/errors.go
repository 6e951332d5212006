package hub

import (
	"errors"
	"fmt"

	"example.com/tidings/topics"
)

// ErrUnavailable means that the hub cannot take a subscription just now: it is stopping, or
// has as many subscribers as [Options] allow.
var ErrUnavailable = errors.New("hub: no subscription can be taken just now")

// An InvalidError refuses an argument. Its Field and Reason can be shown to the client that
// sent the argument.
type InvalidError struct {
	Field  string // "topic", "type", "data", "key", "filter", "from", "lag" or "format"
	Reason string // a predicate, such as "is empty"
}

func (e *InvalidError) Error() string { return "hub: the " + e.Field + " " + e.Reason }

func invalid(field, format string, args ...any) *InvalidError {
	return &InvalidError{field, fmt.Sprintf(format, args...)}
}

// checkTopic checks a topic.
func checkTopic(name string) error {
	err := topics.Check(name)
	if e, ok := errors.AsType[*topics.Error](err); ok {
		return &InvalidError{"topic", e.Reason}
	}
	return err
}

// A BatchError says which message of a batch is refused. Nothing of the batch is stored.
type BatchError struct {
	Index int // from 0
	Err   error
}

func (e *BatchError) Error() string {
	return fmt.Sprintf("hub: message %d of the batch: %v", e.Index+1, e.Err)
}
func (e *BatchError) Unwrap() error { return e.Err }
