package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"example.com/tidings/internal/auth"
	"example.com/tidings/internal/problem"
	"example.com/tidings/topics"
)

// A cookiePolicy says how the cookie of a session is set.
type cookiePolicy struct {
	name   string
	secure bool
}

// newCookiePolicy returns the cookie for a server that pages reach by HTTPS, or only by HTTP on
// this machine. The prefix __Host- keeps sites beside this one from setting it (RFC 6265bis,
// section 4.1.3.2).
func newCookiePolicy(https bool) cookiePolicy {
	if https {
		return cookiePolicy{"__Host-tidings", true}
	}
	return cookiePolicy{"tidings", false}
}

// maxCookie is how many bytes the name and the value of a cookie may have: browsers drop longer
// ones in silence (RFC 6265bis, section 5.6).
const maxCookie = 4096

func (p cookiePolicy) cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: p.name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: p.secure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// sessionInfo is the JSON of /session.
type sessionInfo struct {
	Subject    string          `json:"subject"`
	ExpiresIn  *int64          `json:"expiresIn,omitempty"` // seconds
	Publish    []topics.Filter `json:"publish"`
	Subscribe  []topics.Filter `json:"subscribe"`
	Administer bool            `json:"administer"`
}

func answerSession(w http.ResponseWriter, id auth.Identity) {
	info := sessionInfo{Subject: id.Subject, Publish: id.Publish, Subscribe: id.Subscribe, Administer: id.Administer}
	if info.Publish == nil {
		info.Publish = []topics.Filter{} // [] in JSON, not null
	}
	if info.Subscribe == nil {
		info.Subscribe = []topics.Filter{}
	}
	if !id.Until.IsZero() {
		info.ExpiresIn = new(int64(time.Until(id.Until) / time.Second))
	}
	b, err := json.Marshal(info)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	h.Set("Cache-Control", "no-store")
	w.Write(append(b, '\n'))
}

// beginSession answers POST /session: it puts the token of the Authorization header into a cookie,
// because an EventSource sends no headers. It takes the token from nowhere else, so that a page of
// another site, which cannot set that header without asking first, signs nobody in.
func (s *Server) beginSession(w http.ResponseWriter, r *http.Request) error {
	if len(r.Header["Authorization"]) == 0 {
		return problem.Unauthenticated.With("Send the token in the header Authorization: Bearer TOKEN.").Set("WWW-Authenticate", realm)
	}
	id, err := s.identifyLive(r)
	if err != nil {
		return s.refused(r, err)
	}
	token, _, _ := auth.FromRequest(r, "", nil) // it was found before
	if id.Until.IsZero() {
		return problem.BadCredential("An API key is for services, and a session takes a signed token that ends. Send the key in the header Authorization with each request.")
	}
	c := s.cookie.cookie(token, max(1, int(time.Until(id.Until)/time.Second)))
	if len(c.Name)+len(c.Value) > maxCookie {
		return problem.CookieTooLarge.Withf("The token has %d bytes, and browsers keep a cookie of up to %d. Sign one with fewer grants.", len(token), maxCookie-len(c.Name))
	}
	http.SetCookie(w, c)
	answerSession(w, id)
	return nil
}

// showSession answers GET /session: who one is, and what one may do.
func (s *Server) showSession(w http.ResponseWriter, r *http.Request) error {
	id, err := s.identifyLive(r)
	if err != nil {
		return s.refused(r, err)
	}
	if id.Subject == "" {
		return problem.Unauthenticated.With("There is no session. Sign in with POST /session.").Set("WWW-Authenticate", realm)
	}
	answerSession(w, id)
	return nil
}

// identifyLive is identify that refuses a subject that is revoked, too.
func (s *Server) identifyLive(r *http.Request) (auth.Identity, error) {
	id, err := s.identify(r)
	if err == nil && s.conns.hub.Revoked(id.Subject, id.Issued) {
		err = refusal{problem.Revoked(), fmt.Errorf("the subject %q is revoked", id.Subject)}
	}
	return id, err
}

// endSession answers DELETE /session. It also deletes a cookie that has expired.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	http.SetCookie(w, s.cookie.cookie("", -1))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// refused logs why a credential is refused, and returns the refusal.
func (s *Server) refused(r *http.Request, err error) error {
	s.log.InfoContext(r.Context(), "a request was refused", "method", r.Method, "path", r.URL.Path, "error", err)
	return err
}
