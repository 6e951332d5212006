package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
)

// firefoxBytes is what Firefox 153 sends for an EventSource, without the field Last-Event-ID.
// Firefox itself is too large to install for a test.
const firefoxBytes = "GET /events?topic=a&from=start HTTP/1.1\r\n" +
	"Host: 127.0.0.1:18622\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0\r\n" +
	"Accept: text/event-stream\r\n" +
	"Accept-Language: en-US,en;q=0.9\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"%s" +
	"Connection: keep-alive\r\n" +
	"Referer: http://127.0.0.1:18622/page\r\n" +
	"Sec-Fetch-Dest: empty\r\n" +
	"Sec-Fetch-Mode: cors\r\n" +
	"Sec-Fetch-Site: same-origin\r\n" +
	"Priority: u=4\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"\r\n"

// firefox sends what Firefox does, and reads the stream.
func firefox(t *testing.T, addr, lastID string) *receiver {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	if lastID != "" {
		lastID = "Last-Event-ID: " + lastID + "\r\n"
	}
	fmt.Fprintf(conn, firefoxBytes, lastID)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Content-Encoding") != "" {
		t.Fatalf("Firefox gets %s %v", res.Status, res.Header)
	}
	return receive(res.Body)
}

// Firefox is told of a hub that stops, and of one that takes no stream, by responses that break
// off, and continues after its last id.
func TestFirefoxBytes(t *testing.T) {
	t.Parallel()
	for _, takeOver := range []bool{true, false} {
		log := keptLog{eventlog.NewMemory(nil)}
		start := func(text string) (*hub.Hub, *backend) {
			h, err := hub.New(t.Context(), log, &hub.Options{TakeOver: takeOver, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { h.Close() })
			if _, err := h.Publish(t.Context(), hub.Message{Topic: "a", Data: text}); err != nil {
				t.Fatal(err)
			}
			s, err := server.New(server.Config{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			return h, serve(t, s.Handler(h))
		}
		h, s := start("one")
		stream := firefox(t, s.addr, "")
		stream.open(t)
		one, _ := stream.next(t)
		h.Drain()
		if end, _ := stream.next(t); one.Data != "one" || end.Type != hub.EndEventType || end.ID != one.ID {
			t.Errorf("after %+v comes %+v", one, end)
		}
		if err := stream.end(t); err != io.ErrUnexpectedEOF {
			t.Errorf("the stream ends with %v, want a break", err)
		}
		away := firefox(t, s.addr, one.ID)
		if ev, _ := away.next(t); ev.Type != hub.UnavailableEventType || ev.ID != one.ID || ev.Data != "{}" {
			t.Errorf("a hub that stops answers %+v", ev)
		}
		if err := away.end(t); err != io.ErrUnexpectedEOF {
			t.Errorf("its answer ends with %v, want a break", err)
		}
		_, s = start("two")
		back := firefox(t, s.addr, one.ID)
		if at := back.open(t); at.String() != one.ID {
			t.Errorf("the stream goes on at %v, want %s", at, one.ID)
		}
		if two, _ := back.next(t); two.Data != "two" {
			t.Errorf("then comes %+v", two)
		}
	}
}
