package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/leak"
	"example.com/tidings/internal/server"
	"example.com/tidings/internal/streamtest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is how long a test waits for an event that must happen. It only turns a
// hang into a failure.
const patience = 30 * time.Second

// A running is a server that runs until the test ends or calls stop.
type running struct {
	*server.Server
	hub  *hub.Hub
	url  string
	addr string
	stop func() error // stops the server and returns the error of Run
}

// start runs a server with a hub in memory. It listens on a free port of 127.0.0.1
// unless cfg has an address.
func start(t *testing.T, cfg server.Config) *running {
	t.Helper()
	return startOn(t, cfg, eventlog.NewMemory(nil), hub.Options{})
}

// startOn is start with a hub on this log.
func startOn(t *testing.T, cfg server.Config, messages eventlog.Log, opts hub.Options) *running {
	t.Helper()
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	cfg.DefaultTopic = "messages"
	cfg.H2C = !strings.Contains(t.Name(), "HTTP/1.1")
	if cfg.TLS == nil && strings.Contains(t.Name(), "_over_TLS") {
		cfg.TLS = newPair(t).Pair
	}
	if cfg.AdminAddr == "" {
		cfg.AdminAddr = "127.0.0.1:0"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := newHub(t, cfg, messages, opts)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx, h) }()
	r := &running{Server: s, hub: h, url: s.URL(), addr: s.URL()[strings.LastIndex(s.URL(), "/")+1:]}
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-ran
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return r
}

// newHub opens a hub with the settings that it shares with the server.
func newHub(t *testing.T, cfg server.Config, messages eventlog.Log, opts hub.Options) *hub.Hub {
	t.Helper()
	opts.KeepAlive, opts.WriteTimeout, opts.Logger = cfg.KeepAlive, cfg.WriteTimeout, cfg.Logger
	opts.TakeOver = opts.TakeOver || strings.Contains(t.Name(), strings.ReplaceAll(takenOver, " ", "_"))
	h, err := hub.New(context.Background(), messages, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// wantSubscribers waits until the topic messages has this many streams.
func (r *running) wantSubscribers(t *testing.T, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		_, got, err := r.hub.Topic(t.Context(), "messages")
		if err != nil && !errors.Is(err, eventlog.ErrNotFound) {
			t.Fatal(err)
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d streams are open, want %d", got, want)
		}
	}
}

// protocols are the protocols in which the tests check each promise. In a subtest with
// the name takenOver the hub takes connections over, where it can. In one with a name of HTTP/1.1
// the server does not speak HTTP/2 without TLS.
var protocols = []string{"HTTP/1.1", takenOver, h2c, h1TLS, h2TLS}

const (
	takenOver = "HTTP/1.1 taken over"
	h2c       = "h2c"
	h1TLS     = "HTTP/1.1 over TLS"
	h2TLS     = "h2 over TLS"
)

// client returns a client of one of the protocols.
func client(t *testing.T, protocol string) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	transport.Protocols.SetHTTP1(strings.HasPrefix(protocol, "HTTP/1.1"))
	transport.Protocols.SetUnencryptedHTTP2(protocol == h2c)
	transport.Protocols.SetHTTP2(protocol == h2TLS)
	if strings.HasSuffix(protocol, "over TLS") {
		transport.TLSClientConfig = &tls.Config{RootCAs: authority(t).Pool}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A reply is a response with its whole body.
type reply struct {
	status int
	header http.Header
	body   string
}

// send sends a request and reads the reply. header alternates names and values.
// Host sets the request's host.
func send(t *testing.T, c *http.Client, method, url string, body io.Reader, header ...string) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		} else {
			req.Header.Add(header[i], header[i+1])
		}
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

// A problem is an RFC 9457 object, with the members that Tidings adds.
type problem struct {
	Type, Title, Detail, Field string
	Status, Line, Column       int
}

// problem checks that the reply is one of the given type and returns it.
func (r reply) problem(t *testing.T, status int, name string) problem {
	t.Helper()
	var p problem
	if r.status != status || r.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d with %q, want the problem %d %s; body: %s", r.status, r.header.Get("Content-Type"), status, name, r.body)
	}
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
	if p.Type != "urn:tidings:problem:"+name || p.Status != status {
		t.Errorf("got the problem %s with status %d, want %s with %d", p.Type, p.Status, name, status)
	}
	if p.Title == "" || !strings.HasSuffix(p.Detail, ".") {
		t.Errorf("title %q, detail %q: want a title and a sentence", p.Title, p.Detail)
	}
	return p
}

// A listener is an open stream.
type listener struct {
	res    *http.Response
	lines  *bufio.Reader
	cancel context.CancelFunc // closes the stream
	epoch  string             // of the ids
	begins uint64             // the sequence number after which it begins
}

// listen opens a stream of the topic messages and returns when it has begun.
func listen(t *testing.T, c *http.Client, url string, header ...string) *listener {
	t.Helper()
	// This is longer than patience, so that no test waits for it.
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	if !strings.Contains(url, "/events") {
		url += "/events"
	}
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
	if res.StatusCode != 200 {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("GET /events: %s: %s", res.Status, b)
	}
	l := &listener{res: res, lines: bufio.NewReader(res.Body), cancel: cancel}
	l.wantOpen(t)
	return l
}

// wantOpen reads the first event of the stream.
func (l *listener) wantOpen(t *testing.T) {
	t.Helper()
	var lines []string
	for len(lines) == 0 || lines[len(lines)-1] != "" {
		line, err := l.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream has %q (%v)", lines, err)
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	if len(lines) != 5 || lines[0] != "event: tidings.open" || !strings.HasPrefix(lines[1], "retry: ") {
		t.Fatalf("the stream begins with %q, want tidings.open with retry, data and id", lines)
	}
	var open struct {
		Topics   []string
		Position string
	}
	decode(t, strings.TrimPrefix(lines[2], "data: "), &open)
	at, err := eventlog.ParsePosition(open.Position)
	if err != nil || len(open.Topics) != 1 || open.Topics[0] != "messages" {
		t.Fatalf("the stream begins with %q (%v)", lines, err)
	}
	l.epoch, l.begins = at.Epoch, at.Seq
}

// event returns the bytes on the wire of the message with a sequence number.
func (l *listener) event(seq uint64, user, text string) string {
	data := fmt.Sprintf(`{"user":%q,"text":%q}`, user, text)
	return "data: " + data + "\nid: " + eventlog.Position{Epoch: l.epoch, Seq: seq}.String() + "\n\n"
}

// want reads exactly text from the stream.
func (l *listener) want(t *testing.T, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(l.lines, got); err != nil || string(got) != text {
		t.Fatalf("the stream has %q (%v), want %q", got[:n], err, text)
	}
}

// wantEnd reads the end of the stream of a server that stops. The response breaks off, which
// HTTP/1.0 does not show.
func (l *listener) wantEnd(t *testing.T, seq uint64) {
	t.Helper()
	rest, err := io.ReadAll(l.lines)
	want := "event: tidings.end\nretry: R\ndata: {\"reason\":\"stopping\"}\nid: " + streamtest.Mask(eventlog.Position{Epoch: l.epoch, Seq: seq}.String()) + "\n\n"
	if got := streamtest.Mask(string(rest)); got != want || (err == nil) != (l.res.Proto == "HTTP/1.0") {
		t.Fatalf("the stream ends with %q, %v; want %q", got, err, want)
	}
}

func post(t *testing.T, c *http.Client, url, user, text string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"user": user, "text": text})
	if err != nil {
		t.Fatal(err)
	}
	r := send(t, c, "POST", url+"/messages", bytes.NewReader(body), "Content-Type", "application/json")
	if r.status != 200 || r.body != "queued" {
		t.Fatalf("POST /messages: %d %q", r.status, r.body)
	}
}

func TestStopDeliversWhatWasPostedThenEndsStreams(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, server.Config{})
			c := client(t, protocol)
			l := listen(t, c, s.url)
			post(t, c, s.url, "alice", "last words")
			if err := s.stop(); err != nil {
				t.Errorf("Run returned %v", err)
			}
			l.want(t, l.event(1, "alice", "last words"))
			l.wantEnd(t, 1)
			if conn, err := net.Dial("tcp", s.addr); err == nil {
				conn.Close()
				t.Error("the stopped server still takes connections")
			}
		})
	}
}

// A client that does not read blocks a write of its stream's handler. The write
// timeout alone would end this write long after the shutdown grace.
func TestStopCutsWhatDoesNotEnd(t *testing.T) {
	var logs logBuffer
	s := start(t, server.Config{WriteTimeout: time.Hour, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	conn := dial(t, s.addr)
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	c := client(t, "HTTP/1.1")
	for range 10 { // more than the kernel's buffers take
		post(t, c, s.url, "alice", strings.Repeat("x", 1<<20))
	}
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	select {
	case err := <-stopped:
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(patience):
		t.Fatal("a client that does not read holds up the stop")
	}
	for deadline := time.Now().Add(patience); serving() != ""; time.Sleep(5 * time.Millisecond) {
		c.CloseIdleConnections()
		if time.Now().After(deadline) {
			t.Fatalf("the stop has left behind:\n%s", serving())
		}
	}
	if !strings.Contains(logs.String(), "cutting connections") {
		t.Errorf("the log does not say that connections were cut:\n%s", logs.String())
	}
}

// A lateLog signals its Close, which returns an error.
type lateLog struct {
	eventlog.Log
	closed chan struct{}
}

func (l lateLog) Close() error {
	close(l.closed)
	l.Log.Close()
	return errors.New("not all is on the disk")
}

// Run closes the log after the server has stopped, and returns the error of Close.
func TestStopClosesTheLog(t *testing.T) {
	cfg := server.Config{Addr: "127.0.0.1:0", DefaultTopic: "messages", Logger: slog.New(slog.DiscardHandler)}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	messages := lateLog{eventlog.NewMemory(nil), make(chan struct{})}
	h := newHub(t, cfg, messages, hub.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx, h) }()
	l := listen(t, client(t, "HTTP/1.1"), s.URL())
	select {
	case <-messages.closed:
		t.Fatal("the log is closed while the server runs")
	default:
	}
	cancel()
	l.wantEnd(t, 0)
	if err := <-ran; err == nil || !strings.Contains(err.Error(), "not all is on the disk") {
		t.Errorf("Run returned %v", err)
	}
	<-messages.closed
}

// A server that stops waits for the answers of streams that it cannot take, but no longer than
// for others. Neither they nor their end are errors.
func TestStopWhileStreamsAreTurnedAway(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			var logs logBuffer
			s := startOn(t, server.Config{Logger: textLogger(&logs)}, eventlog.NewMemory(nil), hub.Options{MaxSubscribers: 1})
			listen(t, client(t, protocol), s.url)
			var all []*http.Response
			for range 10 {
				req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/events", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Accept", "text/event-stream")
				res, err := client(t, protocol).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				all = append(all, res)
			}
			if err := s.stop(); err != nil {
				t.Errorf("Run returned %v", err)
			}
			for _, res := range all {
				text, err := io.ReadAll(res.Body)
				if got, want := streamtest.Mask(string(text)), "event: tidings.unavailable\nretry: R\ndata: {}\n\n"; got != want || err == nil {
					t.Errorf("a client that is turned away gets %q, %v", got, err)
				}
			}
			if text := logs.String(); strings.Contains(text, "WARN") || strings.Contains(text, "ERROR") || strings.Contains(text, "panic") {
				t.Errorf("the log has\n%s", text)
			}
		})
	}
}

func TestCloseReleasesAServerThatNeverRan(t *testing.T) {
	s, err := server.New(server.Config{Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimPrefix(s.URL(), "http://")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		ln, err := net.Listen("tcp", addr)
		if err == nil {
			ln.Close()
			return
		}
		if time.Now().After(deadline) { // another connection may use the port for a moment
			t.Fatalf("the address is not free again: %v", err)
		}
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A logBuffer holds log lines. It may be used concurrently.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
