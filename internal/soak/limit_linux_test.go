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

// A limitTest has a server that may have few files open, and as many subscribers as it
// takes.
type limitTest struct {
	*faultTest
	others []*member     // subscribers besides the healthy ones
	before time.Duration // processor time that the server took in cpuSpan
}

// cpuSpan is for how long the server's processor time is measured, and spinning how
// much of it a loop would take that does not wait.
const (
	cpuSpan  = 2 * time.Second
	spinning = cpuSpan / 2
)

// A server that may not have more files open goes on with what it has. New subscribers
// are told to come back, as the API says, and are taken again when others have left.
// Messages are stored all the time: the log needs files, too.
func TestAsManyFilesAsAllowed(t *testing.T) {
	const files = 1000
	needFiles(t, 2*files)
	lt := &limitTest{faultTest: newFaultTest(t, (&process{files: files}).serve(t), 100)}
	lt.steady.flow(t, 50*time.Millisecond, 1)
	lt.before = lt.work(t)
	// Not more in flight than there is room for beside the subscribers.
	lt.come(t, files, manner{inFlight: 50})
	if n := len(lt.healthy) + len(lt.others); n < files/2 || n >= files {
		t.Fatalf("with %d files the server has taken %d subscribers", files, n)
	}
	lt.was = lt.audit.rest(t)
	t.Logf("at rest: %+v", lt.was)

	ok := t.Run("new subscribers are told to come back", lt.refuses) &&
		t.Run("they are taken when others have left", lt.takesAgain) &&
		t.Run("connections that ask for nothing", lt.silent)
	if !ok {
		t.FailNow()
	}
}

// come has n subscribers come, and keeps those that are not refused.
func (lt *limitTest) come(t *testing.T, n int, how manner) (taken int) {
	t.Helper()
	members, err := lt.crowd.join(lt.steady.topic, n, how)
	if err != nil {
		t.Fatal(err)
	}
	lt.crowd.each(members, func(m *member) {
		switch {
		case m.opened:
			lt.others = append(lt.others, m)
			taken++
		case !errors.Is(m.end, errRefused):
			lt.crowd.wrong = m.end
		}
	})
	t.Logf("of %d subscribers %d were taken", n, taken)
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

// idles checks that the server does hardly more than before.
func (lt *limitTest) idles(t *testing.T) {
	t.Helper()
	// That it serves more subscribers than before is not worth a tenth of this.
	if now := lt.work(t); now > lt.before+spinning {
		t.Errorf("in %v the server takes %v of processor time, and before its limit %v", cpuSpan, now, lt.before)
	} else {
		t.Logf("in %v the server takes %v of processor time, and before its limit %v", cpuSpan, now, lt.before)
	}
}

// refuses has more subscribers come than the server takes.
func (lt *limitTest) refuses(t *testing.T) {
	if n := lt.come(t, 300, manner{inFlight: 50}); n > 0 {
		t.Errorf("%d new subscribers were taken", n)
	}
	for range 20 {
		res, err := lt.ask("*/*")
		if err != nil {
			t.Fatal(err)
		}
		if after, err := strconv.Atoi(res.Header.Get("Retry-After")); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Content-Type") != "application/problem+json" || after < 2 || err != nil {
			t.Fatalf("who is no EventSource gets %s with %q", res.Status, res.Header)
		}
	}
	lt.idles(t)
	lt.crowd.awaitHealthy(t, lt.others, lt.steady)
	lt.check(t)
}

// ask asks for a stream, and returns an answer that is none.
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

// takesAgain has some leave, after which as many others are taken.
func (lt *limitTest) takesAgain(t *testing.T) {
	const leave = 100
	lt.crowd.each(lt.others[:leave], (*member).cut)
	lt.others = lt.others[leave:]
	lt.was.streams -= leave
	lt.check(t)
	if n := lt.come(t, 2*leave, manner{inFlight: 50}); n != leave {
		t.Errorf("%d subscribers have left, and %d are taken", leave, n)
	}
	lt.was.streams += leave
	lt.check(t)
	lt.crowd.awaitHealthy(t, lt.others, lt.steady)
}

// silent has many connect that send nothing, which are more than there is room for. The
// log, whose errors fail the test, goes on.
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
