// Package clients measures clients of server-sent events side by side: how many
// events a second they deliver, and what each event allocates.
package clients

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	ld "github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	gosse "github.com/tmaxmax/go-sse"

	"example.com/tidings/eventsource"
)

// A client reads n events of a URL, with data of a size, and returns.
type client func(b *testing.B, c *http.Client, url string, n, size int)

var clients = []struct {
	name string
	run  client
}{
	{"eventsource", runEventsource},
	{"go-sse", runGoSSE},
	{"launchdarkly", runLaunchDarkly},
	{"r3labs", runR3labs},
}

// mostSize is the buffer of clients that need a larger one for large events.
const mostSize = 1 << 20

func check(b *testing.B, got, want int) {
	if got != want {
		b.Fatalf("an event has %d bytes, want %d", got, want)
	}
}

func runEventsource(b *testing.B, c *http.Client, url string, n, size int) {
	got := 0
	for ev, err := range eventsource.New(url, &eventsource.Options{HTTPClient: c}).Events(b.Context()) {
		if err != nil {
			b.Fatal(err)
		}
		check(b, len(ev.Data), size)
		if got++; got == n {
			return
		}
	}
}

func runGoSSE(b *testing.B, c *http.Client, url string, n, size int) {
	ctx, cancel := context.WithCancel(b.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	conn := (&gosse.Client{HTTPClient: c}).NewConnection(req)
	conn.Buffer(nil, mostSize)
	got := 0
	conn.SubscribeToAll(func(ev gosse.Event) {
		check(b, len(ev.Data), size)
		if got++; got == n {
			cancel()
		}
	})
	conn.Connect()
}

func runLaunchDarkly(b *testing.B, c *http.Client, url string, n, size int) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	stream, err := ld.SubscribeWithRequestAndOptions(req, ld.StreamOptionHTTPClient(c))
	if err != nil {
		b.Fatal(err)
	}
	defer stream.Close()
	for range n {
		check(b, len((<-stream.Events).Data()), size)
	}
}

func runR3labs(b *testing.B, c *http.Client, url string, n, size int) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	cl := r3labs.NewClient(url, r3labs.ClientMaxBufferSize(mostSize))
	cl.Connection = c
	got := 0
	cl.SubscribeRawWithContext(ctx, func(ev *r3labs.Event) {
		check(b, len(ev.Data), size)
		if got++; got == n {
			cancel()
		}
	})
}

// BenchmarkClients delivers the events of one stream. memory takes the network out:
// what is left is the client. loopback has a server in the same process.
func BenchmarkClients(b *testing.B) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	for _, size := range []struct {
		name string
		data int
	}{{"short", 30}, {"64kB", 64_000}} {
		for _, way := range []struct {
			name string
			open func(b *testing.B, events io.Reader) (*http.Client, string)
		}{{"memory", inMemory}, {"loopback", onLoopback}} {
			for _, cl := range clients {
				b.Run(fmt.Sprintf("%s/%s/%s", size.name, way.name, cl.name), func(b *testing.B) {
					c, url := way.open(b, &events{left: b.N, data: strings.Repeat("x", size.data)})
					b.ReportAllocs()
					b.ResetTimer()
					cl.run(b, c, url, b.N, size.data)
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
				})
			}
		}
	}
}

// events is a reader of events as the hub sends them, each with an id of its own.
type events struct {
	left int
	data string
	next int
	buf  []byte
	rest []byte
}

func (e *events) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		if e.left == 0 {
			return 0, io.EOF
		}
		e.buf = e.buf[:0]
		for ; e.left > 0 && len(e.buf) < 64<<10; e.left-- {
			e.next++
			e.buf = append(e.buf, "data: "...)
			e.buf = append(e.buf, e.data...)
			e.buf = append(e.buf, "\nid: 0w3k7zq4m8tc-"...)
			e.buf = strconv.AppendInt(e.buf, int64(e.next), 10)
			e.buf = append(e.buf, "\n\n"...)
		}
		e.rest = e.buf
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// untilDone is a body that stays open after its events, until the request ends.
type untilDone struct {
	events io.Reader
	ctx    context.Context
}

func (u *untilDone) Read(p []byte) (int, error) {
	n, err := u.events.Read(p)
	if err == io.EOF {
		<-u.ctx.Done()
		return 0, u.ctx.Err()
	}
	return n, err
}

func (u *untilDone) Close() error { return nil }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func inMemory(_ *testing.B, events io.Reader) (*http.Client, string) {
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: http.StatusOK,
			Header:     http.Header{"Content-Type": {"text/event-stream"}},
			Body:       &untilDone{events, r.Context()},
			Request:    r,
		}, nil
	})}, "http://memory.test"
}

func onLoopback(b *testing.B, events io.Reader) (*http.Client, string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.Copy(w, events)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})}
	go srv.Serve(ln)
	b.Cleanup(func() { srv.Close() })
	return &http.Client{Transport: eventsource.NewTransport()}, "http://" + ln.Addr().String()
}
