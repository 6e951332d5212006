package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// Who may administer takes permissions away.
func TestSubjects(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		issued := time.Now().Add(-time.Hour)
		s := serve(t, setting{h2: h2, api: httpapi.Options{Authorize: func(r *http.Request, access httpapi.Access) (httpapi.Decision, error) {
			who := r.Header.Get("Authorization")
			if access.Action == httpapi.ActionAdminister && who != "ops" {
				return httpapi.Decision{}, &sse.StatusError{Status: 403}
			}
			return httpapi.Decision{Subject: "jwt:" + who, NoEnd: true, Issued: issued}, nil
		}}})
		if r := s.send(t, "DELETE", "/subjects/jwt%3Aada/streams", "", "Authorization", "ada"); r.status != 403 {
			t.Errorf("%d", r.status)
		}
		events, err := s.hub.Subscribe(t.Context(), hub.Subscription{Filters: topics.MustFilters("a"), Subject: "jwt:ada/é", NoEnd: true})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			for _, err := range events {
				ended <- err
			}
		}()
		// The sequence may not have begun: then it begins after the answer.
		for done := false; !done; {
			if r := s.send(t, "DELETE", "/subjects/jwt%3Aada%2F%C3%A9/streams", "", "Authorization", "ops"); r.status != 204 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			select {
			case err := <-ended:
				if end, ok := errors.AsType[*hub.EndError](err); !ok || end.Reason != hub.EndRevoked {
					t.Errorf("the stream ends with %v", err)
				}
				done = true
			default:
			}
		}
		for path, body := range map[string]string{
			"/subjects/jwt:bob/revocation": "", "/subjects/jwt:eve/revocation": `{"before":"` + issued.UTC().Format(time.RFC3339Nano) + `"}`,
			"/subjects/key:eve/revocation": `{}`,
		} {
			if r := s.send(t, "PUT", path, body, "Authorization", "ops"); r.status != 204 {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
		}
		for who, status := range map[string]int{"bob": 401, "eve": 401, "ada": 404} {
			for _, path := range []string{"/topics/a", "/topics/a/events", "/events?topic=a"} {
				if r := s.send(t, "HEAD", path, "", "Authorization", who); r.status != status && status == 401 {
					t.Errorf("%s %s: %d", who, path, r.status)
				}
			}
			r := s.send(t, "POST", "/topics/a", "x", "Authorization", who)
			if (r.status == 401) != (status == 401) {
				t.Errorf("%s: %d", who, r.status)
			}
			if status == 401 {
				r.problem(t, 401, "invalid-credential")
			}
		}
		issued = time.Now().Add(time.Second) // a new token
		if r := s.send(t, "POST", "/topics/a", "x", "Authorization", "bob"); r.status != 201 {
			t.Errorf("with a newer credential: %d", r.status)
		}
		for _, tt := range []struct {
			method, path, body string
			status             int
			kind               string
		}{
			{"PUT", "/subjects/ada/revocation", "", 404, "not-found"},
			{"PUT", "/subjects/jwt:/revocation", "", 404, "not-found"},
			{"PUT", "/subjects/jwt:ada/revocation", "{", 400, "invalid-json"},
			{"PUT", "/subjects/jwt:ada/revocation", `{"befor":"2026-01-01T00:00:00Z"}`, 400, "invalid-json"},
			{"PUT", "/subjects/jwt:ada/revocation", `{"before":"tomorrow"}`, 400, "invalid-json"},
			{"PUT", "/subjects/jwt:ada/revocation", `{"before":"2226-01-01T00:00:00Z"}`, 400, "invalid-json"},
			{"PUT", "/subjects/jwt:ada/revocation", `{"before":"0001-01-01T00:00:00Z"}`, 400, "invalid-json"},
			{"PUT", "/subjects/jwt:ada/revocation", `{}}`, 400, "invalid-json"},
			{"PUT", "/subjects/jwt:ada/revocation", `{} {}`, 400, "invalid-json"},
			{"PUT", "/subjects/jwt:%FF/revocation", "", 404, "not-found"},
			{"DELETE", "/subjects/jwt:%FF/streams", "", 404, "not-found"},
			{"DELETE", "/subjects/jwt:" + strings.Repeat("x", 1021) + "/streams", "", 404, "not-found"},
			{"PUT", "/subjects/jwt:ada/streams", "", 405, "method-not-allowed"},
			{"GET", "/subjects/jwt:ada/streams", "", 405, "method-not-allowed"},
			{"DELETE", "/subjects/jwt:ada/nothing", "", 404, "not-found"},
		} {
			s.send(t, tt.method, tt.path, tt.body, "Authorization", "ops").problem(t, tt.status, tt.kind)
		}
	})
}

// A stream whose subject is disconnected while Authorize decides does not survive: what Authorize
// has read may be what the disconnect takes away, as a key in a file.
func TestDisconnectWhileAuthorizeDecides(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		var s *site
		s = serve(t, setting{h2: h2, api: httpapi.Options{Authorize: func(*http.Request, httpapi.Access) (httpapi.Decision, error) {
			time.Sleep(time.Millisecond)
			if err := s.hub.Disconnect(t.Context(), "key:shop"); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond)
			return httpapi.Decision{Subject: "key:shop", NoEnd: true}, nil
		}}})
		res := s.request(t, "GET", "/events?topic=a", nil)
		time.AfterFunc(10*time.Second, func() { res.Body.Close() })
		if b, err := io.ReadAll(res.Body); err == nil || !strings.Contains(string(b), `{"reason":"revoked"}`) {
			t.Errorf("the stream is %q, %v", b, err)
		}
	})
}

// A log that cannot store a revocation, and a server that can keep no more of them, say so. What
// the log cannot store, this server obeys all the same.
func TestRevocationsThatAreNotStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &faultyLog{Log: eventlog.NewMemory(nil)}
		s := serve(t, setting{log: log, api: httpapi.Options{Authorize: func(r *http.Request, _ httpapi.Access) (httpapi.Decision, error) {
			return httpapi.Decision{Subject: r.Header.Get("Authorization"), NoEnd: true}, nil
		}}})
		log.failAppends(func(hub.Message) error { return eventlog.ErrFull })
		for _, route := range [][2]string{{"PUT", "/subjects/jwt:ada/revocation"}, {"DELETE", "/subjects/jwt:ada/streams"}} {
			if p := s.send(t, route[0], route[1], "", "Authorization", "jwt:ops").problem(t, 507, "insufficient-storage"); !strings.Contains(p.Detail, "This server obeys it already.") {
				t.Errorf("%v: %s", route, p.Detail)
			}
		}
		s.send(t, "GET", "/topics", "", "Authorization", "jwt:ada").problem(t, 401, "invalid-credential")
		for err, want := range map[error]string{eventlog.ErrClosed: "503 stopping", eventlog.ErrFailed: "503 unavailable", context.DeadlineExceeded: "503 unconfirmed", errSecret: "500 internal-error"} {
			log.failAppends(func(hub.Message) error { return err })
			var status int
			var kind string
			fmt.Sscanf(want, "%d %s", &status, &kind)
			s.send(t, "PUT", "/subjects/jwt:eve/revocation", "", "Authorization", "jwt:ops").problem(t, status, kind)
		}
		log.failAppends(nil)
	})
}

func TestTooManyRevocations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := eventlog.NewMemory(nil)
		messages := make([]eventlog.Message, hub.MaxRevoked)
		for i := range messages {
			messages[i] = eventlog.Message{Topic: "tidings.revoked", Data: fmt.Sprintf(`{"subject":"jwt:%d","before":"2000-01-01T00:00:00Z","until":"2000-01-02T00:00:00Z"}`, i)}
		}
		log.Append(t.Context(), messages)
		s := serve(t, setting{log: log})
		if p := s.send(t, "PUT", "/subjects/jwt:ada/revocation", "").problem(t, 507, "insufficient-storage"); !strings.Contains(p.Detail, "100000 subjects are revoked") {
			t.Errorf("%s", p.Detail)
		}
		for _, route := range [][2]string{{"DELETE", "/subjects/jwt:ada/streams"}, {"PUT", "/subjects/jwt:7/revocation"}} {
			if r := s.send(t, route[0], route[1], ""); r.status != 204 {
				t.Errorf("%v: %d %s", route, r.status, r.body)
			}
		}
	})
}

// The keys of one publisher are not those of another.
func TestKeysAreScoped(t *testing.T) {
	s := serve(t, setting{api: httpapi.Options{Authorize: func(r *http.Request, _ httpapi.Access) (httpapi.Decision, error) {
		return httpapi.Decision{Subject: r.Header.Get("Authorization"), NoEnd: true}, nil
	}}})
	for _, tt := range []struct {
		who, data string
		status    int
	}{{"ada", "1", 201}, {"ada", "1", 200}, {"bob", "2", 201}, {"", "3", 201}, {"ada", "2", 422}} {
		if r := s.send(t, "POST", "/topics/a", tt.data, "Authorization", tt.who, "Idempotency-Key", `"k"`); r.status != tt.status {
			t.Errorf("%s publishes %s: %d %s", tt.who, tt.data, r.status, r.body)
		}
		if tt.status == 422 {
			continue
		}
		line := `{"topic":"a","data":"` + tt.data + `","key":"k"}`
		if r := s.send(t, "POST", "/batch", line, "Authorization", tt.who, "Content-Type", "application/x-ndjson"); r.status != 200 || !strings.Contains(r.body, `"status":200`) {
			t.Errorf("%s publishes %s again: %d %s", tt.who, tt.data, r.status, r.body)
		}
	}
}
