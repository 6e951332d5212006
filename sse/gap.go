package sse

import "strconv"

// GapEventType is the event type under which a gap is told to a client.
const GapEventType = "tidings.gap"

// A GapError says that a sequence lacks events at this point: a receiver fell
// behind, or what it asked for is no longer retained. It is the one error
// after which a sequence goes on, and always travels as a *GapError, possibly
// wrapped.
//
// [Serve] turns it into the event that [GapError.Event] returns and goes on,
// unless [ServeOptions.OnError] decides otherwise.
type GapError struct {
	// Reason says in a word why events are missing, for example "lag". It is
	// meant for programs: a source of gaps documents its reasons.
	Reason string

	// After is the id of the last event before the gap, empty when unknown.
	After string

	// Next is the id at which the sequence goes on, empty when unknown.
	Next string

	// Missed is how many events are missing, 0 when that is not exactly known.
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

// Event returns the gap as an event for the client: its type is
// [GapEventType], its data a JSON object with the members reason, after, next
// and missed, those that are unknown left out. Its ID is empty, so that the
// client's last event ID stays the one before the gap.
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
