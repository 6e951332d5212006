//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// Attacks with bodies of requests, and with idempotency keys.
var bodyAttacks = []attack{
	{
		name: "bodies-large",
		what: "60 batches of 15 MiB that stop before their end",
		run: func(ctx context.Context, t *target) string {
			lines := strings.Repeat(batchLine("bodies", strings.Repeat("b", 1000))+"\n", 1000)
			return withheld(ctx, t, 60, batchHead("Content-Length: 15728640"), lines, 14<<20)
		},
	},
	{
		name: "bodies-chunked",
		what: "the same in chunks, without a length",
		run: func(ctx context.Context, t *target) string {
			lines := strings.Repeat(batchLine("bodies", strings.Repeat("b", 1000))+"\n", 1000)
			chunk := fmt.Sprintf("%x\r\n%s\r\n", len(lines), lines)
			return withheld(ctx, t, 60, batchHead("Transfer-Encoding: chunked"), chunk, 14<<20)
		},
	},
	{
		name: "bodies-small",
		what: "5,000 messages of 64 KiB that stop before their last byte",
		run: func(ctx context.Context, t *target) string {
			head := "POST /topics/bodies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n"
			return withheld(ctx, t, 5000, head, strings.Repeat("b", 65535), 65535)
		},
	},
	{
		name: "bodies-drip",
		what: "5,000 messages that come one byte a second, half of them in chunks",
		run: func(ctx context.Context, t *target) string {
			return trickle(ctx, t, 5000, "1\r\nb\r\n", func(i int) string {
				if i%2 == 0 {
					return "POST /topics/bodies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"
				}
				return "POST /topics/bodies HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
			})
		},
	},
	{
		name: "bodies-expected",
		what: "5,000 clients that announce a batch of 15 MiB with Expect: 100-continue, and send nothing",
		run:  unread(5000, batchHead("Content-Length: 15728640\r\nExpect: 100-continue")),
	},
	{
		name: "batches-unread",
		what: "200 clients publish ten batches of 2,000 messages, and read no answer",
		run:  unread(200, strings.Repeat(batchHead(fmt.Sprint("Content-Length: ", len(smallBatch)))+smallBatch, 10)),
	},
	{
		name: "batches",
		what: "ten clients publish 10,000 messages of six bytes in each batch",
		run:  posting(10, strings.Repeat(`{"topic":"batches","data":"bbbbbb"}`+"\n", 10_000)),
	},
	{
		name: "batches-empty",
		what: "ten clients publish batches of 12 MB that have nothing but the shortest lines",
		run:  posting(10, strings.Repeat("{}\n", 4<<20)),
	},
	{
		name: "batches-grow",
		what: "ten clients publish batches of 3 MB that JSON makes six times as large in each answer, stream and error",
		run:  posting(10, strings.Repeat(batchLine("batches", strings.Repeat("\x01", 400))+"\n", 1200)),
	},
	{
		name: "batches-nested",
		what: "ten clients publish batches of arrays in arrays",
		run:  posting(10, strings.Repeat(`{"topic":"a","data":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+"}\n", 200)),
	},
	{
		name: "keys",
		what: "four clients publish 10,000 messages with new keys in each batch",
		run: func(ctx context.Context, t *target) string {
			n := repeat(ctx, 4, func(w, i int) {
				if t.postLines(10_000, func(k int) string { return fmt.Sprintf(`{"topic":"keys","data":1,"key":"%d-%d-%d"}`, w, i, k) }) == 200 {
					t.stored.Add(10_000 * keyBytes)
				}
			})
			return fmt.Sprintf("%d batches", n)
		},
	},
	{
		name: "keys-conflict",
		what: "four clients publish 10,000 messages in each batch, with the keys of 20 messages of 500 KiB",
		fill: keyedMessages,
		run: func(ctx context.Context, t *target) string {
			n := repeat(ctx, 4, func(_, _ int) {
				t.postLines(10_000, func(k int) string { return fmt.Sprintf(`{"topic":"keys","data":1,"key":"k%d"}`, k%20) })
			})
			return fmt.Sprintf("%d batches", n)
		},
	},
}

// keyedMessages are 20 messages of 500 KiB with keys.
var keyedMessages = &filling{func(s *server) ([]string, error) {
	_, err := s.publishAll(20, func(i int) string {
		return fmt.Sprintf(`{"topic":"keys","data":"%s","key":"k%d"}`, strings.Repeat("c", 500<<10), i)
	})
	if err != nil {
		return nil, err
	}
	return nil, fillWindow(s)
}}

// smallBatch has 2,000 messages.
var smallBatch = strings.Repeat(`{"topic":"batches","data":"b"}`+"\n", 2000)

// batchHead returns the head of a batch.
func batchHead(length string) string {
	return "POST /batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n" + length + "\r\n\r\n"
}

// withheld has clients send a head and then a part, again and again, up to some bytes. Then they
// wait.
func withheld(ctx context.Context, t *target, clients int, head, part string, most int) string {
	var c crowd
	defer c.leave()
	each(ctx, t.many(clients), 8, func(int) {
		conn, err := t.send(0, head)
		c.add(conn, err)
		if err != nil {
			return
		}
		conn.SetWriteDeadline(time.Now().Add(t.left()))
		for sent := len(part); sent <= most; sent += len(part) {
			if _, err := io.WriteString(conn, part); err != nil {
				return
			}
		}
	})
	<-ctx.Done()
	return c.String()
}

// trickle has clients send the beginning of a request, and then a text, of which each gets a byte
// a second.
func trickle(ctx context.Context, t *target, clients int, text string, begin func(i int) string) string {
	var c crowd
	defer c.leave()
	each(ctx, t.many(clients), 8, func(i int) { c.add(t.send(0, begin(i))) })
	for k := 0; ctx.Err() == nil; k++ {
		for _, conn := range c.conns {
			io.WriteString(conn, text[k%len(text):k%len(text)+1])
		}
		pause(ctx, time.Second)
	}
	return c.String()
}

// pause waits, at most until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// posting has clients post the same batch again and again.
func posting(clients int, body string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		statuses := newTally()
		n := repeat(ctx, clients, func(_, _ int) { statuses.count(t.post("/batch", "application/x-ndjson", body)) })
		return fmt.Sprintf("%d batches: %v", n, statuses)
	}
}
