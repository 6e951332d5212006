package server

import (
	"errors"
	"net/http"
	"time"

	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/auth"
	"example.com/tidings/internal/grant"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
	"example.com/tidings/topics"
)

// realm is what a 401 says (RFC 6750, section 3).
const realm = `Bearer realm="tidings"`

// identify returns who sends a request. The error refuses it, and is an http.Handler. It says to
// the server's log why a credential is not accepted, and to the client only whether it has expired.
func (s *Server) identify(r *http.Request) (auth.Identity, error) {
	credential, _, err := auth.FromRequest(r, s.cookie.name, func(origin string) bool { return s.trusted(r, origin) })
	if err == nil && credential == "" {
		return s.cfg.Auth.Anonymous(), nil
	}
	var id auth.Identity
	if err == nil {
		id, err = s.cfg.Auth.Check(credential, time.Now())
	}
	switch {
	case err == nil:
		return id, nil
	case errors.Is(err, auth.ErrAmbiguous):
		return id, refusal{problem.AmbiguousCredential.With("The request has two credentials. Send one Authorization header, or one cookie. Another site of this domain may have set a second cookie: delete it."), err}
	case errors.Is(err, auth.ErrForeignPage):
		return id, refusal{problem.OriginNotAllowed.With("Pages of other sites may not use the cookie. If it is your own page, start the server with --allow-origin and the page's origin."), err}
	}
	refused := problem.BadCredential("The credential is not accepted. The server's log says why.")
	if errors.Is(err, auth.ErrExpired) {
		refused = problem.Expired()
	}
	return id, refusal{refused, err}
}

// trusted reports whether a page of an origin may use the cookie: the page of this server, or one
// of --allow-origin.
func (s *Server) trusted(r *http.Request, origin string) bool {
	if s.origins.allowed[origin] {
		return true
	}
	if s.cfg.PublicURL != "" {
		return origin == s.cfg.PublicURL
	}
	own, err := normalOrigin(s.scheme() + "://" + r.Host)
	return err == nil && origin == own
}

// A refusal is a problem with a reason for the server's log.
type refusal struct {
	*problem.Problem
	reason error
}

func (r refusal) Error() string   { return r.reason.Error() }
func (r refusal) Unwrap() []error { return []error{r.Problem, r.reason} }

// decide is the Authorize of a server that has credentials.
func (s *Server) decide(r *http.Request, access httpapi.Access) (httpapi.Decision, error) {
	id, err := s.identify(r)
	if err != nil {
		return httpapi.Decision{}, err
	}
	if err := allow(id, access); err != nil {
		return httpapi.Decision{}, err
	}
	return httpapi.Decision{Subject: id.Subject, Until: id.Until, NoEnd: id.Until.IsZero(), Issued: id.Issued}, nil
}

// allow refuses what an identity may not do.
func allow(id auth.Identity, access httpapi.Access) error {
	granted, verb, what := id.Subscribe, "read", "topic"
	switch access.Action {
	case httpapi.ActionPublish:
		granted, verb = id.Publish, "publish to"
		if len(access.Topics) == 0 && len(granted) == 0 {
			return missing(id, "You may not publish.", what)
		}
	case httpapi.ActionAdminister:
		if !id.Administer {
			return missing(id, "Only who may administer can do this.", "")
		}
		return nil
	case httpapi.ActionLocate:
		if id.Subject == "" {
			return missing(id, "The position is for who has a credential.", "")
		}
		return nil
	}
	for _, topic := range access.Topics {
		if !grant.Allow(granted, topic) {
			return missing(id, "You may not "+verb+" the topic "+topic+".", what)
		}
	}
	if f, bad := grant.Uncovered(granted, access.Filters); bad {
		return missing(id, "You may not read all topics of "+describe(f)+".", what)
	}
	return nil
}

func describe(f topics.Filter) string { return quote.Short(f.String()) }

// missing refuses an identity that lacks a grant. Somebody without a credential may get one.
func missing(id auth.Identity, detail, field string) *problem.Problem {
	if id.Subject == "" {
		return problem.Unauthenticated.With(detail+" Send a credential that allows it, as in the header Authorization: Bearer TOKEN.").
			Set("WWW-Authenticate", realm)
	}
	return problem.NotGranted.With(detail+" Your credential does not allow it.").About(field).
		Set("WWW-Authenticate", realm+`, error="insufficient_scope"`)
}
