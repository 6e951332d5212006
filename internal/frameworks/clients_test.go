package frameworks

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	launchdarkly "github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	gosse "github.com/tmaxmax/go-sse"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/sse"
)

// goClients read a stream and come back by themselves. They call message with the data of each
// message, and return when they give up.
var goClients = []struct {
	name, rule string
	lastWord   bool // a response that is complete is the last word

	// showsHalves says that the client takes the beginning of an event that was cut off for an
	// event without an id.
	showsHalves bool

	read func(ctx context.Context, url string, message func(string)) error
}{
	{
		name: "r3labs/sse", rule: "returns after a complete response, comes back after a broken one", lastWord: true, showsHalves: true,
		read: func(ctx context.Context, url string, message func(string)) error {
			return r3labs.NewClient(url).SubscribeRawWithContext(ctx, func(ev *r3labs.Event) {
				if len(ev.Event) == 0 {
					message(string(ev.Data))
				}
			})
		},
	},
	{
		name: "go-sse", rule: "subscribers of messages get only events without an event line",
		read: func(ctx context.Context, url string, message func(string)) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			conn := gosse.NewConnection(req)
			conn.SubscribeMessages(func(ev gosse.Event) { message(ev.Data) })
			return conn.Connect()
		},
	},
	{
		name: "launchdarkly", rule: "comes back after every end",
		read: func(ctx context.Context, url string, message func(string)) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			// Stream.Close hangs if an event is on its way.
			onError := func(error) launchdarkly.StreamErrorHandlerResult {
				return launchdarkly.StreamErrorHandlerResult{CloseNow: ctx.Err() != nil}
			}
			stream, err := launchdarkly.SubscribeWithRequestAndOptions(req, launchdarkly.StreamOptionErrorHandler(onError))
			if err != nil {
				return err
			}
			for ev := range stream.Events {
				if ev.Event() == "" {
					message(ev.Data())
				}
			}
			return ctx.Err()
		},
	},
}

// A log that several hubs use, one after the other.
type keptLog struct{ eventlog.Log }

func (keptLog) Close() error { return nil }

// The clients for Go come back to a hub that stops, is away and starts again, and miss nothing.
// An event without data and type reaches them too.
func TestGoClientsReturn(t *testing.T) {
	for _, c := range goClients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			t.Log("the rule: " + c.rule)
			log := keptLog{eventlog.NewMemory(nil)}
			start := func() (*hub.Hub, http.Handler) {
				h, err := hub.New(t.Context(), log, &hub.Options{Retry: 50 * time.Millisecond, TakeOver: true, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { h.Close() })
				return h, httpapi.New(h, nil)
			}
			publish := func(h *hub.Hub, texts ...string) {
				t.Helper()
				for _, text := range texts {
					if _, err := h.Publish(t.Context(), hub.Message{Topic: "a", Data: text}); err != nil {
						t.Fatal(err)
					}
				}
			}
			first, api := start()
			var handler atomic.Pointer[http.Handler]
			handler.Store(&api)
			var asked atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				(*handler.Load()).ServeHTTP(w, r)
			}))
			t.Cleanup(srv.Close)

			var mu sync.Mutex
			var got []string
			ctx, cancel := context.WithCancel(t.Context())
			left := make(chan error, 1)
			go func() {
				left <- c.read(ctx, srv.URL+"/events?topic=a&from=start", func(text string) {
					mu.Lock()
					defer mu.Unlock()
					got = append(got, text)
				})
			}()
			t.Cleanup(func() { cancel(); <-left })
			until := func(want ...string) {
				t.Helper()
				soon(t, func() bool {
					select {
					case err := <-left:
						left <- err
						t.Fatalf("the client gives up: %v", err)
					default:
					}
					mu.Lock()
					defer mu.Unlock()
					return slices.Equal(got, want)
				})
			}
			publish(first, "one")
			until("one")
			first.Drain()
			soon(t, func() bool { return asked.Load() >= 3 }) // it is told that the hub is unavailable
			second, newer := start()
			publish(second, "two", "", "three")
			handler.Store(&newer)
			until("one", "two", "", "three")
		})
	}
}

// Some clients take a response that is complete for the last word. This is why a hub breaks its
// streams off.
func TestACompleteResponseIsTheLastWord(t *testing.T) {
	for _, c := range goClients {
		if !c.lastWord {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sse.Serve(w, r, func(yield func(sse.Event, error) bool) {
					yield(sse.Event{Data: "hello", Retry: 50 * time.Millisecond, ID: "1"}, nil)
				}, nil)
			}))
			t.Cleanup(srv.Close)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := c.read(ctx, srv.URL, func(string) {}); err != nil || ctx.Err() != nil {
				t.Errorf("the client returns %v", errors.Join(err, ctx.Err()))
			}
		})
	}
}

// soon waits until something is so.
func soon(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("timed out")
		}
	}
}
