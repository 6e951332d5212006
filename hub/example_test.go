package hub_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A program opens a hub, publishes, and serves subscribers from its own handler,
// with topics that it chose for them.
func Example() {
	ctx := context.Background()
	h, err := hub.New(ctx, eventlog.NewMemory(nil), nil) // or segmentlog.Open, to survive the process
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /inbox", func(w http.ResponseWriter, r *http.Request) {
		user, _, ok := r.BasicAuth() // who is it? Then this user's topics, and no others
		if !ok {
			http.Error(w, "Who are you?", http.StatusUnauthorized)
			return
		}
		h.ServeEvents(w, r, hub.Subscription{
			Filters: topics.MustFilters("news.**", "users."+topics.Token(user)+".inbox"),
			From:    hub.FromStart(), // and after its Last-Event-ID when it comes back
		})
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	for _, m := range []hub.Message{
		{Topic: "news.today", Data: "rain"},
		{Topic: "users." + topics.Token("zoë") + ".inbox", Type: "mail", Data: "hello, Zoë"},
		{Topic: "users." + topics.Token("max") + ".inbox", Type: "mail", Data: "hello, Max"},
		{Topic: "news.today", Data: "sun", Key: "forecast-2"}, // published once, however often it is sent
	} {
		if _, err := h.Publish(ctx, m); err != nil {
			log.Fatal(err)
		}
	}

	r, err := http.NewRequest("GET", server.URL+"/inbox", nil)
	if err != nil {
		log.Fatal(err)
	}
	r.SetBasicAuth("zoë", "")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	for ev, err := range sse.Decode(res.Body, nil) {
		if err != nil {
			log.Fatal(err)
		}
		if ev.Type != hub.OpenEventType {
			fmt.Println(ev.Data)
		}
		if ev.Data == "sun" {
			break
		}
	}

	// Output:
	// rain
	// hello, Zoë
	// sun
}

// Any string can be part of a topic.
func ExampleToken() {
	fmt.Println("users." + topics.Token("zoë@example.org") + ".inbox")
	// Output: users.zo=C3=AB@example=2Eorg.inbox
}

// A hub hands its messages to the program itself, too.
func ExampleHub_Subscribe() {
	h, err := hub.New(context.Background(), eventlog.NewMemory(nil), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("orders.*")})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := h.Publish(ctx, hub.Message{Topic: "orders.42", Data: "shipped"}); err != nil {
		log.Fatal(err)
	}
	for ev, err := range events {
		if err != nil {
			log.Fatal(err) // a *sse.GapError says what is missing, and is no end
		}
		fmt.Println(ev.Topic, ev.Data)
		break
	}
	// Output: orders.42 shipped
}
