package soak_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A limitTest has a server with a low limit of open files, and as many subscribers as
// the server accepts.
type limitTest struct {
	*faultTest
	others []*member     // subscribers besides the healthy ones
	before time.Duration // processor time of the server in cpuSpan, before the limit
}

// cpuSpan is how long the test measures the server's processor time. A loop that does
// not wait would take spinning of it, or more.
const (
	cpuSpan  = 2 * time.Second
	spinning = cpuSpan / 2
)

// A server at its limit of open files continues to serve its subscribers. It tells new
// subscribers to retry later, as the API says, and accepts them when others have left. It
// stores messages all the time, for which the log needs files.
func TestAsManyFilesAsAllowed(t *testing.T) {
	const files = 1000
	needFiles(t, 2*files)
	lt := &limitTest{faultTest: newFaultTest(t, (&process{files: files}).serve(t), 100)}
	lt.steady.flow(t, 50*time.Millisecond, 1)
	lt.before = lt.work(t)
	// Open few connections at a time: they need descriptors besides the subscribers.
	lt.come(t, files, connectOptions{inFlight: 50})
	if n := len(lt.healthy) + len(lt.others); n < files/2 || n >= files {
		t.Fatalf("with %d files the server has taken %d subscribers", files, n)
	}
	lt.was = lt.audit.rest(t)
	t.Logf("at rest: %+v", lt.was)

	ok := t.Run("new subscribers are told to retry later", lt.refuses) &&
		t.Run("they are accepted when others have left", lt.takesAgain) &&
		t.Run("connections without a request", lt.silent)
	if !ok {
		t.FailNow()
	}
}

// come connects n subscribers, and keeps those that are not refused.
func (lt *limitTest) come(t *testing.T, n int, how connectOptions) (taken int) {
	t.Helper()
	members, err := lt.crowd.join(lt.steady.topic, n, how)
	if err != nil {
		t.Fatal(err)
	}
	// A refused subscriber holds its connection for a moment.
	lt.crowd.awaitAll(t, members, "the refused connections are closed", func(m *member) bool { return m.opened || m.fd < 0 })
	lt.crowd.each(members, func(m *member) {
		switch {
		case m.opened:
			lt.others = append(lt.others, m)
			taken++
		case !errors.Is(m.end, errRefused):
			lt.crowd.wrong = m.end
		}
	})
	t.Logf("%d subscribers connected, %d were accepted", n, taken)
	return taken
}

// work returns the processor time that the server takes in cpuSpan.
func (lt *limitTest) work(t *testing.T) time.Duration {
	t.Helper()
	begin, cpu := time.Now(), lt.server.cpu(t)
	time.Sleep(cpuSpan)
	cpu = lt.server.cpu(t) - cpu
	return cpu * cpuSpan / time.Since(begin)
}

// idles checks that the server hardly takes more processor time than before.
func (lt *limitTest) idles(t *testing.T) {
	t.Helper()
	// The additional subscribers cost less than a tenth of this.
	if now := lt.work(t); now > lt.before+spinning {
		t.Errorf("in %v the server takes %v of processor time; before its limit it took %v", cpuSpan, now, lt.before)
	} else {
		t.Logf("in %v the server takes %v of processor time; before its limit it took %v", cpuSpan, now, lt.before)
	}
}

// refuses connects more subscribers than the server accepts.
func (lt *limitTest) refuses(t *testing.T) {
	if n := lt.come(t, 300, connectOptions{inFlight: 50}); n > 0 {
		t.Errorf("%d new subscribers were accepted", n)
	}
	for range 20 {
		res, err := lt.ask("*/*")
		if err != nil {
			t.Fatal(err)
		}
		if after, err := strconv.Atoi(res.Header.Get("Retry-After")); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Content-Type") != "application/problem+json" || after < 2 || err != nil {
			t.Fatalf("a client other than an EventSource gets %s with %q", res.Status, res.Header)
		}
	}
	lt.idles(t)
	lt.crowd.awaitHealthy(t, lt.others, lt.steady)
	lt.check(t)
}

// ask requests a stream, and returns the answer, which must not be a stream.
func (lt *limitTest) ask(accept string) (*http.Response, error) {
	conn, err := net.DialTimeout("tcp", lt.server.addr, patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "GET /events?topic=steady HTTP/1.1\r\nHost: "+lt.server.addr+"\r\nAccept: "+accept+"\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	res.Body = io.NopCloser(strings.NewReader(string(body)))
	return res, err
}

// takesAgain disconnects some subscribers. Then the server accepts as many others.
func (lt *limitTest) takesAgain(t *testing.T) {
	const leave = 100
	lt.crowd.each(lt.others[:leave], (*member).cut)
	lt.others = lt.others[leave:]
	lt.was.streams -= leave
	lt.check(t)
	if n := lt.come(t, 2*leave, connectOptions{inFlight: 50}); n != leave {
		t.Errorf("%d subscribers have left, but %d were accepted", leave, n)
	}
	lt.was.streams += leave
	lt.check(t)
	lt.crowd.awaitHealthy(t, lt.others, lt.steady)
}

// silent opens more connections than there is room for, and sends nothing on them. The
// log must continue: its errors fail the test.
func (lt *limitTest) silent(t *testing.T) {
	const silent = 600
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for range silent {
		conn, err := net.DialTimeout("tcp", lt.server.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	lt.idles(t)
	end := time.Now().Add(patience)
	for first := lt.steady.acked(); lt.steady.acked() < first+20; {
		if time.Now().After(end) {
			t.Fatalf("in %v only %d messages were stored", patience, lt.steady.acked()-first)
		}
		lt.crowd.awaitHealthy(t, lt.others, lt.steady)
		lt.crowd.awaitHealthy(t, lt.healthy, lt.steady)
	}
	for _, conn := range conns {
		conn.Close()
	}
	lt.check(t)
}
