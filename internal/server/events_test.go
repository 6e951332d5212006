package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
			const (
				hello = "data: {\"user\":\"alice\",\"text\":\"hello\"}\n\ndata: {\"user\":\"bob\",\"text\":\"hi there\"}\n\n"
				bye   = "data: {\"user\":\"alice\",\"text\":\"bye\"}\n\n"
			)
			first.want(t, hello+bye)
			second.want(t, hello+bye)
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
	post(t, client(t, "HTTP/1.1"), s.url, "alice", "hello")
	l := &listener{res: res, lines: bufio.NewReader(res.Body)}
	l.want(t, "data: {\"user\":\"alice\",\"text\":\"hello\"}\n\n")
	s.stop()
	l.wantEnd(t)
}

func TestHeadOfEventsHasTheHeadersAndNoStream(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			ranged := make(chan struct{}, 1)
			s := start(t, server.Config{Feed: sequenceFeed{server.NewMemory(1), func(yield func(sse.Event, error) bool) {
				ranged <- struct{}{}
			}}})
			r := send(t, client(t, protocol), "HEAD", s.url+"/events", nil)
			if r.status != 200 || r.header.Get("Content-Type") != "text/event-stream" || r.body != "" {
				t.Errorf("got %d, %v, %q", r.status, r.header, r.body)
			}
			s.stop()
			select {
			case <-ranged:
				t.Error("HEAD ran the stream")
			default:
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
		want string // after an hour of silence and one message
	}{
		{"by default", 0, strings.Repeat(": keep-alive\n", 240) + "data: {}\n\n"},
		{"off", -1, "data: {}\n\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				feed := server.NewMemory(1)
				s, err := server.New(server.Config{Feed: feed, KeepAlive: tt.set, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				mem := memhttp.New(t, s.Handler(), nil)
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
				go func() {
					time.Sleep(time.Hour + time.Second)
					feed.Publish(t.Context(), sse.Event{Data: "{}"})
				}()
				got := make([]byte, len(tt.want))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != tt.want {
					t.Errorf("the stream is %d bytes, ending with %.60q, %v", len(got), got[max(0, len(got)-60):], err)
				}
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

// A sequenceFeed hands out one sequence.
type sequenceFeed struct {
	server.Feed
	events iter.Seq2[sse.Event, error]
}

func (f sequenceFeed) Subscribe(context.Context, string) (iter.Seq2[sse.Event, error], error) {
	return f.events, nil
}

func TestGapIsToldInTheStream(t *testing.T) {
	s := start(t, server.Config{Feed: sequenceFeed{server.NewMemory(1), func(yield func(sse.Event, error) bool) {
		_ = yield(sse.Event{}, &sse.GapError{Reason: "lag", Missed: 39}) && yield(sse.Event{Data: "{}"}, nil)
	}}})
	l := listen(t, client(t, "HTTP/1.1"), s.url)
	l.want(t, "event: tidings.gap\ndata: {\"reason\":\"lag\",\"missed\":39}\n\ndata: {}\n\n")
	l.wantEnd(t)
}

func TestFailingStreamIsBrokenNotEnded(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, server.Config{Feed: sequenceFeed{server.NewMemory(1), func(yield func(sse.Event, error) bool) {
				_ = yield(sse.Event{Data: "{}"}, nil) && yield(sse.Event{}, errors.New("secret"))
			}}})
			l := listen(t, client(t, protocol), s.url)
			b, err := io.ReadAll(l.lines)
			if string(b) != "data: {}\n\n" || err == nil {
				t.Errorf("the stream is %q and ends with %v, want an error", b, err)
			}
		})
	}
}

func TestLastEventIDReachesTheFeed(t *testing.T) {
	feed := &idFeed{Feed: server.NewMemory(1), ids: make(chan string, 1)}
	s := start(t, server.Config{Feed: feed})
	listen(t, client(t, "HTTP/1.1"), s.url, "Last-Event-ID", "e1-42")
	if got := <-feed.ids; got != "e1-42" {
		t.Errorf("the feed was asked for what follows %q", got)
	}
}

type idFeed struct {
	server.Feed
	ids chan string
}

func (f *idFeed) Subscribe(ctx context.Context, id string) (iter.Seq2[sse.Event, error], error) {
	f.ids <- id
	return f.Feed.Subscribe(ctx, id)
}

func TestSubscriberThatLeavesLeavesNothingBehind(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			feed := watch(server.NewMemory(16))
			s := start(t, server.Config{Feed: feed})
			c := client(t, protocol)
			var all []*listener
			for range 10 {
				all = append(all, listen(t, c, s.url))
			}
			if serving() == "" {
				t.Fatal("no goroutine serves ten open streams: what follows would be blind")
			}
			for _, l := range all {
				l.cancel()
				feed.wantEnd(t)
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
		for _, of := range []string{"net/http.(*conn).", "net/http.(*http2serverConn).", "net/http.(*connReader).", "tidings/sse.", "tidings/broadcast."} {
			if strings.Contains(stack, of) {
				found = append(found, stack)
				break
			}
		}
	}
	return strings.Join(found, "\n\n")
}

func TestMemoryFeed(t *testing.T) {
	ev := func(data string) sse.Event { return sse.Event{Data: data} }
	publish := func(t *testing.T, f server.Feed, data ...string) {
		t.Helper()
		for _, d := range data {
			if err := f.Publish(t.Context(), ev(d)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("what is behind by more than the buffer gets a gap", func(t *testing.T) {
		f := server.NewMemory(2)
		events, err := f.Subscribe(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		publish(t, f, "1", "2", "3", "4", "5")
		f.Close()
		var got []string
		for e, err := range events {
			if gap, ok := errors.AsType[*sse.GapError](err); ok {
				if gap.Missed != 3 {
					t.Errorf("missed %d, want 3", gap.Missed)
				}
				got = append(got, "gap")
				continue
			}
			got = append(got, e.Data)
		}
		if strings.Join(got, " ") != "gap 4 5" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("of large events fewer are kept, and the gap counts them all", func(t *testing.T) {
		f := server.NewSmallMemory(4, 10)
		events, err := f.Subscribe(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		publish(t, f, "1", "2", "3", "4", "5", "666666", "7777")
		f.Close()
		var got []string
		for e, err := range events {
			if gap, ok := errors.AsType[*sse.GapError](err); ok {
				got = append(got, fmt.Sprint("gap ", gap.Missed))
				continue
			}
			got = append(got, e.Data)
		}
		if strings.Join(got, ", ") != "gap 5, 666666, 7777" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("one event may be larger than all that is kept", func(t *testing.T) {
		f := server.NewSmallMemory(4, 10)
		events, err := f.Subscribe(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		publish(t, f, "1", "a long event of its own")
		f.Close()
		var got []string
		for e, err := range events {
			got = append(got, fmt.Sprint(e.Data, err))
		}
		if len(got) != 2 || !strings.HasPrefix(got[1], "a long event") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a closed feed takes nothing and ends new sequences", func(t *testing.T) {
		f := server.NewMemory(1)
		f.Close()
		f.Close()
		if err := f.Publish(t.Context(), ev("1")); !errors.Is(err, server.ErrFeedClosed) {
			t.Errorf("Publish: %v", err)
		}
		events, err := f.Subscribe(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range events {
			t.Errorf("got %v, %v", e, err)
		}
	})
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
		l.want(t, "data: {\"user\":\"alice\",\"text\":\"hello\"}\n\n")
	}
	for _, want := range []string{
		`msg="stream opened"`,
		"method=GET path=/events status=200 bytes=39 duration=",
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
