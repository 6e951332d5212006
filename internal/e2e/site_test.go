package e2e_test

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/tidings/internal/server"
	"example.com/tidings/sse"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A site is the server behind "tidings serve", with its page.
type site struct {
	URL    string
	config server.Config
	feed   *feed
	stop   func() // as SIGTERM does; to stop again does nothing
}

// startSite starts a server on a port of its own, which stops with the test.
func startSite(t *testing.T, config server.Config) *site {
	t.Helper()
	config.Addr = "127.0.0.1:0"
	return startSiteAgain(t, config)
}

// startSiteAgain starts a server on the address of the configuration.
func startSiteAgain(t *testing.T, config server.Config) *site {
	t.Helper()
	s := &site{config: config, feed: &feed{Feed: server.NewMemory(server.DefaultBuffer), subscribed: make(chan context.Context, 1000)}}
	s.config.Feed = s.feed
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
	go func() { ran <- srv.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		stop()
		if err := <-ran; err != nil {
			t.Errorf("the server stops with %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// publish posts a message as another user would.
func (s *site) publish(t *testing.T, user, text string) {
	t.Helper()
	resp, err := http.Post(s.URL+"/messages", "application/json", strings.NewReader(js(map[string]string{"user": user, "text": text})))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("POST /messages: %s", resp.Status)
	}
}

// A feed is the one in memory, and tells of its subscriptions.
type feed struct {
	server.Feed
	subscribed chan context.Context
	instead    chan item // when not nil, what subscribers get
}

func (f *feed) Subscribe(ctx context.Context, lastEventID string) (iter.Seq2[sse.Event, error], error) {
	defer func() { f.subscribed <- ctx }()
	if f.instead == nil {
		return f.Feed.Subscribe(ctx, lastEventID)
	}
	return func(yield func(sse.Event, error) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case it := <-f.instead:
				if !yield(it.ev, it.err) {
					return
				}
			}
		}
	}, nil
}

// next waits for the next subscription, and returns its context.
func (f *feed) next(t *testing.T) context.Context {
	t.Helper()
	select {
	case ctx := <-f.subscribed:
		return ctx
	case <-time.After(patience):
		t.Fatal("the page does not subscribe")
		return nil
	}
}

// A visit is the page of a site in a tab.
type visit struct {
	*tab
	mu       sync.Mutex
	console  []string // what was written to the console, and uncaught exceptions
	requests []string // URLs
}

// visitPage opens the page at url in the tab, and waits until it is live.
func visitPage(t *testing.T, tb *tab, url string) *visit {
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
	v.untilState(t, "open")
	return v
}

// untilState waits until the page shows a state of its connection.
func (v *visit) untilState(t *testing.T, state string) {
	t.Helper()
	v.until(t, `document.querySelector("#status").dataset.state === %s`, js(state))
}

// untilShown waits until the feed shows the message.
func (v *visit) untilShown(t *testing.T, user, text string) {
	t.Helper()
	v.until(t, `[...document.querySelectorAll("#messages > li.message")].some(li =>
		li.querySelector(".user").textContent === %s && li.querySelector(".text").textContent === %s)`, js(user), js(text))
}

// seen reports whether the user can see the first element of a selector: it
// takes room, and nothing hides it.
func (v *visit) seen(t *testing.T, selector string) bool {
	t.Helper()
	return eval[bool](t, v.tab, `document.querySelector(%s).checkVisibility({opacityProperty: true, visibilityProperty: true})`, js(selector))
}

func (v *visit) text(t *testing.T, selector string) string {
	t.Helper()
	return eval[string](t, v.tab, `document.querySelector(%s).innerText`, js(selector))
}
