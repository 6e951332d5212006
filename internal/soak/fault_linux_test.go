package soak_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/internal/server"
)

// A faultTest has a server with many healthy subscribers, which get messages all the
// time, and other subscribers with faults.
type faultTest struct {
	server  *process
	crowd   *crowd
	healthy []*member
	steady  *traffic // for the healthy subscribers
	large   *traffic // messages that do not fit into a socket's buffers
	audit   *auditor
	was     account   // the account at rest
	began   time.Time // when the first large message was published
	stall   int       // streams whose clients do not read, and which end at some time
}

// largeMessage is the size of a large message. A whole one never fits into the buffers of
// a client that does not read.
const largeMessage = 400 << 10

// writeTimeout is how long a client may read nothing.
const writeTimeout = server.DefaultWriteTimeout

// smallBuffer is the buffer of clients that must get only a part of a large message.
const smallBuffer = 32 << 10

// newFaultTest connects healthy subscribers to a server.
func newFaultTest(t *testing.T, p *process, healthy int) *faultTest {
	t.Helper()
	ft := &faultTest{server: p}
	ft.crowd = crowdOf(t, ft.server.addr)
	ft.steady = newTraffic(t, ft.server.addr, "steady", 100)
	ft.large = newTraffic(t, ft.server.addr, "large", largeMessage)
	ft.audit = audit(t, ft.server)
	begin := time.Now()
	ft.healthy = ft.join(t, "steady", healthy, connectOptions{})
	t.Logf("%d subscribers have connected in %v", healthy, time.Since(begin).Round(time.Millisecond))
	return ft
}

// needFiles skips the test if a process may not open n files. With CI=true it fails
// the test.
func needFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max >= n {
		return
	}
	const why = "a process may have %d files open, but this test needs %d: see ulimit -Hn"
	if os.Getenv("CI") == "true" {
		t.Fatalf(why, limit.Max, n)
	}
	t.Skipf(why, limit.Max, n)
}

// join connects subscribers. None may be refused.
func (ft *faultTest) join(t *testing.T, topic string, n int, how connectOptions) []*member {
	t.Helper()
	members, err := ft.crowd.join(topic, n, how)
	if err != nil {
		t.Fatal(err)
	}
	ft.crowd.awaitAll(t, members, "the stream has begun", func(m *member) bool { return m.opened })
	return members
}

// check waits until the healthy subscribers have every message, and the server has its
// former account.
func (ft *faultTest) check(t *testing.T) {
	t.Helper()
	begin := time.Now()
	ft.crowd.awaitHealthy(t, ft.healthy, ft.steady)
	t.Logf("after %v the healthy subscribers have everything", time.Since(begin).Round(time.Millisecond))
	ft.audit.awaitReturn(t, ft.was, ft.stall)
	ft.crowd.awaitHealthy(t, ft.healthy, ft.steady)
}

// Clients with faults use a server that takes connections over, beside thousands of
// healthy clients. Each healthy client gets every message, once and in order. Afterwards
// the server holds the same resources as before.
func TestFaults(t *testing.T) {
	healthy, killed := 4000, 1000
	if testing.Short() {
		healthy, killed = 800, 200
	}
	const stalled, slow = 100, 50
	needFiles(t, uint64(healthy+killed+1000))
	// With a small window, the log serves some subscribers.
	ft := newFaultTest(t, serve(t, "--buffer", "500"), healthy)
	ft.steady.flow(t, 100*time.Millisecond, 1)
	// These clients stall during the other tests.
	ft.stall = stalled
	stalling := ft.join(t, "large", stalled, connectOptions{buffer: smallBuffer})
	slowly := ft.join(t, "large", slow, connectOptions{buffer: smallBuffer})
	ft.crowd.each(stalling, ft.crowd.pause)
	ft.crowd.each(slowly, ft.crowd.pause)
	ft.began = time.Now()
	ft.publish(t, ft.large, 2)
	ft.was = ft.audit.rest(t)
	t.Logf("at rest: %+v", ft.was)

	ok := t.Run("clients that stop reading and go on", func(t *testing.T) { ft.slow(t, slowly) }) &&
		t.Run("a process with its connections is killed", func(t *testing.T) { ft.killed(t, killed) }) &&
		t.Run("clients send more than the request", ft.sending) &&
		t.Run("clients shut down their side", ft.halfClosed) &&
		t.Run("connections are reset in the middle of an event", ft.reset) &&
		t.Run("descriptors are used again at once", ft.reused) &&
		t.Run("clients that stop reading for good", func(t *testing.T) { ft.stalled(t, stalling) }) &&
		t.Run("SIGTERM", ft.stopped)
	if !ok {
		t.FailNow()
	}
}

// slow lets stalled clients read again.
func (ft *faultTest) slow(t *testing.T, members []*member) {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		f := ft.audit.figures(t)
		if n := f.sum("tidings_delivery_stalled_streams") + f.timedOut(); n >= len(members)+ft.stall {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the clients do not stall")
		}
	}
	ft.crowd.awaitHealthy(t, ft.healthy, ft.steady)
	if f := ft.audit.figures(t); f.timedOut() > 0 {
		t.Log("the machine is slow: the server has already closed the first connections")
	}
	ft.crowd.each(members, ft.crowd.resume)
	if returned := ft.catchUp(t, members); returned > 0 && time.Since(ft.began) < writeTimeout {
		t.Errorf("the server has closed %d connections too early, before their clients read again", returned)
	}
	ft.crowd.each(members, (*member).cut)
	ft.was.streams -= len(members)
	ft.check(t)
}

// publish publishes n messages of a traffic that does not flow.
func (ft *faultTest) publish(t *testing.T, tr *traffic, n int) {
	t.Helper()
	if err := tr.publish(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

// catchUp waits until clients of large messages have everything. It reconnects a client
// whose connection the server has closed, and returns the number of reconnects.
func (ft *faultTest) catchUp(t *testing.T, members []*member) (returned int) {
	t.Helper()
	messages, begin := ft.large.acked(), time.Now()
	for {
		var gone []*member
		ft.crowd.await(t, "the clients have read on", func() bool {
			gone = gone[:0]
			waiting := false
			for _, m := range members {
				switch {
				case m.has(messages):
				case m.end != nil:
					gone = append(gone, m)
				default:
					waiting = true
				}
			}
			return !waiting
		})
		if len(gone) == 0 {
			break
		}
		if returned += len(gone); time.Since(begin) > patience {
			t.Fatalf("after %v the clients have not caught up", patience)
		}
		if err := ft.crowd.connect(gone, connectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("after %v they have %d messages each; the server had closed %d connections", time.Since(begin).Round(time.Millisecond), messages, returned)
	return returned
}

// killed kills a process that has subscribers.
func (ft *faultTest) killed(t *testing.T, n int) {
	held := hold(t, ft.server.addr, ft.steady.topic, n)
	ft.crowd.awaitHealthy(t, ft.healthy, ft.steady)
	if now := ft.audit.account(t); now.streams > ft.was.streams+n || now.streams < ft.was.streams+n-ft.stall {
		t.Fatalf("with %d clients of another process, the server has %+v; before %+v", n, now, ft.was)
	}
	held.kill()
	ft.check(t)
}

// sending lets clients send data after their request, a little and without end. Those that send
// a little go on. The others are ended, and the server reads no more of what they send.
func (ft *faultTest) sending(t *testing.T) {
	const talkers, floods, little = 300, 20, 100
	talking := ft.join(t, ft.steady.topic, talkers, connectOptions{})
	flooding := ft.join(t, ft.steady.topic, floods, connectOptions{})
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = "GET /events?topic=large HTTP/1.1\r\nHost: localhost\r\n\r\n"[i%52]
	}
	begin, rounds := time.Now(), 0
	ft.crowd.await(t, "the server has ended those that send without end", func() bool {
		all := true
		for _, m := range flooding {
			if m.end == nil {
				unix.Write(m.fd, block)
				all = false
			}
		}
		if rounds++; rounds <= little {
			for _, m := range talking {
				unix.Write(m.fd, block[:60])
			}
		}
		return all
	})
	t.Logf("%d clients were ended in %v", floods, time.Since(begin).Round(time.Millisecond))
	ft.crowd.awaitHealthy(t, talking, ft.steady)
	ft.crowd.each(talking, (*member).close)
	ft.crowd.each(flooding, (*member).close)
	ft.check(t)
}

// halfClosed lets clients shut down the sending side. The server takes that for a client
// that leaves, as net/http does.
func (ft *faultTest) halfClosed(t *testing.T) {
	members := ft.join(t, ft.steady.topic, 300, connectOptions{})
	before := ft.audit.figures(t)
	ft.crowd.each(members, func(m *member) { unix.Shutdown(m.fd, unix.SHUT_WR) })
	ft.crowd.awaitAll(t, members, "the stream has ended", func(m *member) bool { return m.end != nil })
	ft.check(t)
	if n := ft.audit.figures(t).left() - before.left(); n != len(members) {
		t.Errorf("%d streams ended with the reason client left, want %d", n, len(members))
	}
}

// reset resets connections when a part of a message has arrived.
func (ft *faultTest) reset(t *testing.T) {
	before := ft.audit.figures(t)
	const each = 40
	var members []*member
	for i := range 5 {
		members = append(members, ft.join(t, ft.large.topic, each, connectOptions{buffer: smallBuffer, cutAt: 1 + (i+1)*largeMessage/6})...)
	}
	ft.publish(t, ft.large, 1)
	ft.crowd.awaitAll(t, members, "the connection was reset", func(m *member) bool {
		if m.end != nil && !errors.Is(m.end, errCut) {
			ft.crowd.wrong = m.end
		}
		return m.end != nil
	})
	ft.check(t)
	if n := ft.audit.figures(t).sum("tidings_delivery_short_writes_total") - before.sum("tidings_delivery_short_writes_total"); n < len(members) {
		t.Errorf("only %d writes were short, but %d connections were to be reset in the middle of an event", n, len(members))
	}
}

// stalled waits until the server has closed the connections of clients that do not read.
// They reconnect and miss nothing.
func (ft *faultTest) stalled(t *testing.T, members []*member) {
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		now := ft.audit.account(t)
		if now.streams == len(ft.healthy) {
			ft.was.streams, ft.stall = now.streams, 0
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after %v the server has not closed all connections: %+v", patience, now)
		}
		ft.crowd.awaitHealthy(t, ft.healthy, ft.steady)
	}
	// The kernel may close such a connection before the server does.
	if n := ft.audit.figures(t).timedOut(); n == 0 {
		t.Errorf("no stream ended with the reason write timeout")
	} else {
		t.Logf("the server has closed %d connections whose clients did not read", n)
	}
	ft.check(t)
	ft.crowd.each(members, ft.crowd.resume)
	ft.crowd.awaitAll(t, members, "the connection was closed", func(m *member) bool { return m.end != nil })
	ft.catchUp(t, members)
	ft.crowd.each(members, (*member).close)
	ft.check(t)
}

// stopped stops the server under load. Each client is told why its stream ends, and those that
// reconnect miss nothing.
func (ft *faultTest) stopped(t *testing.T) {
	ft.steady.close()
	ft.steady.flow(t, 20*time.Millisecond, 1)
	for first := ft.steady.acked(); ft.steady.acked() < first+20; {
		ft.crowd.awaitHealthy(t, ft.healthy, ft.steady)
	}
	begin := time.Now()
	if err := ft.server.terminate(); err != nil {
		t.Errorf("after SIGTERM the program ends with %v", err)
	}
	took := time.Since(begin).Round(time.Millisecond)
	acked := ft.steady.acked()
	ft.crowd.awaitAll(t, ft.healthy, "the stream has ended", func(m *member) bool { return m.end != nil })
	broken, behind := 0, 0
	ft.crowd.each(ft.healthy, func(m *member) {
		if !errors.Is(m.end, errStopped) {
			broken++
		}
		if m.next < acked {
			behind++
		}
		m.close()
	})
	t.Logf("the program ended %v after SIGTERM; %d messages were acknowledged; %d streams ended before the last of them", took, acked, behind)
	if broken > 0 {
		t.Errorf("%d streams are broken off without a word, of %d", broken, len(ft.healthy))
	}
	if took > longestStop {
		t.Errorf("the program has ended %v after SIGTERM", took)
	}
	if err := ft.server.start(); err != nil {
		t.Fatal(err)
	}
	ft.steady.close()
	ft.steady.flow(t, 100*time.Millisecond, 1)
	begin = time.Now()
	if err := ft.crowd.connect(ft.healthy, connectOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("all have reconnected within %v", time.Since(begin).Round(time.Millisecond))
	ft.crowd.awaitHealthy(t, ft.healthy, ft.steady)
	t.Logf("all have everything after %v", time.Since(begin).Round(time.Millisecond))
	ft.steady.close()
	ft.crowd.awaitHealthy(t, ft.healthy, ft.steady)
	ft.crowd.each(ft.healthy, func(m *member) {
		if err := m.compare(ft.steady.ledger, ft.steady.acked()); err != nil && ft.crowd.wrong == nil {
			ft.crowd.wrong = err
		}
	})
	ft.crowd.await(t, "it was compared", func() bool { return true })
}

// longestStop is how long the program may take to stop: one second, and two more on a
// busy machine.
const longestStop = 3 * time.Second
