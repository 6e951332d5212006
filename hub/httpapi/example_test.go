package httpapi_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// The whole API on a chi router, below /hub. One function says who may do what:
// each user everything below a topic of their own, and nothing else.
func Example() {
	h, err := hub.New(context.Background(), eventlog.NewMemory(nil), nil) // or segmentlog.Open, to survive the process
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()

	api := httpapi.New(h, &httpapi.Options{
		Authorize: func(r *http.Request, access httpapi.Access) (httpapi.Decision, error) {
			user, _, ok := r.BasicAuth() // as your program knows its users
			if !ok {
				return httpapi.Decision{}, &sse.StatusError{Status: http.StatusUnauthorized, Message: "Who are you?"}
			}
			own, err := topics.ParseFilter("users." + topics.Token(user) + ".**")
			if err != nil {
				return httpapi.Decision{}, err
			}
			if !access.Within(own) {
				return httpapi.Decision{}, fmt.Errorf("%s may not %s %v%v", user, access.Action, access.Topics, access.Filters) // 403, and logged
			}
			return httpapi.Decision{Subject: user, Until: time.Now().Add(time.Hour)}, nil
		},
	})
	router := chi.NewRouter()
	router.Use(middleware.Recoverer)
	router.Mount("/hub", http.StripPrefix("/hub", api))
	server := httptest.NewServer(router)
	defer server.Close()

	do := func(method, path, user, body string) {
		r, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		if user != "" {
			r.SetBasicAuth(user, "")
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		defer res.Body.Close()
		fmt.Println(method, path, res.Status)
	}
	do("POST", "/hub/topics/users.zoe.inbox", "zoe", "hello")
	do("POST", "/hub/topics/users.max.inbox", "zoe", "hello")
	do("GET", "/hub/topics?match=users.zoe.*", "zoe", "")
	do("GET", "/hub/topics", "zoe", "")
	do("HEAD", "/hub/events?topic=users.zoe.**", "zoe", "")
	do("HEAD", "/hub/events?topic=users.zoe.**&topic=news", "zoe", "")
	do("HEAD", "/hub/events?topic=users.zoe.**", "", "")

	// Output:
	// POST /hub/topics/users.zoe.inbox 201 Created
	// POST /hub/topics/users.max.inbox 403 Forbidden
	// GET /hub/topics?match=users.zoe.* 200 OK
	// GET /hub/topics 403 Forbidden
	// HEAD /hub/events?topic=users.zoe.** 200 OK
	// HEAD /hub/events?topic=users.zoe.**&topic=news 403 Forbidden
	// HEAD /hub/events?topic=users.zoe.** 401 Unauthorized
}
