package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/tidings/internal/server"
)

// The key of a message belongs to its publisher, on each route that publishes. It outlives the
// token: after a new one, the message that is sent again is the same.
func TestKeysOfPublishers(t *testing.T) {
	c := newCredentials(t)
	s := start(t, server.Config{Auth: c.Authenticator})
	cl := client(t, "HTTP/1.1")
	may := map[string]any{"publish": []string{"messages", "a.**"}}
	ada, bob := token(t, "ada", time.Hour, may), token(t, "bob", time.Hour, may)
	renewed := token(t, "ada", 2*time.Hour, may)
	last := func() string {
		return send(t, cl, "GET", s.url+"/topics/messages", nil, "Authorization", "Bearer "+c.keys["subscribe"]).header.Get("Etag")
	}
	before := ""
	for _, tt := range []struct {
		what, credential, text string
		stored                 bool
		status                 int
	}{
		{"the first", ada, "1", true, 200},
		{"again", ada, "1", false, 200},
		{"with a new token", renewed, "1", false, 200},
		{"of another one", bob, "2", true, 200},
		{"of a service", c.keys["publish"], "3", true, 200},
		{"another message", renewed, "4", false, 422},
	} {
		r := send(t, cl, http.MethodPost, s.url+"/messages", strings.NewReader(`{"user":"a","text":"`+tt.text+`"}`),
			"Authorization", "Bearer "+tt.credential, "Content-Type", "application/json", "Idempotency-Key", "k")
		now := last()
		if r.status != tt.status || (now != before) != tt.stored {
			t.Errorf("%s: %d %s, %s after %s", tt.what, r.status, r.body, now, before)
		}
		before = now
	}
}

// The routes that take permissions away are for administrators, on every protocol.
func TestWhoMayTakeAway(t *testing.T) {
	c := newCredentials(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, server.Config{Auth: c.Authenticator})
			cl := client(t, protocol)
			ops := token(t, "ops", time.Hour, map[string]any{"administer": true})
			for _, route := range [][2]string{{"DELETE", "/subjects/jwt%3Abob/streams"}, {"PUT", "/subjects/jwt:bob/revocation"}, {"PUT", "/subjects/nobody/revocation"}} {
				do := func(header ...string) reply { return send(t, cl, route[0], s.url+route[1], nil, header...) }
				do().problem(t, 401, "unauthenticated")
				do("Authorization", "Bearer x").problem(t, 401, "invalid-credential")
				do("Authorization", "Bearer "+c.keys["publish"]).problem(t, 403, "not-granted")
				do("Authorization", "Bearer "+token(t, "ada", time.Hour, map[string]any{"publish": []string{"**"}, "subscribe": []string{"**"}})).problem(t, 403, "not-granted")
				do("Cookie", "tidings="+ops, "Origin", "https://evil.example").problem(t, 403, "origin-not-allowed")
				for _, credential := range []string{c.keys["administer"], ops} {
					r := do("Authorization", "Bearer "+credential)
					if want := map[bool]int{true: 404, false: 204}[strings.Contains(route[1], "nobody")]; r.status != want {
						t.Errorf("%v: %d %s", route, r.status, r.body)
					}
				}
			}
			// Who may administer, and nothing else, neither reads nor publishes.
			for _, path := range []string{"/topics?match=a", "/topics/a", "/topics/a/events", "/events?topic=a", "/topics"} {
				send(t, cl, "GET", s.url+path, nil, "Authorization", "Bearer "+ops).problem(t, 403, "not-granted")
			}
			send(t, cl, "POST", s.url+"/topics/a", strings.NewReader("x"), "Authorization", "Bearer "+ops).problem(t, 403, "not-granted")
			// A stream that names no topic is one of the default topic.
			if r := begun(t, cl, s.url+"/events", "Authorization", "Bearer "+c.keys["subscribe"]); r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
			begun(t, cl, s.url+"/events", "Authorization", "Bearer "+token(t, "ada", time.Hour, map[string]any{"subscribe": []string{"a.**"}})).problem(t, 403, "not-granted")
			// An id of another topic is one that is not there, and a place to go on from.
			id := send(t, cl, "POST", s.url+"/topics/a.secret", strings.NewReader("x"), "Authorization", "Bearer "+c.keys["publish"]).header.Get("Location")
			id = id[strings.LastIndex(id, "/")+1:]
			only := "Bearer " + token(t, "ada", time.Hour, map[string]any{"subscribe": []string{"a.open"}})
			known := send(t, cl, "GET", s.url+"/topics/a.open/events/"+id, nil, "Authorization", only)
			unknown := send(t, cl, "GET", s.url+"/topics/a.open/events/"+strings.Split(id, "-")[0]+"-9999", nil, "Authorization", only)
			if known.status != 404 || known.body != unknown.body {
				t.Errorf("%d %s, and of one that is not there %s", known.status, known.body, unknown.body)
			}
		})
	}
}

// Whoever has no credential reads what is public, and no filter reaches further.
func TestAnonymousReads(t *testing.T) {
	c := newCredentials(t)
	s := start(t, server.Config{Auth: c.Authenticator})
	cl := client(t, "HTTP/1.1")
	for _, path := range []string{"/topics?match=**", "/topics?match=tidings.**", "/events?topic=public.**&topic=**", "/events?topic=*.x", "/topics?match=public"} {
		r := send(t, cl, "GET", s.url+path, nil)
		if r.status/100 != 4 {
			t.Errorf("anybody may read %s: %d %s", path, r.status, r.body)
		}
	}
}
