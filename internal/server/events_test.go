package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/memhttp"
	"example.com/tidings/internal/server"
	"example.com/tidings/sse"
)

func decode(t *testing.T, data string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), to); err != nil {
		t.Fatalf("%.100q: %v", data, err)
	}
}

func textLogger(l *logBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestEvents(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, server.Config{})
			c := client(t, protocol)
			first, second := listen(t, c, s.url), listen(t, c, s.url)
			post(t, c, s.url, "alice", "hello")
			post(t, c, s.url, "bob", "hi there")
			late := listen(t, c, s.url)
			post(t, c, s.url, "alice", "bye")
			if first.begins != 0 || late.begins != 2 {
				t.Errorf("the streams begin after %d and %d, want 0 and 2", first.begins, late.begins)
			}
			bye := first.event(3, "alice", "bye")
			for _, l := range []*listener{first, second} {
				l.want(t, l.event(1, "alice", "hello")+l.event(2, "bob", "hi there")+bye)
			}
			late.want(t, bye)
			for name, want := range map[string]string{
				"Content-Type":                 "text/event-stream",
				"Cache-Control":                "no-cache",
				"X-Accel-Buffering":            "no",
				"X-Content-Type-Options":       "nosniff",
				"Cross-Origin-Resource-Policy": "same-origin",
				"Vary":                         "Origin",
				"Access-Control-Allow-Origin":  "",
				"Content-Length":               "",
			} {
				if got := first.res.Header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestEventsOverHTTP10(t *testing.T) {
	s := start(t, server.Config{})
	conn := dial(t, s.addr)
	io.WriteString(conn, "GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || len(res.TransferEncoding) > 0 || !res.Close {
		t.Errorf("%s, Transfer-Encoding %v, close %t", res.Status, res.TransferEncoding, res.Close)
	}
	l := &listener{res: res, lines: bufio.NewReader(res.Body)}
	l.wantOpen(t)
	post(t, client(t, "HTTP/1.1"), s.url, "alice", "hello")
	l.want(t, l.event(1, "alice", "hello"))
	s.stop()
	l.wantEnd(t, 1)
}

func TestHeadOfEventsHasTheHeadersAndNoStream(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			var logs logBuffer
			s := start(t, server.Config{Logger: textLogger(&logs)})
			r := send(t, client(t, protocol), "HEAD", s.url+"/events", nil)
			if r.status != 200 || r.header.Get("Content-Type") != "text/event-stream" || r.body != "" {
				t.Errorf("got %d, %v, %q", r.status, r.header, r.body)
			}
			for deadline := time.Now().Add(patience); !strings.Contains(logs.String(), "method=HEAD path=/events status=200"); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("HEAD holds a stream open")
				}
			}
		})
	}
}

func TestSilentStreamGetsKeepAlives(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, server.Config{KeepAlive: 10 * time.Millisecond})
			listen(t, client(t, protocol), s.url).want(t, ": keep-alive\n: keep-alive\n")
		})
	}
}

func TestKeepAliveIsDueAfter15SecondsAndCanBeSwitchedOff(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  time.Duration
		want string // after an hour of silence
	}{
		{"by default", 0, strings.Repeat(": keep-alive\n", 240)},
		{"off", -1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := server.Config{DefaultTopic: "messages", KeepAlive: tt.set, Logger: slog.New(slog.DiscardHandler)}
				s, err := server.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				h := newHub(t, cfg, eventlog.NewMemory(nil), hub.Options{})
				defer h.Close()
				mem := memhttp.New(t, s.Handler(h), nil)
				req, err := http.NewRequestWithContext(t.Context(), "GET", mem.URL()+"/events", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = "localhost"
				res, err := mem.Client(t, false).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				l := &listener{res: res, lines: bufio.NewReader(res.Body)}
				l.wantOpen(t)
				go func() {
					time.Sleep(time.Hour + time.Second)
					h.Publish(t.Context(), hub.Message{Topic: "messages", Data: `{"user":"a","text":"b"}`})
				}()
				l.want(t, tt.want+l.event(1, "a", "b"))
			})
		})
	}
}

// http.Server.ReadTimeout bounds requests, and must not end streams.
func TestStreamOutlivesTheReadTimeout(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, server.Config{ReadTimeout: 20 * time.Millisecond, KeepAlive: 20 * time.Millisecond})
			listen(t, client(t, protocol), s.url).want(t, strings.Repeat(": keep-alive\n", 10))
		})
	}
}

// A client with the id of another log gets a gap in the stream, not an error status:
// any status but 200 would end a browser's EventSource for good.
func TestGapIsToldInTheStream(t *testing.T) {
	s := start(t, server.Config{})
	c := client(t, "HTTP/1.1")
	post(t, c, s.url, "alice", "hello")
	const foreign = "0w3k7zq4m8tc-7"
	res := get(t, c, s.url+"/events", "Last-Event-ID", foreign)
	var got []string
	for ev, err := range sse.Decode(res.Body, nil) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ev.Type)
		if ev.Type == sse.GapEventType {
			var gap struct{ Reason, After string }
			if decode(t, ev.Data, &gap); gap.Reason != sse.GapUnknown || gap.After != foreign {
				t.Errorf("the gap is %+v", gap)
			}
		}
		if len(got) == 3 {
			break
		}
	}
	if want := []string{hub.OpenEventType, sse.GapEventType, ""}; !slices.Equal(got, want) {
		t.Errorf("the stream has %q, want %q: the stored messages follow the gap", got, want)
	}
}

// get opens a stream.
func get(t *testing.T, c *http.Client, url string, header ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// A brokenLog cannot be read.
type brokenLog struct{ eventlog.Log }

func (brokenLog) Read(context.Context, eventlog.Query) (eventlog.Batch, error) {
	return eventlog.Batch{}, errors.New("secret")
}

func TestFailingStreamIsBrokenNotEnded(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			// The window has one of two messages. The other one is read from the log.
			s := startOn(t, server.Config{}, brokenLog{eventlog.NewMemory(nil)}, hub.Options{Window: 1})
			c := client(t, protocol)
			post(t, c, s.url, "alice", "hello")
			post(t, c, s.url, "alice", "bye")
			live := listen(t, c, s.url) // after it gets "now", the window has moved on
			post(t, c, s.url, "alice", "now")
			live.want(t, live.event(3, "alice", "now"))
			l := listen(t, c, s.url+"/events?from=start")
			b, err := io.ReadAll(l.lines)
			if len(b) > 0 || err == nil {
				t.Errorf("the stream goes on with %q and ends with %v, want an error", b, err)
			}
		})
	}
}

// A client that reconnects continues after its last event.
func TestLastEventIDIsResumedFrom(t *testing.T) {
	s := start(t, server.Config{})
	c := client(t, "HTTP/1.1")
	for _, text := range []string{"one", "two", "three"} {
		post(t, c, s.url, "alice", text)
	}
	first := listen(t, c, s.url)
	last := eventlog.Position{Epoch: first.epoch, Seq: 1}.String()
	for name, l := range map[string]*listener{
		"header": listen(t, c, s.url, "Last-Event-ID", last),
		"URL":    listen(t, c, s.url+"/events?lastEventId="+last),
	} {
		if l.begins != 1 {
			t.Errorf("by the %s the stream begins after %d, want 1", name, l.begins)
		}
		l.want(t, l.event(2, "alice", "two")+l.event(3, "alice", "three"))
	}
}

func TestSubscriberThatLeavesLeavesNothingBehind(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, server.Config{})
			c := client(t, protocol)
			var all []*listener
			for range 10 {
				all = append(all, listen(t, c, s.url))
			}
			if serving() == "" && protocol != takenOver { // a stream that was taken over has no goroutine
				t.Fatal("no goroutine serves ten open streams: the rest of this test would prove nothing")
			}
			s.wantSubscribers(t, len(all))
			for i, l := range all {
				l.cancel()
				s.wantSubscribers(t, len(all)-i-1)
			}
			for deadline := time.Now().Add(patience); serving() != ""; time.Sleep(5 * time.Millisecond) {
				c.CloseIdleConnections()
				if time.Now().After(deadline) {
					t.Fatalf("all have left, and there is still:\n%s", serving())
				}
			}
		})
	}
}

// serving returns the stacks of the goroutines that serve connections.
func serving() string {
	buf := make([]byte, 1<<20)
	var found []string
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		for _, of := range []string{"net/http.(*conn).", "net/http.(*http2serverConn).", "net/http.(*connReader).", "tidings/sse.", "tidings/hub.(*cursor)"} {
			if strings.Contains(stack, of) {
				found = append(found, stack)
				break
			}
		}
	}
	return strings.Join(found, "\n\n")
}

func TestRequestsAreLoggedAtTheDebugLevelOnly(t *testing.T) {
	var debug, info logBuffer
	for _, tt := range []struct {
		logs *logBuffer
		l    *slog.Logger
	}{
		{&debug, textLogger(&debug)},
		{&info, slog.New(slog.NewTextHandler(&info, nil))},
	} {
		s := start(t, server.Config{Logger: tt.l})
		c := client(t, "HTTP/1.1")
		l := listen(t, c, s.url)
		post(t, c, s.url, "alice", "hello")
		send(t, c, "GET", s.url+"/nothing", nil)
		s.stop()
		l.want(t, l.event(1, "alice", "hello"))
	}
	for _, want := range []string{
		"method=GET path=/events status=200 bytes=",
		"method=POST path=/messages status=200 bytes=6 ",
		"method=GET path=/nothing status=404 ",
	} {
		if !strings.Contains(debug.String(), want) {
			t.Errorf("the debug log lacks %q:\n%s", want, debug.String())
		}
	}
	if strings.Contains(info.String(), "path=") {
		t.Errorf("the info log has requests:\n%s", info.String())
	}
}
