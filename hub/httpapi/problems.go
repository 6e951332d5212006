package httpapi

import (
	"context"
	"errors"
	"net/http"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
	"example.com/tidings/internal/unpublished"
	"example.com/tidings/topics"
)

// kinds are the problem types of a hub.InvalidError's fields.
var kinds = map[string]problem.Type{
	"topic":  problem.InvalidTopic,
	"filter": problem.InvalidFilter,
	"type":   problem.InvalidType,
	"data":   problem.InvalidData,
	"key":    problem.InvalidKey,
	"from":   problem.InvalidFrom,
	"lag":    problem.InvalidLag,
	"format": problem.InvalidFormat,
}

// invalid returns the problem of an error that the client's request has caused, or nil for
// any other error.
func invalid(err error) *problem.Problem {
	if e, ok := errors.AsType[*hub.InvalidError](err); ok {
		detail := "The " + e.Field + " " + e.Reason + "."
		if e.Field == "data" {
			detail += " Encode what is not text, as in Base64."
		}
		if kind, known := kinds[e.Field]; known {
			return kind.With(detail).About(e.Field)
		}
	}
	if errors.Is(err, topics.ErrReserved) {
		return problem.Reserved.Withf("Topics and event types that begin with %q are the hub's own. Choose another name.", topics.ReservedPrefix)
	}
	return nil
}

// badTopic returns the problem of a topic or filter that is invalid. parameter says where it
// stands.
func badTopic(kind problem.Type, parameter string, err error) error {
	if e, ok := errors.AsType[*topics.Error](err); ok {
		noun := "topic"
		if kind == problem.InvalidFilter {
			noun = "filter"
		}
		return kind.With("The " + noun + " " + e.Reason + ".").About(parameter)
	}
	return problemOf(err).About(parameter)
}

// problemOf is invalid for errors that the request must have caused.
func problemOf(err error) *problem.Problem {
	if p := invalid(err); p != nil {
		return p
	}
	return problem.InternalError.With("The server does not understand its own error. Try again later.")
}

// checkTopic refuses an invalid topic. parameter says where it stands.
func checkTopic(parameter, name string) error {
	if err := topics.Check(name); err != nil {
		return badTopic(problem.InvalidTopic, parameter, err)
	}
	return nil
}

// parsePosition parses an id. parameter says where it stands.
func parsePosition(parameter, s string) (eventlog.Position, error) {
	id, err := eventlog.ParsePosition(s)
	if err != nil {
		return id, problem.InvalidID.With("The id " + err.Error() + ".").About(parameter)
	}
	return id, nil
}

// unpublished returns the problem of a message that was not stored, or that may not have
// been stored. It logs what the client is not told.
func (a *api) unpublished(r *http.Request, err error) *problem.Problem {
	if p := invalid(err); p != nil {
		if p.Type == problem.Reserved {
			p.About("type") // the topic was checked before
		}
		return p
	}
	return unpublished.Problem(a.opts.Logger, r, err)
}

// unread returns the problem of a failure to read from the log. It logs what the client is
// not told.
func (a *api) unread(r *http.Request, err error) error {
	if p := invalid(err); p != nil {
		return p
	}
	switch {
	case errors.Is(err, eventlog.ErrClosed):
		return stopping("The server is stopping. Ask again in a moment.")
	case errors.Is(err, hub.ErrBusy):
		return problem.Unavailable.With("Too many reads wait for their turn. Ask again in a moment.").Set("Retry-After", "1")
	case errors.Is(err, eventlog.ErrReopened), errors.Is(err, eventlog.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		a.opts.Logger.WarnContext(r.Context(), "httpapi: the log cannot be read now", "path", quote.Redact(r.URL.Path), "error", err)
		return problem.Unavailable.With("The log is unavailable. Ask again in a moment.").Set("Retry-After", "1")
	}
	if r.Context().Err() == nil { // otherwise nobody waits for the answer
		a.opts.Logger.ErrorContext(r.Context(), "httpapi: the log could not be read", "path", quote.Redact(r.URL.Path), "error", err)
	}
	return problem.InternalError.With("This could not be read. Try again later; the server's log has the reason.")
}

func stopping(detail string) *problem.Problem {
	return problem.Stopping.With(detail).Set("Retry-After", "1")
}
