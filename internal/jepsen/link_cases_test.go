//go:build unix

package jepsen_test

import (
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// A link passes bytes, holds them back in one direction or in both, and breaks connections.
func TestLink(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	targets := make(chan net.Conn, 10)
	go func() {
		defer close(targets)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			targets <- c
		}
	}()
	k := newLink(t, l.Addr().String())
	client, err := net.Dial("tcp", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	target := <-targets
	defer target.Close()
	send := func(c net.Conn) {
		t.Helper()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	}
	arrives := func(c net.Conn, want bool) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(patience))
		if !want {
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); (err == nil) != want || !want && !os.IsTimeout(err) {
			t.Errorf("a byte arrives: %v, want %t", err, want)
		}
	}
	send(client)
	arrives(target, true)
	send(target)
	arrives(client, true)
	if !k.used() {
		t.Error("the link is not in use")
	}

	k.holdOne(true)
	send(client)
	send(target)
	arrives(client, true)
	arrives(target, false)
	k.hold()
	send(target)
	arrives(client, false)
	k.heal()
	arrives(target, true)
	arrives(client, true)

	k.hold()
	second, err := net.Dial("tcp", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	send(second)
	select {
	case <-targets:
		t.Error("a held link has dialed")
	case <-time.After(50 * time.Millisecond):
	}
	k.heal()
	other := <-targets
	defer other.Close()
	arrives(other, true)

	k.slow(20 * time.Millisecond)
	begun := time.Now()
	send(client)
	arrives(target, true)
	if took := time.Since(begun); took < 20*time.Millisecond {
		t.Errorf("a slow link passes a byte after %v", took)
	}

	k.cut()
	for _, c := range []net.Conn{client, target, second, other} {
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("reading from a cut link: %v", err)
		}
	}
	third, err := net.Dial("tcp", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := third.Read(make([]byte, 1)); err == nil {
		t.Error("a cut link takes a connection")
	}
	k.heal()
	if client, err = net.Dial("tcp", k.addr); err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send(client)
	last := <-targets
	defer last.Close()
	arrives(last, true)
}
