package e2e_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A site is the server behind "tidings serve", with its page.
type site struct {
	URL    string
	config server.Config
	hub    *hub.Hub
	stop   func() // stops like SIGTERM; a second call does nothing
}

// startSite starts a server on a free port, with a hub in memory. It stops with the
// test.
func startSite(t *testing.T, config server.Config) *site {
	t.Helper()
	config.Addr = "127.0.0.1:0"
	return startSiteAgain(t, config)
}

// startSiteAgain starts a server on the address of the configuration, with a new, empty
// hub.
func startSiteAgain(t *testing.T, config server.Config) *site {
	t.Helper()
	config.DefaultTopic = "messages"
	s := &site{config: config, hub: newHub(t)}
	srv, err := server.New(s.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := srv.Listen(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	s.URL = srv.URL()
	s.config.Addr = strings.TrimPrefix(s.URL, "http://")
	ran := make(chan error, 1)
	go func() { ran <- srv.Run(ctx, s.hub) }()
	s.stop = sync.OnceFunc(func() {
		stop()
		if err := <-ran; err != nil {
			t.Errorf("the server stops with %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// newHub returns a hub in memory, whose clients reconnect soon.
func newHub(t *testing.T) *hub.Hub {
	t.Helper()
	h, err := hub.New(t.Context(), eventlog.NewMemory(nil), &hub.Options{Retry: soon})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// wantSubscribers waits until the topic messages has this many streams.
func (s *site) wantSubscribers(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, got, err := s.hub.Topic(t.Context(), "messages")
		if err != nil && !errors.Is(err, eventlog.ErrNotFound) {
			t.Fatal(err)
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the topic messages has %d streams, want %d", got, want)
		}
	}
}

// publish posts a message from another user.
func (s *site) publish(t *testing.T, user, text string) {
	t.Helper()
	publish(t, s.URL, user, text)
}

func publish(t *testing.T, url, user, text string) {
	t.Helper()
	resp, err := http.Post(url+"/messages", "application/json", strings.NewReader(js(map[string]string{"user": user, "text": text})))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("POST /messages: %s", resp.Status)
	}
}

// publishTo publishes to any topic.
func publishTo(t *testing.T, url, topic, data string) {
	t.Helper()
	resp, err := http.Post(url+"/topics/"+topic, "text/plain", strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("POST /topics/%s: %s", topic, resp.Status)
	}
}

// A visit is the page of a site in a tab.
type visit struct {
	*tab
	mu       sync.Mutex
	console  []string // console messages and uncaught exceptions
	requests []string // URLs
}

// visitPage opens the page at url in the tab and waits until its stream is open.
func visitPage(t *testing.T, tb *tab, url string) *visit {
	t.Helper()
	return visitPageUntil(t, tb, url, "open")
}

// visitPageUntil opens the page at url in the tab and waits until it shows a state of its
// connection.
func visitPageUntil(t *testing.T, tb *tab, url, state string) *visit {
	t.Helper()
	v := &visit{tab: tb}
	err := chromedp.Listen(tb.ctx, func(ev any) {
		if ev, ok := ev.(*network.EventRequestWillBeSent); ok {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.requests = append(v.requests, ev.Request.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	messages := chromedp.Console(tb.ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			v.mu.Lock()
			v.console = append(v.console, m.String())
			v.mu.Unlock()
		}
	}()
	v.do(t, chromedp.Navigate(url))
	v.untilState(t, state)
	return v
}

// untilState waits until the page shows a state of its connection.
func (v *visit) untilState(t *testing.T, state string) {
	t.Helper()
	v.until(t, `document.querySelector("#status").dataset.state === %s`, js(state))
}

// untilFilter waits until the page has an open stream with a filter.
func (v *visit) untilFilter(t *testing.T, filter string) {
	t.Helper()
	v.until(t, `(s => s.filter === %s && s.state === "open")(document.querySelector("#status").dataset)`, js(filter))
}

// untilShown waits until the feed shows the message.
func (v *visit) untilShown(t *testing.T, user, text string) {
	t.Helper()
	v.until(t, `[...document.querySelectorAll("#messages > li.message")].some(li =>
		li.querySelector(".user")?.textContent === %s && li.querySelector(".text").textContent === %s)`, js(user), js(text))
}

// texts returns the text of each entry of the feed: a message's text, or the words of a
// mark.
func (v *visit) texts(t *testing.T) []string {
	t.Helper()
	return eval[[]string](t, v.tab, `[...document.querySelectorAll("#messages > li")].map(li => (li.querySelector(".text") ?? li).textContent)`)
}

// seen reports whether the first element of a selector is visible: it has a box, and
// nothing hides it.
func (v *visit) seen(t *testing.T, selector string) bool {
	t.Helper()
	return eval[bool](t, v.tab, `document.querySelector(%s).checkVisibility({opacityProperty: true, visibilityProperty: true})`, js(selector))
}

func (v *visit) text(t *testing.T, selector string) string {
	t.Helper()
	return eval[string](t, v.tab, `document.querySelector(%s).innerText`, js(selector))
}
