//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// A securedResult is what secured has measured.
type securedResult struct {
	Protocol    string  `json:"protocol"`
	Streams     int     `json:"streams"`
	Connections int     `json:"connections"`
	Messages    int     `json:"messages"`
	CPU         float64 `json:"srv_us_per_deliv"` // the server's, user and system, in microseconds
	Memory      float64 `json:"kb_per_stream"`    // that the server's anonymous memory has grown by, after the pause, in kB of 1,000 bytes
	PerSecond   float64 `json:"deliv_per_s"`
	Took        float64 `json:"wall_s"`
	Missing     int     `json:"missing"`   // messages, over all streams
	Disorder    int     `json:"bad_order"` // messages that arrived twice or late
	Closed      int     `json:"closed"`    // streams that the server has closed
}

// secured opens streams over TLS and publishes messages to their topic, without TLS
// unless -addr and -tls are the same address. It publishes the next message when fewer
// than -flight are in flight. It reports what a delivery costs the server, and what a
// stream at rest does.
//
// Each stream has a goroutine, because net/http handles HTTP/2. The goroutine only
// looks at each message's number.
func secured(args []string) (any, error) {
	var t target
	flags := flag.NewFlagSet("load tls", flag.ExitOnError)
	t.register(flags)
	tlsAddr := flags.String("tls", "127.0.0.1:8443", "the server for TLS, on a loopback address")
	var pids processes
	flags.Var(&pids, "pid", "the server's process; repeat the flag for a proxy's")
	protocol := flags.String("protocol", "h2", "h2 for HTTP/2, h1 for HTTP/1.1, where each stream has a connection of its own")
	count := flags.Int("streams", 500, "streams, all on one topic")
	conns := flags.Int("connections", 10, "connections that the streams of HTTP/2 share")
	messages := flags.Int("messages", 1000, "messages")
	flight := flags.Int("flight", 1, "messages in flight")
	idle := flags.Duration("idle", 2*time.Second, "the pause before the first message")
	stall := flags.Duration("stall", 8*time.Second, "stop waiting for messages when none has arrived for this long")
	bound := flags.Duration("bound", 2*time.Minute, "stop waiting for messages after this long in all")
	if err := t.parse(flags, args); err != nil {
		return nil, err
	}
	secure := target{addr: *tlsAddr}
	if err := secure.resolve(); err != nil {
		return nil, err
	}
	if len(pids) == 0 || *count < 1 || *conns < 1 || *messages < 1 || *flight < 1 {
		return nil, errors.New("-pid is missing, or a count is less than 1")
	}

	a := &audience{streams: make([]listener, *count), progress: make(chan struct{}, 1)}
	defer a.leave()
	const topic = "bench.tls"
	_, empty, err := pids.used()
	if err != nil {
		return nil, err
	}
	switch *protocol {
	case "h1":
		err = a.openHTTP1(secure.addr, topic)
	case "h2":
		err = a.openHTTP2(secure.addr, topic, min(*conns, *count))
	default:
		err = fmt.Errorf("-protocol is h1 or h2, not %q", *protocol)
	}
	if err != nil {
		return nil, err
	}
	if t.addr == secure.addr {
		if t, err = relay(t); err != nil {
			return nil, err
		}
	}
	p, err := newPublisher(t, topic)
	if err != nil {
		return nil, err
	}
	time.Sleep(*idle)

	cpu, full, err := pids.used()
	if err != nil {
		return nil, err
	}
	begin := now()
	last, passed := begin, int64(0) // when messages last arrived, and how many so far
	due := int64(*count) * int64(*messages)
	for passed < due || p.outstanding() > 0 {
		done := int(passed / int64(*count)) // messages per stream, on average
		if int(p.posted) < min(*messages, done+*flight) {
			if err := p.post(); err != nil {
				return nil, err
			}
		} else {
			select {
			case <-a.progress:
			case <-time.After(time.Millisecond):
			}
		}
		if p.outstanding() > 0 {
			if err := p.read(); err != nil {
				return nil, err
			}
		}
		if n := a.passed.Load(); n > passed {
			last, passed = now(), n
		}
		if t := now(); t > last+int64(*stall) || t > begin+int64(*bound) {
			break
		}
	}
	used, _, err := pids.used()
	if err != nil {
		return nil, err
	}

	a.leave()
	result := securedResult{
		Protocol: *protocol, Streams: *count, Connections: int(a.connections.Load()), Messages: int(p.posted),
		Memory: math.Round(float64(full-empty)/float64(*count)/100) / 10,
	}
	for i := range a.streams {
		l := &a.streams[i]
		if l.err != nil {
			return nil, l.err
		}
		result.Missing += l.missing + int(p.posted-l.next)
		result.Disorder += l.disorder
		if l.closed {
			result.Closed++
		}
	}
	if delivered := *count*int(p.posted) - result.Missing; delivered > 0 {
		seconds := float64(last-begin) / 1e9
		result.CPU = math.Round(float64((used-cpu).Nanoseconds())/float64(delivered)) / 1e3
		result.PerSecond = math.Round(float64(delivered) / seconds)
		result.Took = math.Round(seconds*1e3) / 1e3
	}
	return result, nil
}

// processes are those of a server. They are a flag.Value.
type processes []int

func (ps *processes) String() string { return fmt.Sprint(*ps) }

// Set adds a process.
func (ps *processes) Set(s string) error {
	pid, err := strconv.Atoi(s)
	*ps = append(*ps, pid)
	return err
}

// used returns the time and the anonymous memory that the processes have used together.
func (ps processes) used() (cpu time.Duration, memory int64, err error) {
	for _, pid := range ps {
		t, err := measure.ProcessTime(pid)
		if err != nil {
			return 0, 0, err
		}
		m, err := measure.ProcessMemory(pid)
		if err != nil {
			return 0, 0, err
		}
		cpu += t
		memory += m.Anon
	}
	return cpu, memory, nil
}

// relay returns an address without TLS, of this process, that leads one connection to a server
// over TLS.
func relay(to target) (target, error) {
	config := tlsConfig()
	config.NextProtos = []string{"http/1.1"}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return to, err
	}
	server := to.addr
	go func() {
		defer listener.Close()
		plain, err := listener.Accept()
		if err != nil {
			return
		}
		defer plain.Close()
		secure, err := tls.Dial("tcp", server, config)
		if err != nil {
			return
		}
		defer secure.Close()
		go io.Copy(secure, plain)
		io.Copy(plain, secure)
	}()
	to.addr = listener.Addr().String()
	return to, to.resolve()
}

// An audience is a set of streams on one topic, each read by its own goroutine.
// Only one other goroutine may call its methods.
type audience struct {
	streams  []listener
	passed   atomic.Int64  // messages that have arrived or were skipped, over all streams
	progress chan struct{} // gets a value when the average per stream grows by one message

	connections atomic.Int32 // opened in total
	over        atomic.Bool  // leave has been called: a stream that ends now was not closed by the server
	closers     []func()
	reading     sync.WaitGroup
}

// A listener is one stream. It expects consecutive message numbers. The goroutine
// that reads it owns it until that goroutine ends.
type listener struct {
	stream
	next     uint32
	missing  int
	disorder int
	closed   bool  // by the server
	err      error // the answer was no stream
}

// openHTTP1 opens each stream on its own connection. It uses the parser of the
// streams without TLS, which costs less than net/http's client.
func (a *audience) openHTTP1(addr, topic string) error {
	config := tlsConfig()
	config.NextProtos = []string{"http/1.1"}
	request := subscription(addr, topic, "")
	buf := make([]byte, 32<<10)
	for i := range a.streams {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Duration(patience)}, "tcp", addr, config)
		if err != nil {
			return err
		}
		a.connections.Add(1)
		a.closers = append(a.closers, func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(time.Duration(patience)))
		if _, err := conn.Write(request); err != nil {
			return err
		}
		l := &a.streams[i]
		for !l.open() {
			n, err := conn.Read(buf)
			if err == nil {
				err = l.feed(buf[:n], func(int64, uint32) {})
			}
			if err != nil {
				return fmt.Errorf("stream %d does not open: %w", i, err)
			}
		}
		conn.SetDeadline(time.Time{})
		a.reading.Go(func() { a.listen(l, conn) })
	}
	return nil
}

// openHTTP2 spreads the streams over conns connections.
func (a *audience) openHTTP2(addr, topic string, conns int) error {
	ctx, cancel := context.WithCancel(context.Background())
	a.closers = append(a.closers, cancel)
	clients := make([]*http.Transport, conns)
	for i := range clients {
		var dialer net.Dialer
		clients[i] = &http.Transport{
			TLSClientConfig: tlsConfig(),
			Protocols:       new(http.Protocols),
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				a.connections.Add(1)
				return dialer.DialContext(ctx, network, addr)
			},
			TLSHandshakeTimeout:   time.Duration(patience),
			ResponseHeaderTimeout: time.Duration(patience),
		}
		clients[i].Protocols.SetHTTP2(true)
		a.closers = append(a.closers, clients[i].CloseIdleConnections)
	}
	for i := range a.streams {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/events?topic="+topic, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Accept", "text/event-stream")
		res, err := clients[i%conns].RoundTrip(req)
		if err != nil {
			return fmt.Errorf("stream %d does not open: %w", i, err)
		}
		a.closers = append(a.closers, func() { res.Body.Close() })
		if res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
			return fmt.Errorf("stream %d was answered with %s %s", i, res.Proto, res.Status)
		}
		l := &a.streams[i]
		l.part = notChunked
		a.reading.Go(func() { a.listen(l, res.Body) })
	}
	if n := int(a.connections.Load()); n != conns {
		return fmt.Errorf("the streams have %d connections, not %d", n, conns)
	}
	return nil
}

// tlsConfig trusts any certificate: on loopback a certificate proves nothing.
func tlsConfig() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// listen reads a stream until it ends.
func (a *audience) listen(l *listener, r io.Reader) {
	buf := make([]byte, 32<<10)
	found := func(_ int64, number uint32) {
		if number < l.next {
			l.disorder++
			return
		}
		l.missing += int(number - l.next)
		l.next = number + 1
	}
	count := int64(len(a.streams))
	for {
		n, err := r.Read(buf)
		was := l.next
		if l.err = l.feed(buf[:n], found); l.err != nil {
			return
		}
		if came := int64(l.next - was); came > 0 {
			if passed := a.passed.Add(came); passed/count > (passed-came)/count {
				select {
				case a.progress <- struct{}{}:
				default: // a value is waiting already
				}
			}
		}
		if err != nil || l.part == atEnd {
			l.closed = !a.over.Load()
			return
		}
	}
}

// leave closes all streams and waits for their goroutines.
func (a *audience) leave() {
	a.over.Store(true)
	for _, leave := range a.closers {
		leave()
	}
	a.closers = nil
	a.reading.Wait()
}
