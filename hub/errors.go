package hub

import (
	"errors"
	"fmt"

	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/delivery"
	"example.com/tidings/topics"
)

// ErrUnavailable means that the hub cannot take a subscription just now: it is stopping, has as
// many subscribers as [Options] allow, no descriptor for another connection, or no room for what
// the filters or the request take.
var ErrUnavailable = errors.New("hub: no subscription can be taken just now")

// ErrBusy means that so many reads of the log wait for their turn that the hub refuses another one.
// Those are what History, Topics, Topic and Event do, and the search for where a subscription
// begins that asks for the newest messages or for those since a time. A few run at a time, and 64
// may wait.
var ErrBusy = budget.ErrBusy

// The reasons why a hub ends a stream: those of an [EndError], and of the event of the type
// [EndEventType]. There are no others.
const (
	EndStopping = "stopping" // the hub drains: another hub on the same log, or the next one, continues
	EndLimit    = "limit"    // the client takes too little, or sends too much: see the comment of [Hub.ServeEvents]
	EndExpired  = "expired"  // the time of the stream is over
	EndRevoked  = "revoked"  // the subscriber may no longer read the topics
	EndFinished = "finished" // the topic has ended: nothing more will follow; not used yet
)

// An EndError is the last item of the sequence of [Hub.Subscribe], unless the context was done
// or the log failed. It says why the hub has ended the stream. No event is missing before it:
// unless the reason is [EndFinished], a subscriber continues with a new subscription after the
// last id that it has, on this hub or another one. [Hub.ServeEvents] returns it too.
type EndError struct {
	Reason string // one of the constants that begin with End
}

func (e *EndError) Error() string { return "hub: the stream has ended: " + e.Reason }

// endError returns the EndError of a stream that has ended, or what else has ended it.
func endError(reason delivery.Reason) error {
	switch reason {
	case delivery.Cut, delivery.Stopping:
		return &EndError{EndStopping}
	case delivery.TimedOut, delivery.Limit, delivery.Slow:
		return &EndError{EndLimit}
	case delivery.Expired:
		return &EndError{EndExpired}
	case delivery.Revoked:
		return &EndError{EndRevoked}
	case delivery.Finished:
		return &EndError{EndFinished}
	}
	return fmt.Errorf("hub: the stream was broken off: %s", reason)
}

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
