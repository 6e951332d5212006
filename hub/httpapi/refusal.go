package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
)

// kinds are the problems of what a hub.InvalidError is about.
var kinds = map[string]problem.Type{
	"topic":  problem.InvalidTopic,
	"filter": problem.InvalidFilter,
	"type":   problem.InvalidType,
	"data":   problem.InvalidData,
	"key":    problem.InvalidKey,
	"from":   problem.InvalidFrom,
	"lag":    problem.InvalidLag,
	"format": problem.InvalidFormat,
	"id":     problem.InvalidID,
}

// invalid returns the problem of an error of which the client's request is the
// cause, or nil for any other.
func invalid(err error) *problem.Problem {
	if e, ok := errors.AsType[*hub.InvalidError](err); ok {
		if kind, known := kinds[e.Field]; known {
			detail := "The " + e.Field + " " + e.Reason + "."
			if e.Field == "data" {
				detail += " Encode what is not text, as in Base64."
			}
			return kind.With(detail).About(e.Field)
		}
	}
	if errors.Is(err, hub.ErrReserved) {
		return problem.Reserved.Withf("Topics and event types that begin with %q are the hub's own. Choose another name.", hub.ReservedPrefix)
	}
	return nil
}

// of returns the problem of a parameter that is not valid.
func of(parameter string, err error) *problem.Problem { return invalid(err).About(parameter) }

// unpublished returns the problem of a message that was not stored, or of which
// this is not known. It logs what the client is not told.
func (a *api) unpublished(r *http.Request, err error) *problem.Problem {
	if p := invalid(err); p != nil {
		if p.Type == problem.Reserved {
			p.About("type") // the topic has been looked at before
		}
		return p
	}
	switch {
	case errors.Is(err, hub.ErrTooLarge):
		return problem.MessageTooLarge.With("The message is larger than is stored here. Send a shorter one.")
	case errors.Is(err, hub.ErrKeyConflict):
		return problem.KeyConflict.With("The idempotency key was used for another message on this topic, or for one that is no longer retained. " +
			"Each message has a key of its own; the same one is for sending that message again.").About("key")
	case errors.Is(err, hub.ErrFull):
		return problem.InsufficientStorage.With("There is no room to store the message. What was stored before can be read; send this again when there is room.")
	case errors.Is(err, hub.ErrClosed):
		return stopping("The server is stopping and has not taken the message. Send it again in a moment.")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		a.opts.Logger.WarnContext(r.Context(), "httpapi: the log did not confirm a message in time", "path", r.URL.Path, "error", err)
		return problem.Unconfirmed.With("The log did not confirm in time that the message is stored. Send it again: with an idempotency key it is stored once.").
			Set("Retry-After", "1")
	}
	a.opts.Logger.ErrorContext(r.Context(), "httpapi: a message could not be published", "path", r.URL.Path, "error", err)
	return problem.InternalError.With("It is not known whether the message is stored. Send it again later, with an idempotency key so that it is stored once; the server's log has the reason.")
}

// unread returns the problem of what could not be read from the log. It logs what
// the client is not told.
func (a *api) unread(r *http.Request, err error) *problem.Problem {
	if p := invalid(err); p != nil {
		return p
	}
	if errors.Is(err, hub.ErrClosed) {
		return stopping("The server is stopping. Ask again in a moment.")
	}
	if r.Context().Err() == nil { // otherwise nobody waits for the answer
		a.opts.Logger.ErrorContext(r.Context(), "httpapi: the log could not be read", "path", r.URL.Path, "error", err)
	}
	return problem.InternalError.With("This could not be read. Try again later; the server's log has the reason.")
}

func stopping(detail string) *problem.Problem {
	return problem.Stopping.With(detail).Set("Retry-After", "1")
}

// checkEncoding refuses a body that is compressed.
func checkEncoding(h http.Header) *problem.Problem {
	if coding := strings.Join(h["Content-Encoding"], ", "); coding != "" && !strings.EqualFold(coding, "identity") {
		return problem.UnsupportedEncoding.Withf("The body has the Content-Encoding %s. Send it as it is, without one.", quote(coding)).
			Set("Accept-Encoding", "identity") // RFC 9110, section 12.5.3
	}
	return nil
}
