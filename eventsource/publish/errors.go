package publish

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"example.com/tidings/internal/outgoing"
)

var errNotUTF8 = errors.New("publish: the message is not UTF-8")

// An Error says how many messages of a call are not stored for certain.
type Error struct {
	Stored, Refused, Unsent, Unknown int

	// Err is that of the first message that is not stored for certain.
	Err error
}

// Error says how many messages are stored, and why the first of the others is
// not.
func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	for _, part := range []struct {
		n    int
		what string
	}{{e.Stored, "stored"}, {e.Refused, "refused"}, {e.Unsent, "not stored"}, {e.Unknown, "possibly stored"}} {
		if part.n > 0 || part.what == "stored" {
			parts = append(parts, strconv.Itoa(part.n)+" "+part.what)
		}
	}
	total := e.Stored + e.Refused + e.Unsent + e.Unknown
	return fmt.Sprintf("publish: of %d messages %s: %v", total, strings.Join(parts, ", "), e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// A StatusError is an answer of the hub that does not store a message. If the
// answer is a problem (RFC 9457), Type, Title, Detail and Line come from it.
type StatusError struct {
	Status int
	Type   string // such as "urn:tidings:problem:key-conflict"
	Title  string
	Detail string
	Line   int // the line of a batch, from 1; 0 if the answer is not about one
	Header http.Header
}

func (e *StatusError) Error() string {
	s := "publish: the hub answered " + strings.TrimSpace(strconv.Itoa(e.Status)+" "+http.StatusText(e.Status))
	switch {
	case e.Detail != "":
		s += ": " + outgoing.Printable(e.Detail)
	case e.Title != "":
		s += ": " + outgoing.Printable(e.Title)
	}
	return s
}

const problemPrefix = "urn:tidings:problem:"

// concerns reports whether the error is the hub's problem of this name.
func (e *StatusError) concerns(name string) bool { return e.Type == problemPrefix+name }

// concernsAlso reports whether an answer about one message is true of another one:
// it is about the topic, or about the type.
func (e *StatusError) concernsAlso(other, bad *item) bool {
	switch {
	case e.concerns("reserved"): // either is
		return other.topic == bad.topic && other.typ == bad.typ
	case e.concerns("invalid-type"):
		return other.typ == bad.typ
	}
	return (e.Status == http.StatusForbidden || e.concerns("invalid-topic")) && other.topic == bad.topic
}

// maybeStored reports whether a message with such an answer may be stored.
func (e *StatusError) maybeStored() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInsufficientStorage:
		return false
	case http.StatusServiceUnavailable:
		return !e.concerns("stopping") && !e.concerns("unavailable")
	}
	return e.Status >= 500 || e.Status < 300 // a proxy may have put its page in place of the hub's answer
}

// later reports whether the message may be stored later. The hub's limits of
// topics and keys concern one message for long, and must not hold up the others.
func (e *StatusError) later() bool {
	return outgoing.Temporary(e.Status) && !e.concerns("too-many-topics") && !e.concerns("too-many-keys")
}

// tally returns an *Error for results, or nil if every message is stored.
func tally(results []Result) error {
	var e Error
	for _, r := range results {
		switch r.Outcome {
		case Stored:
			e.Stored++
		case Refused:
			e.Refused++
		case Unsent:
			e.Unsent++
		case Unknown:
			e.Unknown++
		}
		if e.Err == nil {
			e.Err = r.Err
		}
	}
	if e.Stored == len(results) {
		return nil
	}
	return &e
}
