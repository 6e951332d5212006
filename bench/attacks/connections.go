//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Attacks with connections: those that come and go, that send too much, and that vanish.
var connectionAttacks = []attack{
	{
		name: "churn-reset",
		what: "16 clients open streams from the start, and reset them",
		run: churning(func(t *target, i int) {
			conn, err := t.send(0, get(fmt.Sprintf("/events?topic=t%d&from=start", i%1000)))
			if err != nil {
				return
			}
			if i%3 != 0 {
				conn.SetReadDeadline(time.Now().Add(t.left()))
				conn.Read(make([]byte, 200))
			}
			reset(conn)
		}),
	},
	{
		name: "churn-half-close",
		what: "16 clients open streams, close their half, and read to the end",
		run: churning(func(t *target, i int) {
			conn, err := t.send(0, get("/events?topic="+controlTopic+"&from=5"))
			if err != nil {
				return
			}
			conn.CloseWrite()
			conn.SetReadDeadline(time.Now().Add(min(2*time.Second, t.left())))
			io.Copy(io.Discard, conn)
			reset(conn)
		}),
	},
	{
		name: "churn-half-request",
		what: "16 clients connect, send half of a request or nothing, and reset",
		run: churning(func(t *target, i int) {
			conn, err := t.send(0, []string{"", "GET /events HTTP/1.1\r\nHo"}[i%2])
			if err == nil {
				reset(conn)
			}
		}),
	},
	{
		name: "slowloris",
		what: "5,000 connections send the head of a request one byte a second",
		run: func(ctx context.Context, t *target) string {
			return trickle(ctx, t, 5000, "a", func(int) string { return "GET /events HTTP/1.1\r\nHost: localhost\r\nX-A: " })
		},
	},
	{
		name: "vanish",
		what: "300 streams whose machines vanish: nothing that the server sends is acknowledged",
		run: func(ctx context.Context, t *target) string {
			var c crowd
			defer c.leave()
			each(ctx, t.many(300), 8, func(i int) {
				c.add(t.send(0, request("GET", "/events?topic=vanish", []string{"HTTP/1.1", "HTTP/1.0"}[i%2])))
			})
			pause(ctx, t.left()/8)
			for _, conn := range c.conns {
				dropIncoming(conn)
			}
			n := t.publishEvery(ctx, 20*time.Millisecond, func(int) string { return "vanish" }, strings.Repeat("v", 4<<10))
			return fmt.Sprintf("%v; %d messages", &c, n)
		},
	},
	{
		name: "flood-taken-over",
		what: "20 streams whose clients send requests as fast as they can",
		run:  flooding("HTTP/1.1", strings.Repeat(get("/"), 2000)),
	},
	{
		name: "flood-http10",
		what: "the same over HTTP/1.0",
		run:  flooding("HTTP/1.0", strings.Repeat(get("/"), 2000)),
	},
	{
		name: "drip-taken-over",
		what: "2,000 streams whose clients send single bytes",
		run: func(ctx context.Context, t *target) string {
			var c crowd
			defer c.leave()
			each(ctx, t.many(2000), 8, func(int) { c.add(t.stream("/events?topic=nothing.here")) })
			if len(c.conns) == 0 {
				return c.String()
			}
			n := repeat(ctx, 4, func(w, i int) { io.WriteString(c.conns[(4*i+w)%len(c.conns)], "x") })
			return fmt.Sprintf("%v; %d bytes", &c, n)
		},
	},
	{
		name: "urgent",
		what: "50 streams whose clients send urgent bytes",
		run: func(ctx context.Context, t *target) string {
			var c crowd
			defer c.leave()
			each(ctx, t.many(50), 8, func(int) { c.add(t.stream("/events?topic=nothing.here")) })
			if len(c.conns) == 0 {
				return c.String()
			}
			n := repeat(ctx, 2, func(w, i int) {
				withDescriptor(c.conns[(2*i+w)%len(c.conns)], func(fd int) error { return syscall.Sendto(fd, []byte("!"), syscall.MSG_OOB, nil) })
			})
			return fmt.Sprintf("%v; %d bytes", &c, n)
		},
	},
}

func churning(cycle func(t *target, i int)) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		return fmt.Sprintf("%d connections", repeat(ctx, 16, func(_, i int) { cycle(t, i) }))
	}
}

// mostSwallowed is how much a server may read that nobody asked for, on all connections of an
// attack. A stream may send 64 KiB. The rest is in the buffers of the sockets.
const mostSwallowed = 256 << 20

// flooding has 20 streams send bytes that nobody asked for.
func flooding(protocol, text string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		var sent atomic.Int64
		var ended atomic.Int64
		repeat(ctx, t.many(20), func(_, _ int) {
			conn, err := t.send(0, request("GET", "/events?topic=nothing.here", protocol))
			if err != nil {
				return
			}
			defer reset(conn)
			go io.Copy(io.Discard, conn)
			for ctx.Err() == nil {
				conn.SetWriteDeadline(time.Now().Add(time.Second))
				n, err := io.WriteString(conn, text)
				sent.Add(int64(n))
				if err != nil && !isTimeout(err) {
					ended.Add(1)
					return
				}
			}
		})
		if sent.Load() > mostSwallowed && ended.Load() == 0 {
			t.broken = fmt.Sprintf("no stream is ended after %d MB that nobody asked for", sent.Load()>>20)
		}
		return fmt.Sprintf("%d MB sent, %d connections ended", sent.Load()>>20, ended.Load())
	}
}

// withDescriptor calls f with a connection's descriptor.
func withDescriptor(conn *net.TCPConn, f func(fd int) error) (err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// dropIncoming makes the kernel drop what arrives for a connection, acknowledgements included.
func dropIncoming(conn *net.TCPConn) {
	_ = withDescriptor(conn, func(fd int) error {
		return syscall.AttachLsf(fd, []syscall.SockFilter{{Code: syscall.BPF_RET | syscall.BPF_K}})
	})
}

// Attacks on a server that may open few files.
var descriptorAttacks = []attack{
	{
		name:  "files-160-idle",
		what:  "1,000 connections that send nothing, and messages of 200 KiB, at a limit of 160 open files",
		files: 160,
		run:   exhausting(1000, ""),
	},
	{
		name:  "files-160-streams",
		what:  "1,000 streams at a limit of 160 open files",
		files: 160,
		run:   exhausting(1000, get("/events?topic=nothing.here")),
	},
	{
		name:  "files-256-idle",
		what:  "1,000 connections that send nothing, at a limit of 256 open files",
		files: 256,
		run:   exhausting(1000, ""),
	},
	{
		name:  "files-256-streams",
		what:  "1,000 streams at a limit of 256 open files",
		files: 256,
		run:   exhausting(1000, get("/events?topic=nothing.here")),
	},
	{
		name:  "files-1024-idle",
		what:  "3,000 connections that send nothing, at a limit of 1,024 open files",
		files: 1024,
		run:   exhausting(3000, ""),
	},
	{
		name:  "files-1024-answered",
		what:  "3,000 connections that wait after an answer, at a limit of 1,024 open files",
		files: 1024,
		run:   exhausting(3000, get("/style.css")),
	},
	{
		name:  "files-1024-half",
		what:  "3,000 connections with half of a request, at a limit of 1,024 open files",
		files: 1024,
		run:   exhausting(3000, "GET /events HTTP/1.1\r\nHo"),
	},
	{
		name:  "files-1024-streams",
		what:  "3,000 streams at a limit of 1,024 open files",
		files: 1024,
		run:   exhausting(3000, get("/events?topic=nothing.here")),
	},
	{
		name:  "files-256-reads",
		what:  "96 clients read single messages of 100 MB, at a limit of 256 open files",
		files: 256,
		fill:  bigLog,
		run: func(ctx context.Context, t *target) string {
			var c crowd
			defer c.leave()
			each(ctx, 96, 16, func(int) { c.add(t.send(0, "")) })
			c.drain()
			for i := 0; ctx.Err() == nil; i++ {
				for k, conn := range c.conns {
					io.WriteString(conn, get("/topics/other/events/"+t.marks[(i*7919+k*1031)%len(t.marks)]))
				}
				pause(ctx, 50*time.Millisecond)
			}
			return c.String()
		},
	},
}

// exhausting opens connections that send a text and wait, and publishes large messages, for
// which the log needs files. A connection that the server closes comes again.
func exhausting(clients int, text string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		c := struct{ opened, closed atomic.Int64 }{}
		attackers := make(chan struct{})
		go func() {
			defer close(attackers)
			repeat(ctx, t.many(clients), func(_, _ int) {
				conn, err := t.send(0, text)
				if err != nil {
					pause(ctx, 50*time.Millisecond)
					return
				}
				defer reset(conn)
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				c.opened.Add(1)
				io.Copy(io.Discard, conn)
				c.closed.Add(1)
				pause(ctx, 100*time.Millisecond)
			})
		}()
		stored := t.publishEvery(ctx, 20*time.Millisecond, func(int) string { return "files" }, string(bytes.Repeat([]byte("f"), 200<<10)))
		<-attackers
		return fmt.Sprintf("%d connections, %d of them closed by the server; %d messages stored", c.opened.Load(), c.closed.Load(), stored)
	}
}
