// Package unpublished turns errors of a hub that was to store a message into answers. All routes
// that publish share it.
package unpublished

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
)

// Problem returns the answer for a message that is not stored, or that may not be stored, because
// of err. It logs what the client is not told. Mistakes of the client, such as an invalid topic, are
// for the caller.
func Problem(logger *slog.Logger, r *http.Request, err error) *problem.Problem {
	switch {
	case errors.Is(err, eventlog.ErrUnconfirmed): // it may wrap another error
		return unconfirmed(logger, r, err)
	case errors.Is(err, eventlog.ErrTooLarge):
		return tooLarge(err)
	case errors.Is(err, eventlog.ErrKeyConflict):
		return problem.KeyConflict.With("The idempotency key was used for another message on this topic. " +
			"Each message has a key of its own; the same one is for sending that message again.").About("key")
	case errors.Is(err, eventlog.ErrFull):
		return problem.InsufficientStorage.With("There is no room to store the message. What was stored before can be read; send this again when there is room.")
	case errors.Is(err, eventlog.ErrTooManyTopics):
		return problem.TooManyTopics.With("The log has as many topics as it takes. The message is not stored. Publish it to a topic that has messages, or again when others have expired.").About("topic")
	case errors.Is(err, eventlog.ErrTooManyKeys):
		return problem.TooManyKeys.With("The log remembers as many idempotency keys as it takes. The message is not stored. Send it without a key, or again when older keys are forgotten.").About("key")
	case errors.Is(err, eventlog.ErrFailed):
		return problem.Unavailable.With("The log has failed and stores nothing more. The message is not stored. What was stored before can be read; send this again when the server has been started again.").
			Set("Retry-After", "1")
	case errors.Is(err, eventlog.ErrClosed):
		return problem.Stopping.With("The server is stopping and has not taken the message. Send it again in a moment.").Set("Retry-After", "1")
	case errors.Is(err, eventlog.ErrUnavailable):
		logger.WarnContext(r.Context(), "httpapi: a message is not stored, because the log is unavailable", "path", quote.Redact(r.URL.Path), "error", err)
		return problem.Unavailable.With("The log is unavailable. The message is not stored. Send it again in a moment.").Set("Retry-After", "1")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, eventlog.ErrReopened):
		return unconfirmed(logger, r, err)
	}
	logger.ErrorContext(r.Context(), "httpapi: a message could not be published", "path", quote.Redact(r.URL.Path), "error", err)
	return problem.InternalError.With("It is not known whether the message is stored. Send it again later, with an idempotency key so that it is stored once; the server's log has the reason.")
}

// unconfirmed returns the problem of a message that may or may not be stored.
func unconfirmed(logger *slog.Logger, r *http.Request, err error) *problem.Problem {
	logger.WarnContext(r.Context(), "httpapi: the log did not confirm a message in time", "path", quote.Redact(r.URL.Path), "error", err)
	return problem.Unconfirmed.With("The log did not confirm in time that the message is stored. Send it again: with an idempotency key it is stored once.").
		Set("Retry-After", "1")
}

// tooLarge returns the problem of a message that the hub or its log refuses, because it is
// larger than the hub takes, or than the log retains.
func tooLarge(err error) *problem.Problem {
	if e, ok := errors.AsType[*eventlog.TooLargeError](err); ok {
		return problem.MessageTooLarge.Withf("The message takes %d bytes of storage. It may take up to %d. Send a shorter one.", e.Size, e.Limit)
	}
	return problem.MessageTooLarge.With("The message is larger than the server stores. Send a shorter one.")
}
