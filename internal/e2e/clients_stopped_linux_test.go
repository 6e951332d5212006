package e2e_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
)

// A frozen is a client that reads nothing while it is stopped. stop returns a function that has
// it go on.
type frozen struct {
	reader
	stop func(t *testing.T) (goOn func())
}

// frozenProcess runs a client that stop stops with SIGSTOP.
func frozenProcess(run func(t *testing.T, s *switching, query string) reader) func(t *testing.T, s *switching, query string) frozen {
	return func(t *testing.T, s *switching, query string) frozen {
		r := run(t, s, query).(*processReader)
		return frozen{r, func(t *testing.T) func() {
			t.Helper()
			signal := func(sig syscall.Signal) {
				if err := r.process.Signal(sig); err != nil {
					t.Error(err)
				}
			}
			signal(syscall.SIGSTOP)
			return sync.OnceFunc(func() { signal(syscall.SIGCONT) })
		}}
	}
}

// frozenPage runs an EventSource in Chromium. stop has the page wait for a synchronous request,
// which the test answers when the page is to go on.
func frozenPage(t *testing.T, s *switching, query string) frozen {
	answer := make(chan struct{})
	held := make(chan struct{})
	s.mux.HandleFunc("GET /hold", func(http.ResponseWriter, *http.Request) {
		close(held)
		<-answer
	})
	r := runPage(`<script>new EventSource(%q).onmessage = (e) => {
			const li = document.createElement("li");
			li.innerText = e.data.split(" ")[0];
			document.querySelector("#out").append(li);
		};</script>`)(t, s, query).(pageReader)
	return frozen{r, func(t *testing.T) func() {
		t.Helper()
		r.tab.do(t, chromedp.Evaluate[chromedp.Void](`setTimeout(() => {
			const request = new XMLHttpRequest();
			request.open("GET", "/hold", false);
			request.send();
		}); undefined`))
		select {
		case <-held:
		case <-time.After(patience):
			t.Fatal("the page does not ask")
		}
		return sync.OnceFunc(func() { close(answer) })
	}}
}

// A client that is stopped for longer than the write timeout, while messages flow, is cut off. It
// comes back with its id when it goes on, and gets every message once.
func TestStoppedClientsReturn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, s *switching, query string) frozen
		net  bool // through net/http too
	}{
		{"undici", frozenProcess(inNode("undici")), true},
		{"eventsource", frozenProcess(inNode("eventsource")), false},
		{"launchdarkly-eventsource", frozenProcess(inNode("launchdarkly-eventsource")), false},
		{"eventsource-client", frozenProcess(inNode("eventsource-client")), false},
		{"event-source-polyfill", frozenProcess(inNode("event-source-polyfill")), false},
		{"fetch-event-source", frozenProcess(inNode("fetch-event-source")), true},
		{"PHP", frozenProcess(runPHP), false},
		{"Chromium", frozenPage, true},
	} {
		for _, takeOver := range []bool{true, false} {
			if !takeOver && !tt.net {
				continue
			}
			t.Run(fmt.Sprintf("%s, take over %v", tt.name, takeOver), func(t *testing.T) {
				t.Parallel()
				d := newDeadline(t, takeOver)
				var mu sync.Mutex
				var ids []string // of the requests
				events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					mu.Lock()
					ids = append(ids, r.Header.Get("Last-Event-ID")+r.URL.Query().Get("lastEventId"))
					mu.Unlock()
					httpapi.New(d.hub, nil).ServeHTTP(w, r)
				})
				c := tt.run(t, newSwitching(t, events), "topic=a&from=start")
				has := func(n int) bool {
					got, final := c.got(t)
					if final != "" {
						t.Fatalf("after %d messages the client gives up: %s", len(got), final)
					}
					return slices.Equal(labels(got), d.published[:n])
				}
				d.publish(t)
				eventually(t, "the client has the first message", func() bool { return has(1) })
				goOn := c.stop(t)
				defer goOn()
				d.flow(t)
				goOn()
				d.publish(t)
				eventually(t, fmt.Sprintf("the client has all %d messages", len(d.published)), func() bool { return has(len(d.published)) })
				mu.Lock()
				defer mu.Unlock()
				if !slices.ContainsFunc(ids, func(id string) bool { // on a slow machine, others may follow
					at, err := eventlog.ParsePosition(id)
					return err == nil && at.Seq >= 1 && at.Seq < uint64(len(d.published))
				}) {
					t.Errorf("of %d messages, the requests ask for those after %q", len(d.published), ids)
				}
			})
		}
	}
}

// A curl that is stopped for longer than the write timeout fails when it goes on. One with the
// last id that it has printed gets the rest.
func TestStoppedCurl(t *testing.T) {
	t.Parallel()
	for _, version := range curlVersions {
		t.Run(version.name, func(t *testing.T) {
			t.Parallel()
			d := newDeadline(t, true)
			s := serve(t, httpapi.New(d.hub, nil))
			var got []string
			id := ""
			read := func(c *curling) (ok bool) {
				ev, ok := c.next(t)
				if ok {
					id = ev.ID
				}
				if ok && ev.Type == "" {
					got = append(got, labels([]string{ev.Data})...)
				}
				return ok
			}
			url := s.URL + "/events?topic=a&from=start"
			first := curl(t, version.flag, "-N", url)
			first.open(t)
			signal := first.cmd.Process.Signal
			if err := signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			d.flow(t)
			if err := signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			for read(first) {
			}
			if status := first.exit(t); status == 0 && version.broken != 0 || len(got) == len(d.published) {
				t.Errorf("curl exits with %d after %d of %d messages", status, len(got), len(d.published))
			}
			for tries := 0; tries < 10 && len(got) < len(d.published); tries++ { // a slow machine may cut it again
				next := curl(t, version.flag, "-N", url, "-H", "Last-Event-ID: "+id)
				for len(got) < len(d.published) && read(next) {
				}
				next.cmd.Process.Kill()
				next.cmd.Wait()
			}
			if !slices.Equal(got, d.published) {
				t.Errorf("of %d messages curl prints %q", len(d.published), got)
			}
		})
	}
}

// labels returns what messages of a deadline begin with.
func labels(messages []string) []string {
	all := make([]string, len(messages))
	for i, m := range messages {
		all[i], _, _ = strings.Cut(m, " ")
	}
	return all
}

// A deadline is a hub with a short write timeout.
type deadline struct {
	hub       *hub.Hub
	published []string // the labels of the messages
}

func newDeadline(t *testing.T, takeOver bool) *deadline {
	t.Helper()
	h, err := hub.New(t.Context(), eventlog.NewMemory(nil), &hub.Options{
		WriteTimeout: 300 * time.Millisecond, Retry: 50 * time.Millisecond, TakeOver: takeOver, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return &deadline{hub: h}
}

// publish publishes a message of 32 KiB on a.
func (d *deadline) publish(t *testing.T) {
	t.Helper()
	label := fmt.Sprint(len(d.published) + 1)
	if _, err := d.hub.Publish(t.Context(), hub.Message{Topic: "a", Data: label + " " + strings.Repeat("x", 32<<10)}); err != nil {
		t.Fatal(err)
	}
	d.published = append(d.published, label)
}

// flow publishes messages until a stream has reached the write timeout.
func (d *deadline) flow(t *testing.T) {
	t.Helper()
	eventually(t, "a stream reaches the write timeout", func() bool {
		if len(d.published) < 600 { // more than all buffers hold
			for range 10 {
				d.publish(t)
			}
		}
		for _, shard := range d.hub.Stats().Shards {
			if shard.Ends["write timeout"] > 0 {
				return true
			}
		}
		return false
	})
}
