//go:build unix

package jepsen_test

import (
	"net"
	"sync"
	"testing"
	"time"
)

// A link is a TCP proxy, which stands for the network between two processes. Its methods
// may be called concurrently.
type link struct {
	addr   string // where it listens
	target string
	l      net.Listener
	wg     sync.WaitGroup

	mu     sync.Mutex
	held   [2]bool       // whether bytes to the target, and from it, wait
	delay  time.Duration // of the bytes in each direction
	broken bool          // connections are refused
	closed bool
	change chan struct{} // closed at the next change
	conns  map[net.Conn]bool
}

// newLink starts a link to an address. It ends with the test.
func newLink(t testing.TB, target string) *link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{addr: l.Addr().String(), target: target, l: l, change: make(chan struct{}), conns: map[net.Conn]bool{}}
	k.wg.Go(k.accept)
	t.Cleanup(k.close)
	return k
}

// set changes the link.
func (k *link) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
	close(k.change)
	k.change = make(chan struct{})
	if k.broken || k.closed {
		for c := range k.conns {
			c.Close()
		}
	}
}

// hold lets no byte pass in either direction, as a network does that drops all packets.
// Later the bytes pass.
func (k *link) hold() { k.set(func() { k.held = [2]bool{true, true} }) }

// holdOne lets no byte pass in one direction.
func (k *link) holdOne(toTarget bool) { k.set(func() { k.held = [2]bool{toTarget, !toTarget} }) }

// slow delays everything.
func (k *link) slow(delay time.Duration) { k.set(func() { k.delay = delay }) }

// cut breaks the connections, and refuses others.
func (k *link) cut() { k.set(func() { k.broken = true }) }

// heal lets everything pass again.
func (k *link) heal() { k.set(func() { k.held, k.delay, k.broken = [2]bool{}, 0, false }) }

func (k *link) close() {
	k.l.Close()
	k.set(func() { k.closed = true })
	k.wg.Wait()
}

// used reports whether a connection is open.
func (k *link) used() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.conns) > 0
}

func (k *link) accept() {
	for {
		c, err := k.l.Accept()
		if err != nil {
			return
		}
		k.wg.Go(func() { k.serve(c) })
	}
}

// add registers a connection, unless the link refuses it.
func (k *link) add(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.broken || k.closed {
		return false
	}
	k.conns[c] = true
	return true
}

func (k *link) remove(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
	c.Close()
}

// wait waits until bytes may pass in a direction. It reports whether the link is alive.
func (k *link) wait(direction int) bool {
	for delayed := false; ; {
		k.mu.Lock()
		held, delay, ended, change := k.held[direction], k.delay, k.broken || k.closed, k.change
		k.mu.Unlock()
		switch {
		case ended:
			return false
		case held:
			<-change
		case delay > 0 && !delayed:
			time.Sleep(delay)
			delayed = true
		default:
			return true
		}
	}
}

// serve passes the bytes of one connection.
func (k *link) serve(client net.Conn) {
	if !k.add(client) {
		client.Close()
		return
	}
	defer k.remove(client)
	if !k.wait(0) { // a held network passes no SYN
		return
	}
	target, err := net.DialTimeout("tcp", k.target, 5*time.Second)
	if err != nil {
		return
	}
	if !k.add(target) {
		target.Close()
		return
	}
	defer k.remove(target)
	var back sync.WaitGroup
	back.Go(func() { k.pass(client, target, 1) })
	k.pass(target, client, 0)
	back.Wait()
}

// pass copies bytes in one direction, until an end breaks off. Then it breaks off both.
func (k *link) pass(to, from net.Conn, direction int) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !k.wait(direction) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			k.wait(direction) // the end is a packet, too
			return
		}
	}
}
