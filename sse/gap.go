package sse

import "strconv"

// GapEventType is the type of the event that tells a client about a gap.
const GapEventType = "tidings.gap"

// The reasons for a gap that packages of this module give.
const (
	// GapLag: events were dropped because the receiver was too slow, or skipped
	// because the receiver asked for that.
	GapLag = "lag"

	// GapExpired: retention has removed events after the client's last event
	// ID.
	GapExpired = "expired"

	// GapLost: the log has lost events because of a power failure or a damaged
	// file.
	GapLost = "lost"

	// GapRemoved: somebody has removed messages from the log on purpose.
	GapRemoved = "removed"

	// GapUnknown: the client's last event ID is from another log, or from a
	// time after the backup that was restored.
	GapUnknown = "unknown"

	// GapFuture: the client's last event ID is after the newest event.
	GapFuture = "future"

	// GapMalformed: the client's last event ID does not have the form of the
	// server's IDs.
	GapMalformed = "malformed"

	// GapInvalid: the log holds a message that cannot be sent as an event,
	// because its type contains a line end. Only a publisher that bypasses the
	// hub and writes to the log directly can store such a message.
	GapInvalid = "invalid"
)

// A GapError reports that events are missing at this point of a sequence: a
// receiver fell behind, or the events that it asked for are no longer retained.
// It is the only error after which a sequence goes on, except for the
// [*TooLargeError] of [DecodeOptions.SkipTooLarge]. It always travels as a
// *GapError, possibly wrapped.
//
// [Serve] sends the event that [GapError.Event] returns and goes on, unless
// [ServeOptions.OnError] decides otherwise.
type GapError struct {
	// Reason says in one word why events are missing. It is one of the
	// constants that begin with Gap, or a word that another source of gaps
	// documents. It is meant for programs.
	Reason string

	// After is the id of the last event before the gap. It is empty when
	// unknown.
	After string

	// Next is the id at which the sequence goes on. It is empty when unknown.
	Next string

	// Missed is the number of missing events. It is 0 when the exact number is
	// unknown.
	Missed uint64
}

// Error describes the gap for a log.
func (e *GapError) Error() string {
	s := "sse: gap"
	if e.Missed > 0 {
		s += ": " + strconv.FormatUint(e.Missed, 10) + " missed"
	}
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	return s
}

// Event returns the event that tells the client about the gap. Its type is
// [GapEventType]. Its data is a JSON object with the members reason, after,
// next and missed, without those that are unknown. Its ID is empty, so the
// client keeps the last event ID from before the gap.
func (e *GapError) Event() Event {
	ev, err := JSON(GapEventType, struct {
		Reason string `json:"reason,omitempty"`
		After  string `json:"after,omitempty"`
		Next   string `json:"next,omitempty"`
		Missed uint64 `json:"missed,omitempty"`
	}{e.Reason, e.After, e.Next, e.Missed})
	if err != nil {
		panic(err) // strings and an integer always marshal
	}
	return ev
}
