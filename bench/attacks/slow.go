//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Attacks of streams that read slowly, or not at all.
var slowAttacks = []attack{
	{
		name: "stall-start",
		what: "200 streams, each with filters of its own, from the start of 200 messages of 500,000 line ends; nothing is read",
		fill: lineMessages,
		run:  stalling("HTTP/1.1", "/events?topic=large.lines&topic=none.n%d&from=start"),
	},
	{
		name: "stall-start-envelope",
		what: "the same as JSON",
		fill: lineMessages,
		run:  stalling("HTTP/1.1", "/events?topic=large.lines&topic=none.n%d&from=start&format=envelope"),
	},
	{
		name: "stall-start-http10",
		what: "the same over HTTP/1.0",
		fill: lineMessages,
		run:  stalling("HTTP/1.0", "/events?topic=large.lines&topic=none.n%d&from=start"),
	},
	{
		name: "drip-start",
		what: "the same, and each reads one byte a second",
		fill: lineMessages,
		run: func(ctx context.Context, t *target) string {
			return dripping(ctx, t, 200, 1, time.Second, func(i int) string {
				return get(fmt.Sprintf("/events?topic=large.lines&topic=none.n%d&from=start", i))
			}, nil)
		},
	},
	{
		name: "pin",
		what: "400 streams that have each begun another live message of 500 KB, and read 3,000 bytes in 3 s",
		run:  pinning("HTTP/1.1"),
	},
	{
		name: "pin-http10",
		what: "the same over HTTP/1.0",
		run:  pinning("HTTP/1.0"),
	},
	{
		name: "zero-window",
		what: "3,000 streams that read nothing of 16 KiB 50 times a second",
		run: func(ctx context.Context, t *target) string {
			var c crowd
			defer c.leave()
			each(ctx, t.many(3000), 8, func(int) { c.add(t.send(2048, get("/events?topic=zero.window"))) })
			n := t.publishEvery(ctx, 20*time.Millisecond, func(int) string { return "zero.window" }, strings.Repeat("z", 16<<10))
			return fmt.Sprintf("%v; %d messages", &c, n)
		},
	},
	{
		name:  "skip-slow",
		what:  "200 streams with lag=skip and a window of 256 messages, which they cannot keep up with",
		flags: []string{"--buffer", "256"},
		run: func(ctx context.Context, t *target) string {
			body := strings.Repeat("s", 2000)
			return dripping(ctx, t, 200, 2000, 20*time.Millisecond, func(int) string {
				return get("/events?topic=skip.slow&lag=skip")
			}, func() { repeat(ctx, 4, func(int, int) { t.publish("skip.slow", body) }) })
		},
	},
	{
		name: "window-grows",
		what: "100 MB of messages that JSON makes six times as large, with a stream in each format",
		run: func(ctx context.Context, t *target) string {
			var c crowd
			defer c.leave()
			for _, format := range []string{"data", "envelope"} {
				c.add(t.stream("/events?topic=window.grows&format=" + format))
			}
			c.drain()
			body := strings.Repeat("\x01", 500<<10)
			n := 0
			for ; n < t.many(200) && t.publish("window.grows", body); n++ {
			}
			<-ctx.Done()
			return fmt.Sprintf("%v; %d messages", &c, n)
		},
	},
	{
		name: "lines-grow",
		what: "the same with line ends, each of which becomes a line of seven bytes",
		run: func(ctx context.Context, t *target) string {
			var c crowd
			defer c.leave()
			c.add(t.stream("/events?topic=lines.grow"))
			c.drain()
			body := strings.Repeat("\n", 500<<10)
			n := 0
			for ; n < t.many(200) && t.publish("lines.grow", body); n++ {
			}
			<-ctx.Done()
			return fmt.Sprintf("%v; %d messages", &c, n)
		},
	},
}

// stalling has 200 streams that read nothing. The path contains the stream's number.
func stalling(protocol, path string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		var c crowd
		defer c.leave()
		each(ctx, t.many(200), 8, func(i int) { c.add(t.send(4096, request("GET", fmt.Sprintf(path, i), protocol))) })
		<-ctx.Done()
		return c.String()
	}
}

// dripping has streams that read a few bytes at a time. meanwhile, if not nil, runs until ctx
// is done.
func dripping(ctx context.Context, t *target, streams, bytes int, every time.Duration, text func(i int) string, meanwhile func()) string {
	var c crowd
	defer c.leave()
	each(ctx, t.many(streams), 8, func(i int) { c.add(t.send(4096, text(i))) })
	for _, conn := range c.conns {
		c.reading.Go(func() { sip(ctx, conn, bytes, every) })
	}
	if meanwhile != nil {
		meanwhile()
	}
	<-ctx.Done()
	return c.String()
}

// sip reads a few bytes at a time until ctx is done or the connection ends.
func sip(ctx context.Context, conn net.Conn, bytes int, every time.Duration) {
	b := make([]byte, bytes)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		conn.SetReadDeadline(time.Now().Add(every))
		if _, err := conn.Read(b); err != nil && !isTimeout(err) {
			return
		}
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// pinning has streams that hold a live message each.
func pinning(protocol string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		var c crowd
		defer c.leave()
		body := strings.Repeat("p", 500<<10)
		for n := 0; n < t.many(400) && ctx.Err() == nil; n++ {
			conn, err := t.send(4096, request("GET", "/events?topic=pin", protocol))
			c.add(conn, err)
			if err == nil {
				conn.SetReadDeadline(time.Now().Add(t.left()))
				io.ReadFull(conn, make([]byte, 200)) // it is open
				c.reading.Go(func() { sip(ctx, conn, 3000, 3*time.Second) })
			}
			t.publish("pin", body)
		}
		<-ctx.Done()
		return c.String()
	}
}
