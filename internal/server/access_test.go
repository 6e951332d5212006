package server_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/server"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// The server asks Authorize about every route that reads or publishes, before it does
// anything. A refusal has the status that the hook says. The page itself is for all.
func TestAuthorizeIsAskedOfEveryRoute(t *testing.T) {
	var asked httpapi.Access
	var answer error
	s := start(t, server.Config{Authorize: func(_ *http.Request, a httpapi.Access) (httpapi.Decision, error) {
		asked = a
		return httpapi.Anyone, answer
	}})
	c := client(t, "HTTP/1.1")
	for _, tt := range []struct {
		method, path, body string
		action             httpapi.Action
		topic              string // or filter
	}{
		{"POST", "/messages", `{"user":"a","text":"b"}`, httpapi.ActionPublish, "messages"},
		{"POST", "/topics/orders", "x", httpapi.ActionPublish, "orders"},
		{"GET", "/events", "", httpapi.ActionSubscribe, "messages"},
		{"GET", "/events?topic=orders.**", "", httpapi.ActionSubscribe, "orders.**"},
		{"GET", "/topics?match=a.*", "", httpapi.ActionRead, "a.*"},
		{"GET", "/topics/orders", "", httpapi.ActionRead, "orders"},
		{"GET", "/topics/orders/events", "", httpapi.ActionRead, "orders"},
		{"GET", "/history?topic=orders.**&order=desc", "", httpapi.ActionSubscribe, "orders.**"},
		{"GET", "/position", "", httpapi.ActionLocate, ""},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			do := func() reply {
				var body io.Reader
				if tt.body != "" {
					body = strings.NewReader(tt.body)
				}
				return send(t, c, tt.method, s.url+tt.path, body, "Content-Type", "application/json")
			}
			answer = errors.New("secret")
			if p := do().problem(t, 403, "forbidden"); strings.Contains(p.Detail, "secret") {
				t.Errorf("the client sees the reason: %s", p.Detail)
			}
			got := append([]string(nil), asked.Topics...)
			for _, f := range asked.Filters {
				got = append(got, f.String())
			}
			if asked.Action != tt.action || strings.Join(got, " ") != tt.topic {
				t.Errorf("asked about %+v, want %v of %s", asked, tt.action, tt.topic)
			}
			answer = &sse.StatusError{Status: http.StatusUnauthorized}
			if r := do(); r.status != 401 {
				t.Errorf("got %d, want the hook's 401", r.status)
			}
		})
	}
	all, err := topics.ParseFilter("**")
	if err != nil {
		t.Fatal(err)
	}
	if topics, err := s.hub.Topics(t.Context(), all, "", 10); err != nil || len(topics) > 0 {
		t.Errorf("what was refused has been published: %v, %v", topics, err)
	}
	asked = httpapi.Access{}
	if r := send(t, c, "GET", s.url+"/", nil); r.status != 200 || asked.Action != 0 {
		t.Errorf("the page: %d, asked about %+v", r.status, asked)
	}
	answer = nil
	post(t, c, s.url, "alice", "allowed")
}
