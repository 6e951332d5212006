//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

// Attacks with the requests themselves: heads, ids, pipelines.
var requestAttacks = []attack{
	{
		name: "headers-large",
		what: "16 clients send heads of 60 kB, each with 10,000 fields",
		run: func(ctx context.Context, t *target) string {
			text := get("/events?topic=nothing", shortFields)
			n := repeat(ctx, 16, func(_, _ int) {
				conn, err := t.send(0, text)
				if err != nil {
					return
				}
				conn.SetReadDeadline(time.Now().Add(t.left()))
				conn.Read(make([]byte, 200))
				reset(conn)
			})
			return fmt.Sprintf("%d requests", n)
		},
	},
	{
		name: "headers-held",
		what: "1,000 streams over HTTP/1.0, with heads of 60 kB",
		run: func(ctx context.Context, t *target) string {
			text := request("GET", "/events?topic=nothing", "HTTP/1.0", shortFields)
			return held(ctx, t, 1000, func(int) string { return text })
		},
	},
	{
		name: "headers-held-query",
		what: "the same with the 60 kB in the query",
		run: func(ctx context.Context, t *target) string {
			text := request("GET", "/events?topic=nothing&x="+strings.Repeat("%41", 20_000), "HTTP/1.0")
			return held(ctx, t, 1000, func(int) string { return text })
		},
	},
	{
		name: "pipeline",
		what: "eight clients send requests in a pipeline, and read the answers",
		run:  pipelining(8, strings.Repeat(request("HEAD", "/style.css", "HTTP/1.1"), 50)),
	},
	{
		name: "pipeline-refused",
		what: "500 clients send requests in a pipeline that are refused, and read nothing",
		run:  unread(500, strings.Repeat(get("/nowhere")+get("/events?topic=..")+get("/topics/none"), 300)),
	},
	{
		name: "pipeline-garbage",
		what: "eight clients send what is no request behind each request",
		run:  pipelining(8, get("/style.css")+strings.Repeat("\x00\xff\r\n", 1000)),
	},
	{
		name: "ids",
		what: "eight clients open streams after ids that are none",
		run: func(ctx context.Context, t *target) string {
			came := newTally()
			n := repeat(ctx, 8, func(_, i int) {
				came.count(outcome(openOnce(t.addr, "/events?topic=nothing", t.left(), "Last-Event-ID: "+strangeID(i))))
			})
			return fmt.Sprintf("%d streams: %v", n, came)
		},
	},
	{
		name: "ids-window",
		what: "eight clients open streams after each id of the window",
		fill: markWindow,
		run: func(ctx context.Context, t *target) string {
			epoch, number, _ := strings.Cut(t.marks[0], "-")
			var first int
			fmt.Sscan(number, &first)
			came := newTally()
			n := repeat(ctx, 8, func(w, i int) {
				id := fmt.Sprintf("%s-%d", epoch, first+(8*i+w)%7000)
				came.count(outcome(openOnce(t.addr, "/events?topic=**", t.left(), "Last-Event-ID: "+id)))
			})
			return fmt.Sprintf("%d streams: %v", n, came)
		},
	},
}

// shortFields are 60 kB of short header fields, without the last line end.
var shortFields = func() string {
	var b strings.Builder
	for i := 0; b.Len() < 60_000; i++ {
		fmt.Fprintf(&b, "a%d:\r\n", i)
	}
	return strings.TrimSuffix(b.String(), "\r\n")
}()

// held has streams that begin with a text, and go on.
func held(ctx context.Context, t *target, clients int, text func(i int) string) string {
	var c crowd
	defer c.leave()
	each(ctx, t.many(clients), 8, func(i int) {
		conn, err := t.send(0, text(i))
		if err == nil {
			conn.SetReadDeadline(time.Now().Add(t.left()))
			conn.Read(make([]byte, 100))
		}
		c.add(conn, err)
	})
	<-ctx.Done()
	return c.String()
}

// pipelining has clients send a text again and again, and read what comes.
func pipelining(clients int, text string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		var sent atomic.Int64
		repeat(ctx, clients, func(_, _ int) {
			conn, err := t.send(0, "")
			if err != nil {
				return
			}
			defer reset(conn)
			go io.Copy(io.Discard, conn)
			for ctx.Err() == nil {
				conn.SetWriteDeadline(time.Now().Add(t.left()))
				if _, err := io.WriteString(conn, text); err != nil {
					return
				}
				sent.Add(1)
			}
		})
		return fmt.Sprintf("%d times %d bytes", sent.Load(), len(text))
	}
}

// strangeID returns something that is no id of the log.
func strangeID(i int) string {
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	switch i % 8 {
	case 0:
		b := make([]byte, rand.IntN(60))
		for k := range b {
			b[k] = byte('!' + rand.IntN('~'-'!'))
		}
		return string(b)
	case 1:
		b := make([]byte, 12)
		for k := range b {
			b[k] = alphabet[rand.IntN(len(alphabet))]
		}
		return fmt.Sprintf("%s-%d", b, rand.Uint64())
	case 2:
		return "0w3k7zq4m8tc-18446744073709551615"
	case 3:
		return strings.Repeat("ü", 1+rand.IntN(200))
	case 4:
		return strings.Repeat("9", 60_000)
	case 5:
		return "0w3k7zq4m8tc-18446744073709551616"
	case 6:
		return "zzzzzzzzzzzz-0"
	}
	return "\xff\xfe " + strings.Repeat(" ", 100) + "x\ty"
}
