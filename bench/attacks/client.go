//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// dialTo connects. receiveBuffer is the size of the socket's receive buffer, 0 for the
// system's.
func dialTo(addr string, receiveBuffer int, timeout time.Duration) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: timeout}
	if receiveBuffer > 0 {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) {
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
			})
		}
	}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// request returns the text of a request without a body. Each header is a line without its end.
func request(method, path, protocol string, headers ...string) string {
	return method + " " + path + " " + protocol + "\r\nHost: localhost\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// get returns the text of a GET request.
func get(path string, headers ...string) string { return request("GET", path, "HTTP/1.1", headers...) }

// An answer is the beginning of a response.
type answer struct {
	status int
	header http.Header
	text   []byte // of a stream, up to its first event's type
}

// openOnce asks for a stream, reads its first event's type or the refusal, and leaves.
func openOnce(addr, path string, timeout time.Duration, headers ...string) (answer, error) {
	conn, err := dialClient(addr, timeout)
	if err != nil {
		return answer{}, err
	}
	defer reset(conn)
	return askStream(conn, path, timeout, headers...)
}

// askStream asks for a stream on a connection, and reads its first event's type or the refusal.
func askStream(conn net.Conn, path string, timeout time.Duration, headers ...string) (a answer, err error) {
	conn.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(conn, get(path, headers...)); err != nil {
		return a, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return a, err
	}
	a.status, a.header = res.StatusCode, res.Header
	body := bufio.NewReader(res.Body)
	for {
		line, err := body.ReadBytes('\n')
		a.text = append(a.text, line...)
		if bytes.HasPrefix(line, []byte("event: ")) || err != nil || len(a.text) > 64<<10 {
			conn.SetDeadline(time.Time{})
			return a, nil
		}
	}
}

// publishOnce publishes on a connection of its own.
func publishOnce(addr, topic, body string, timeout time.Duration) (a answer, err error) {
	conn, err := dialClient(addr, timeout)
	if err != nil {
		return a, err
	}
	defer reset(conn)
	conn.SetDeadline(time.Now().Add(timeout))
	head := fmt.Sprintf("POST /topics/%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", topic, len(body))
	if _, err := io.WriteString(conn, head+body); err != nil {
		return a, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return a, err
	}
	a.status, a.header = res.StatusCode, res.Header
	a.text, err = io.ReadAll(res.Body)
	return a, err
}

// reset closes a connection with a RST, so that this machine does not remember its port.
func reset(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	if c, ok := conn.(*net.TCPConn); ok {
		c.SetLinger(0)
	}
	conn.Close()
}

// stream opens a stream and returns its connection if it has begun. The error names the
// refusal.
func (t *target) stream(path string, headers ...string) (*net.TCPConn, error) {
	conn, err := dialTo(t.addr, 0, t.left())
	if err != nil {
		return nil, err
	}
	a, err := askStream(conn, path, t.left(), headers...)
	if err == nil && !a.good() {
		err = fmt.Errorf("status %d", a.status)
	}
	if err != nil {
		reset(conn)
		return nil, err
	}
	return conn, nil
}

// send connects, sends text, and reads nothing.
func (t *target) send(receiveBuffer int, text string) (*net.TCPConn, error) {
	conn, err := dialTo(t.addr, receiveBuffer, t.left())
	if err != nil {
		return nil, err
	}
	conn.SetWriteDeadline(time.Now().Add(t.left()))
	if _, err := io.WriteString(conn, text); err != nil {
		reset(conn)
		return nil, err
	}
	conn.SetWriteDeadline(time.Time{})
	return conn, nil
}

// A crowd is the connections of an attack.
type crowd struct {
	mu      sync.Mutex
	conns   []*net.TCPConn
	refused int
	why     error // the last refusal
	reading sync.WaitGroup
}

// add adds a connection, or counts a refusal.
func (c *crowd) add(conn *net.TCPConn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.refused++
		c.why = err
		return
	}
	c.conns = append(c.conns, conn)
}

// drain has everything read that comes on the connections.
func (c *crowd) drain() {
	for _, conn := range c.conns {
		c.reading.Go(func() { io.Copy(io.Discard, conn) })
	}
}

// leave closes the connections.
func (c *crowd) leave() {
	for _, conn := range c.conns {
		reset(conn)
	}
	c.reading.Wait()
}

func (c *crowd) String() string {
	if c.refused == 0 {
		return fmt.Sprintf("%d connections", len(c.conns))
	}
	return fmt.Sprintf("%d connections, %d refused (%v)", len(c.conns), c.refused, c.why)
}

// publish publishes a message, and reports whether it is stored.
func (t *target) publish(topic, body string) bool {
	return t.post("/topics/"+topic, "text/plain", body) == http.StatusCreated
}

// publishEvery publishes messages of the topics that next returns until ctx is done, and
// returns how many were stored.
func (t *target) publishEvery(ctx context.Context, every time.Duration, next func(i int) string, body string) (stored int) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return stored
		case <-tick.C:
		}
		if t.publish(next(i), body) {
			stored++
		}
	}
}

// post posts a body and returns the status of the answer, 0 for none.
func (t *target) post(path, contentType, body string) int {
	req, err := http.NewRequestWithContext(t.ctx, "POST", t.url(path), strings.NewReader(body))
	if err != nil {
		panic(err) // the attack is wrong
	}
	req.Header.Set("Content-Type", contentType)
	res, err := attackersClient.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// attackersClient is for attackers that ask as others do.
var attackersClient = &http.Client{
	Timeout:   20 * time.Second,
	Transport: &http.Transport{MaxIdleConnsPerHost: 100, TLSClientConfig: anyCertificate},
}

// hammer asks for a path of the server, or for a URL, as fast as the answers come.
func (t *target) hammer(ctx context.Context, workers int, method, path string) string {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	defer client.CloseIdleConnections()
	url := path
	if strings.HasPrefix(path, "/") {
		url = t.url(path)
	}
	statuses := newTally()
	n := repeat(ctx, workers, func(_, _ int) {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err != nil {
			panic(err) // the attack is wrong
		}
		res, err := client.Do(req)
		if err != nil {
			return
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		statuses.count(res.StatusCode)
	})
	return fmt.Sprintf("%d requests, answers %v", n, statuses)
}

// batch publishes lines of POST /batch, and returns the ids.
func (s *server) batch(lines []string) (ids []string, err error) {
	res, err := attackersClient.Post(s.url("/batch"), "application/x-ndjson", strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("POST /batch: %s: %.200s", res.Status, b)
	}
	for line := range bytes.Lines(b) {
		var published struct{ ID string }
		if json.Unmarshal(line, &published) == nil && published.ID != "" {
			ids = append(ids, published.ID)
		}
	}
	return ids, nil
}

// publishAll publishes n messages in batches, and returns the ids. line returns the line of
// POST /batch for a message.
func (s *server) publishAll(n int, line func(i int) string) (ids []string, err error) {
	var lines []string
	size := 0
	for i := range n {
		lines = append(lines, line(i))
		size += len(lines[len(lines)-1])
		if len(lines) == 10_000 || size > 12<<20 || i == n-1 {
			some, err := s.batch(lines)
			if err != nil {
				return nil, err
			}
			ids, lines, size = append(ids, some...), nil, 0
		}
	}
	return ids, nil
}

// batchLine returns a line of POST /batch.
func batchLine(topic, data string) string {
	b, err := json.Marshal(map[string]string{"topic": topic, "data": data})
	if err != nil {
		panic(err) // strings
	}
	return string(b)
}
