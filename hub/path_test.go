package hub_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// The tests in the files path*_test.go say what a stream of ServeEvents promises over
// real connections, whichever way it takes.

// patience catches hangs.
const patience = 20 * time.Second

// A path is a way that a stream may take.
type path string

// onBothPaths runs a test for each way.
func onBothPaths(t *testing.T, f func(*testing.T, path)) {
	for _, p := range []path{hub.PathNetHTTP, hub.PathTakenOver} {
		t.Run(strings.ReplaceAll(string(p), "/", " "), func(t *testing.T) {
			p.skip(t)
			f(t, p)
		})
	}
}

func (p path) skip(t *testing.T) {
	t.Helper()
	if p == hub.PathTakenOver && runtime.GOOS != "linux" {
		t.Skip("connections are taken over on Linux only")
	}
}

// begun returns how many streams have taken the path.
func (p path) begun(h *hub.Hub) int {
	s := h.Stats()
	return int(map[path]uint64{hub.PathNetHTTP: s.NetHTTPBegun, hub.PathTakenOver: s.TakenOverBegun}[p])
}

// open returns how many streams of the path are open.
func (p path) open(h *hub.Hub) int {
	s := h.Stats()
	return map[path]int{hub.PathNetHTTP: s.NetHTTP, hub.PathTakenOver: s.TakenOver}[p]
}

// A station serves a hub over TCP. Requests say what they want as a query: topic, from,
// lag and format.
type station struct {
	*hub.Hub
	path path
	addr string
	http *http.Server
}

// station returns one on a log; nil is one in memory. configure, which may be nil,
// changes the server before it starts. The path's own is not needed in opts.
func (p path) station(t *testing.T, log hub.Log, opts *hub.Options, configure func(*http.Server)) *station {
	t.Helper()
	o := hub.Options{}
	if opts != nil {
		o = *opts
	}
	o.TakeOver = p == hub.PathTakenOver
	s := &station{Hub: newHub(t, log, &o), path: p}
	s.http = &http.Server{
		Handler:     http.HandlerFunc(s.serve),
		ErrorLog:    slog.NewLogLogger(slog.DiscardHandler, 0),
		ConnContext: holdsLittle,
	}
	if configure != nil {
		configure(s.http)
	}
	s.addr = s.listen(t, func(l net.Listener) error { return s.http.Serve(l) })
	return s
}

// listen has serve serve a port of its own.
func (s *station) listen(t *testing.T, serve func(net.Listener) error) (addr string) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(l)
	}()
	t.Cleanup(func() {
		s.http.Close()
		l.Close()
		<-served
	})
	return l.Addr().String()
}

// small is how much a socket is asked to hold: two packets of the loopback's, since
// with less each byte waits for a timer of TCP's.
const small = 128 << 10

// holdsLittle has the socket of a new connection hold little.
func holdsLittle(ctx context.Context, conn net.Conn) context.Context {
	if conn, ok := conn.(*net.TCPConn); ok {
		conn.SetWriteBuffer(small)
	}
	return ctx
}

// serve is the handler.
func (s *station) serve(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	sub := hub.Subscription{Topics: q["topic"]}
	var errs [3]error
	sub.From, errs[0] = hub.ParseFrom(q.Get("from"))
	sub.Lag, errs[1] = hub.ParseLag(q.Get("lag"))
	sub.Format, errs[2] = hub.ParseFormat(q.Get("format"))
	for _, err := range errs {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	s.ServeEvents(w, r, sub)
}

// A client has a stream.
type client struct {
	wire
	conn net.Conn
	res  *http.Response
	id   string // of the last event that event has read
}

// dial opens a connection, whose socket holds little of what was not read.
func (s *station) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	tcp := conn.(*net.TCPConn)
	tcp.SetReadBuffer(small)
	return tcp
}

// request writes a request. The query is as "topic=a&from=start".
func (s *station) request(t *testing.T, conn net.Conn, query string, header ...string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "GET /?%s HTTP/1.1\r\nHost: hub.test\r\n", query)
	for i := 0; i < len(header); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
	}
	if _, err := conn.Write([]byte(b.String() + "\r\n")); err != nil {
		t.Fatal(err)
	}
}

// stream opens a stream, and asserts that it is one.
func (s *station) stream(t *testing.T, query string, header ...string) *client {
	t.Helper()
	begun := s.path.begun(s.Hub)
	conn := s.dial(t)
	s.request(t, conn, query, header...)
	c := s.response(t, conn)
	if c.res.StatusCode != 200 || c.res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %s", c.res.Status, c.res.Header.Get("Content-Type"))
	}
	// The hub counts a moment after the client has the header.
	eventually(t, "the stream takes the path", func() bool { return s.path.begun(s.Hub) > begun })
	return c
}

// response reads the header of a response.
func (s *station) response(t *testing.T, conn net.Conn) *client {
	t.Helper()
	c, err := newClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newClient(conn net.Conn) (*client, error) {
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	return &client{wire: wire{res.Body, bufio.NewReader(res.Body)}, conn: conn, res: res}, nil
}

// opened reads tidings.open, of which the stream has a position.
func (c *client) opened(t *testing.T) *client {
	t.Helper()
	if ev := c.event(t); ev.Type != hub.OpenEventType {
		t.Fatalf("the first event is %+v", ev)
	}
	return c
}

// A seen is an event as it was read, with the comments before it.
type seen struct {
	Type, Data, ID string
	comments       int
}

// event reads an event.
func (c *client) event(t *testing.T) seen {
	t.Helper()
	ev, err := c.next()
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func (c *client) next() (ev seen, err error) {
	for {
		line, err := c.lines.ReadString('\n')
		if err != nil {
			return ev, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "\n":
			c.id = ev.ID
			return ev, nil
		case field == "":
			ev.comments++
		case field == "event":
			ev.Type = value
		case field == "id":
			ev.ID = value
		case field == "data" && ev.Data != "":
			ev.Data += "\n" + value
		case field == "data":
			ev.Data = value
		}
	}
}

// gap returns the gap that an event tells of.
func (ev seen) gap() (gap sse.GapError, ok bool) {
	if ev.Type != sse.GapEventType {
		return gap, false
	}
	err := json.Unmarshal([]byte(ev.Data), &gap) // whose names differ in case only
	return gap, err == nil
}

// String returns the event as "data", or as "gap reason missed".
func (ev seen) String() string {
	if gap, ok := ev.gap(); ok {
		return fmt.Sprintf("gap %s %d", gap.Reason, gap.Missed)
	}
	return ev.Data
}

// expect compares the events that come next, passing over keep-alives.
func (c *client) expect(t *testing.T, want ...string) {
	t.Helper()
	for i, w := range want {
		ev := c.event(t)
		for ev.Type == hub.PositionEventType {
			ev = c.event(t)
		}
		if ev.String() != w {
			t.Fatalf("event %d is %.100q, want %.100q", i, ev, w)
		}
	}
}

// stall has a client stop reading in the middle of a message on a topic. What it returns
// reads the rest of that.
func (s *station) stall(t *testing.T, c *client, topic string) (readOn func()) {
	t.Helper()
	message := strings.Repeat("0123456789abcdef", 64<<10) // more than the sockets hold
	publish(t, s.Hub, topic+":"+message)
	for next, _ := c.lines.Peek(1); string(next) == ":"; next, _ = c.lines.Peek(1) {
		c.lines.ReadString('\n') // a keep-alive
	}
	begin := make([]byte, len("data: ")+16)
	if _, err := io.ReadFull(c.lines, begin); err != nil || string(begin) != "data: "+message[:16] {
		t.Fatalf("then comes %q, %v", begin, err)
	}
	return func() {
		t.Helper()
		line, err := c.lines.ReadString('\n')
		if err != nil || line != message[16:]+"\n" {
			t.Fatalf("the rest of it is %.20q…, %v", line, err)
		}
		if ev := c.event(t); ev.Data != "" || ev.Type != "" || ev.ID == "" {
			t.Fatalf("it ends with %+v", ev)
		}
	}
}

// data returns the data of "topic:data" messages.
func data(messages []string) []string {
	all := make([]string, len(messages))
	for i, m := range messages {
		_, all[i], _ = strings.Cut(m, ":")
	}
	return all
}

// publishSeen publishes messages, and waits until the hub has seen each: retention may
// be too short for a hub that lags, too.
func (s *station) publishSeen(t *testing.T, messages ...string) {
	t.Helper()
	for _, m := range messages {
		p, err := hub.ParsePosition(publish(t, s.Hub, m)[0])
		if err != nil {
			t.Fatal(err)
		}
		untilHead(s.Hub, p.Seq)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !is() {
		if ctx.Err() != nil {
			t.Fatalf("it does not come to be that %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// vacated waits until all places are given back.
func (s *station) vacated(t *testing.T) {
	t.Helper()
	eventually(t, "no place is taken", func() bool {
		running, places := s.Cursors()
		return running == 0 && places == 0 && s.path.open(s.Hub) == 0
	})
}

// query returns a query for topics, with pairs of other parameters.
func query(topics string, more ...string) string {
	q := url.Values{"topic": strings.Fields(topics)}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return q.Encode()
}
