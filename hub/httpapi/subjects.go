package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/request"
)

// maxSubjectBytes is how long a subject may be in a path.
const maxSubjectBytes = 1024

// maxRevocation is the largest body of a revocation, in bytes.
const maxRevocation = 4 << 10

// disconnect answers DELETE /subjects/{subject}/streams.
func (a *api) disconnect(w http.ResponseWriter, r *http.Request, subject, _ string) error {
	if err := a.administer(r, subject); err != nil {
		return err
	}
	if err := a.hub.Disconnect(r.Context(), subject); err != nil {
		return a.notTakenAway(r, err)
	}
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// revoke answers PUT /subjects/{subject}/revocation.
func (a *api) revoke(w http.ResponseWriter, r *http.Request, subject, _ string) error {
	if err := a.administer(r, subject); err != nil {
		return err
	}
	before := time.Now()
	hold := request.NewHold(a.budgets)
	defer hold.Release()
	err := request.ReadBody(w, r, &hold, maxRevocation, func() error {
		return problem.BodyTooLarge.Withf("A revocation has up to %d bytes. %s", maxRevocation, revocationForm)
	}, func(body []byte) (err error) {
		before, err = parseRevocation(body, before)
		return err
	})
	if err == nil { // the body may have taken a while
		err = a.administer(r, subject)
	}
	if err != nil {
		return err
	}
	if err := a.hub.Revoke(r.Context(), subject, before); err != nil {
		return a.notTakenAway(r, err)
	}
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(http.StatusNoContent)
	return nil
}

const revocationForm = `Send {"before": "2026-01-31T12:00:00Z"}, or nothing for now.`

// parseRevocation returns the time up to which credentials are refused. An empty body means now.
func parseRevocation(body []byte, now time.Time) (time.Time, error) {
	if len(strings.TrimSpace(string(body))) == 0 {
		return now, nil
	}
	var fields struct {
		Before *time.Time `json:"before"`
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	err := d.Decode(&fields)
	if _, more := d.Token(); err != nil || more != io.EOF {
		return now, problem.InvalidJSON.With("The body is not a revocation. " + revocationForm)
	}
	switch {
	case fields.Before == nil:
		return now, nil
	case fields.Before.IsZero():
		return now, problem.InvalidJSON.With("The time before is the year 1. " + revocationForm).About("before")
	case fields.Before.After(now.Add(time.Minute)):
		return now, problem.InvalidJSON.With("The time before lies ahead. A revocation concerns credentials that were issued until now.").About("before")
	}
	return *fields.Before, nil
}

// administer refuses who may not administer, or a subject that is none.
func (a *api) administer(r *http.Request, subject string) error {
	if _, err := a.authorize(r, Access{Action: ActionAdminister}); err != nil {
		return err
	}
	if kind, name, ok := strings.Cut(subject, ":"); !ok || kind == "" || name == "" || len(subject) > maxSubjectBytes || !utf8.ValidString(subject) {
		return problem.NotFound.With("A subject is jwt:NAME or key:NAME, percent-encoded in the path.")
	}
	return nil
}

// notTakenAway returns the answer to a revocation that is not stored.
func (a *api) notTakenAway(r *http.Request, err error) error {
	if errors.Is(err, hub.ErrTooManyRevoked) {
		a.opts.Logger.ErrorContext(r.Context(), "httpapi: nothing more can be revoked", "error", err)
		return problem.InsufficientStorage.Withf("%d subjects are revoked, and no more can be. Take the signing key away instead.", hub.MaxRevoked)
	}
	if errors.Is(err, eventlog.ErrFull) {
		return problem.InsufficientStorage.With("The log has no room to store this. This server obeys it already. Send it again when there is room, so that other servers and later starts know it.")
	}
	if errors.Is(err, eventlog.ErrTooLarge) {
		return problem.NotFound.With("The subject is too long.")
	}
	return a.unpublished(r, err)
}
