package eventsource

import (
	"encoding/json"
	"time"

	"example.com/tidings/sse"
)

// The hub's own events that concern a client.
const (
	hubPrefix        = "tidings."
	openEvent        = hubPrefix + "open"
	positionEvent    = hubPrefix + "position"
	endEvent         = hubPrefix + "end"
	unavailableEvent = hubPrefix + "unavailable"

	// finished is the reason of tidings.end for a topic that has ended.
	finished = "finished"
)

// obey handles an event of the hub. It returns an error if the response is not
// to be read any further.
func (a *attempt) obey(ev sse.Event) error {
	r := a.r
	var gap error
	yielded := r.c.opts.HubEvents
	switch ev.Type {
	case sse.GapEventType:
		gap = parseGap(ev, r.c.LastEventID())
		yielded = true
	case openEvent, positionEvent, endEvent, unavailableEvent:
	default: // a program of the user asked for it
		yielded = true
	}
	if yielded && !r.yield(ev, gap) {
		return errDone
	}
	r.c.moveTo(ev.ID)
	switch ev.Type {
	case openEvent:
		if r.c.opts.MaxSilence == 0 {
			r.watch.setLimit(silence(ev.Data))
		}
	case endEvent:
		var end struct{ Reason string }
		json.Unmarshal([]byte(ev.Data), &end)
		if end.Reason == finished {
			return errDone
		}
		return &EndError{Reason: end.Reason}
	case unavailableEvent:
		a.refused = true
		return ErrUnavailable
	}
	return nil
}

// parseGap returns the gap that an event reports. position is the last event ID
// before it.
func parseGap(ev sse.Event, position string) *sse.GapError {
	var gap struct {
		Reason, After, Next string
		Missed              uint64
	}
	if json.Unmarshal([]byte(ev.Data), &gap) != nil {
		return &sse.GapError{After: position, Next: ev.ID}
	}
	return &sse.GapError{Reason: gap.Reason, After: gap.After, Next: gap.Next, Missed: gap.Missed}
}

// silence returns how long a stream whose tidings.open has this data may be
// silent, or 0 if it has no keep-alive.
func silence(data string) time.Duration {
	var open struct{ KeepAlive int64 } // in milliseconds
	if json.Unmarshal([]byte(data), &open) != nil || open.KeepAlive <= 0 {
		return 0
	}
	const most = int64(24 * time.Hour / time.Millisecond)
	return 2*time.Duration(min(open.KeepAlive, most))*time.Millisecond + 5*time.Second
}
