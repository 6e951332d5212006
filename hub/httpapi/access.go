package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/internal/grant"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// An Action is what a client wants to do.
type Action int

// The actions. The zero Action is none of them.
const (
	ActionPublish    Action = iota + 1 // store messages
	ActionSubscribe                    // receive messages, also retained ones
	ActionRead                         // list topics and read retained messages
	ActionAdminister                   // use what is the operator's: end the streams of others
	ActionLocate                       // learn the position of the newest message, of whatever topic
)

// String returns the action's name in lower case.
func (a Action) String() string {
	names := [...]string{"", "publish", "subscribe", "read", "administer", "locate"}
	if a < ActionPublish || int(a) >= len(names) {
		return "action " + strconv.Itoa(int(a))
	}
	return names[a]
}

// Access is what a request asks for. All of it must be allowed. With neither topics nor
// filters the question is only who asks: for a position; and for a batch before the body is read,
// with a second question about the topics after.
type Access struct {
	Action Action

	// Topics are those that are published to, or the one that is read; each is
	// valid, and named once.
	Topics []string

	// Filters are those of a subscription, or the one of a list of topics.
	Filters []topics.Filter
}

// A Decision says for whom, and until when, a request is allowed.
type Decision struct {
	// Subject is who asks, as in key:shop, or "" for nobody in particular. [hub.Hub.Disconnect]
	// ends the streams of a subject.
	Subject string

	// Until is when the permission ends: a stream ends then. From then on the decision refuses
	// the request with 401. NoEnd says that a zero Until means no end. A Decision that says neither
	// is a mistake, and answered with 500.
	Until time.Time
	NoEnd bool

	// Issued is when the credential was made, if that is known. See [hub.Hub.Revoke].
	Issued time.Time
}

// Anyone is the Decision for a request that is allowed whoever asks, without end.
var Anyone = Decision{NoEnd: true}

// Within reports whether the allowed filters cover all topics and filters of the access: whether
// nothing that it reaches lies outside of them. Together they may cover a filter that none of them
// covers alone. No filter covers a topic that is reserved. An access of ActionPublish or ActionLocate
// that only asks who is there is within; any other without topics and filters is not.
func (a Access) Within(allowed ...topics.Filter) bool {
	for _, topic := range a.Topics {
		if !grant.Allow(allowed, topic) {
			return false
		}
	}
	if _, bad := grant.Uncovered(allowed, a.Filters); bad {
		return false
	}
	return len(a.Topics)+len(a.Filters) > 0 || a.Action == ActionPublish || a.Action == ActionLocate
}

// authorize asks Options.Authorize. It returns how the request is refused, as an error that
// is an http.Handler, or nil.
func (a *api) authorize(r *http.Request, access Access) (Decision, error) {
	if a.opts.Authorize == nil {
		return Anyone, nil
	}
	return Ask(a.hub, a.opts.Logger, r, access, a.opts.Authorize)
}

// Ask calls a function as [Options.Authorize] about a request. Its error is an http.Handler, as
// [Refusal] returns it, or refuses a subject that is revoked. It is for other routes that ask the
// same function.
func Ask(h *hub.Hub, logger *slog.Logger, r *http.Request, access Access, authorize func(*http.Request, Access) (Decision, error)) (Decision, error) {
	d, err := authorize(r, access)
	switch {
	case err != nil:
		return Decision{}, Refusal(logger, r, access, err)
	case d.Until.IsZero() && !d.NoEnd:
		logger.ErrorContext(r.Context(), "httpapi: a Decision says neither until when it allows a request nor NoEnd",
			"method", r.Method, "path", quote.Redact(r.URL.Path), "action", access.Action.String())
		return Decision{}, problem.InternalError.With("The server has a mistake in how it decides who may do what. Its log says more.")
	}
	return d, current(h, d)
}

// longBody is after how long a body has Options.Authorize asked again: a permission that is taken
// away meanwhile, as by a keys file, stores no message.
const longBody = time.Second

// still returns why what was decided at a time does not hold any more, after a body has come.
func (a *api) still(r *http.Request, access Access, d Decision, decided time.Time) error {
	if time.Since(decided) > longBody {
		_, err := a.authorize(r, access)
		return err
	}
	return current(a.hub, d)
}

// current returns why a decision does not hold any more.
func current(h *hub.Hub, d Decision) error {
	switch {
	case !d.Until.IsZero() && !time.Now().Before(d.Until):
		return problem.Expired()
	case h.Revoked(d.Subject, d.Issued):
		return problem.Revoked()
	}
	return nil
}

// Refusal returns what a request is answered with that [Options.Authorize] has refused with
// err: err itself if it is an http.Handler, and otherwise a 403 that does not show its
// text. It logs err, unless that is a [*sse.StatusError] below 500 without an Err. If err
// is nil, Refusal returns nil. It is for other routes that ask the same function.
func Refusal(logger *slog.Logger, r *http.Request, access Access, err error) error {
	if err == nil {
		return nil
	}
	if refusal, ok := errors.AsType[*sse.StatusError](err); ok && refusal.Status < 500 && refusal.Err == nil {
		return refusal
	}
	logger.InfoContext(r.Context(), "a request was refused",
		"method", r.Method, "path", quote.Redact(r.URL.Path), "action", access.Action.String(), "error", err)
	if refusal, ok := errors.AsType[errorHandler](err); ok {
		return refusal
	}
	return problem.Forbidden.Withf("You may not %s here, or not all that you ask for.", access.Action)
}

// An errorHandler is an error that answers a request, as a [*problem.Problem] does.
type errorHandler interface {
	error
	http.Handler
}
