//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// Attacks with expensive reads of the log.
var readAttacks = []attack{
	{
		name:  "topics-list",
		what:  "200,000 topics; 20 clients list them",
		fill:  manyTopics,
		fresh: true,
		run:   asking(20, "GET", "/topics?match=**"),
	},
	{
		name:  "topics-list-one",
		what:  "four clients ask for the first topic of 200,000",
		fill:  manyTopics,
		fresh: true,
		run:   asking(4, "GET", "/topics?match=**&limit=1"),
	},
	{
		name: "topics-list-none",
		what: "20 clients list those topics of 200,000 that match a filter that none matches",
		fill: manyTopics,
		run:  asking(20, "GET", "/topics?match=*.*.none"),
	},
	{
		name: "topics-head",
		what: "20 clients send HEAD for the list of 200,000 topics",
		fill: manyTopics,
		run:  asking(20, "HEAD", "/topics?match=**&limit=1000"),
	},
	{
		name: "topics-last-head",
		what: "20 clients send HEAD for a stream with the newest message of each of 200,000 topics",
		fill: manyTopics,
		run:  asking(20, "HEAD", "/events?topic=**&from=last"),
	},
	{
		name: "topics-unread",
		what: "500 clients ask 100 times for 1,000 of 200,000 topics, and read no answer",
		fill: manyTopics,
		run:  unread(500, strings.Repeat(get("/topics?match=**&limit=1000"), 100)),
	},
	{
		name:  "topics-abandon",
		what:  "200,000 topics; clients ask for the newest message of each, and leave after 10 ms",
		fill:  manyTopics,
		fresh: true,
		run:   abandoning("/events?topic=**&from=last"),
	},
	{
		name: "topics-list-abandon",
		what: "the same with lists of topics that match nothing",
		fill: manyTopics,
		run:  abandoning("/topics?match=*.*.none"),
	},
	{
		name: "topics-last",
		what: "200,000 topics; 20 clients open stream after stream with the newest message of each",
		fill: manyTopics,
		run: func(ctx context.Context, t *target) string {
			came := newTally()
			n := repeat(ctx, 20, func(_, _ int) { came.count(outcome(openOnce(t.addr, "/events?topic=**&from=last", t.left()))) })
			return fmt.Sprintf("%d streams: %v", n, came)
		},
	},
	{
		name: "topics-new",
		what: "four clients publish to new topics, 10,000 in a batch",
		run: func(ctx context.Context, t *target) string {
			n := repeat(ctx, 4, func(w, i int) {
				if t.postLines(10_000, func(k int) string { return fmt.Sprintf(`{"topic":"new.t%d-%d-%d","data":1}`, w, i, k) }) == 200 {
					t.stored.Add(10_000 * topicBytes)
				}
			})
			return fmt.Sprintf("%d batches", n)
		},
	},
	{
		name: "replay-start",
		what: "200 streams that read 100 MB from the start, again and again",
		fill: bigLog,
		run:  replaying(200, "/events?topic=big.**&from=start"),
	},
	{
		name: "replay-start-apart",
		what: "the same, each stream with a filter of its own",
		fill: bigLog,
		run:  replaying(200, "/events?topic=big.**&topic=own%d&from=start"),
	},
	{
		name: "replay-nothing",
		what: "200 streams from the start of 100 MB, of which nothing matches",
		fill: bigLog,
		run:  replaying(200, "/events?topic=big.t1.none%d&topic=*.*.*.none&topic=*.*.q&from=start"),
	},
	{
		name: "replay-count",
		what: "200 streams with the newest 100,000 messages",
		fill: bigLog,
		run:  replaying(200, "/events?topic=big.**&from=100000"),
	},
	{
		name: "replay-count-nothing",
		what: "200 streams with the newest 100,000 messages of topics that have none",
		fill: bigLog,
		run:  replaying(200, "/events?topic=*.none%d&from=100000"),
	},
	{
		name: "replay-last",
		what: "200 streams with the newest message of 1,000 topics",
		fill: bigLog,
		run:  replaying(200, "/events?topic=big.**&from=last"),
	},
	{
		name: "history-unread",
		what: "200 clients ask for a history of 16 messages of 500 KiB that JSON makes six times as large, and read nothing",
		fill: escapedMessages,
		run:  unread(200, get("/topics/large.escaped/events?limit=1000")),
	},
	{
		name: "history-one-unread",
		what: "400 clients ask 10 times for one such message, and read nothing",
		fill: escapedMessage,
		run:  unread(400, strings.Repeat(get("/topics/large.one/events?limit=1"), 10)),
	},
	{
		name: "history-abandon",
		what: "clients ask for such a history, and leave after 10 ms",
		fill: escapedMessages,
		run:  abandoning("/topics/large.escaped/events?limit=1000"),
	},
	{
		name: "history-head",
		what: "20 clients send HEAD for such a history",
		fill: escapedMessages,
		run:  asking(20, "HEAD", "/topics/large.escaped/events?limit=1000"),
	},
	{
		name: "history-newest",
		what: "20 clients ask for the newest messages of a rare topic in 100 MB, page by page",
		fill: bigLog,
		run:  asking(20, "GET", "/history?topic=none.*&topic=*.none.**&order=desc&limit=1000"),
	},
	{
		name: "history-newest-unread",
		what: "200 clients ask for the newest of 16 messages of 500 KiB that JSON makes six times as large, and read nothing",
		fill: escapedMessages,
		run:  unread(200, get("/history?topic=large.**&order=desc&limit=1000")),
	},
	{
		name: "messages-at-random",
		what: "four clients ask for single messages of 100 MB, at random",
		fill: bigLog,
		run: func(ctx context.Context, t *target) string {
			n := repeat(ctx, 4, func(_, _ int) {
				res, err := attackersClient.Get(t.url("/topics/other/events/" + t.marks[rand.IntN(len(t.marks))]))
				if err == nil {
					io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
			return fmt.Sprintf("%d requests", n)
		},
	},
	{
		name:  "subscribers-count",
		what:  "3,000 streams through net/http on one topic; 16 clients ask how many they are",
		flags: []string{"--take-over=false"},
		run: func(ctx context.Context, t *target) string {
			var c crowd
			defer c.leave()
			each(ctx, t.many(3000), 8, func(int) { c.add(t.stream("/events?topic=" + controlTopic)) })
			c.drain()
			return fmt.Sprintf("%v; %s", &c, t.hammer(ctx, 16, "GET", "/topics/"+controlTopic))
		},
	},
	{
		name: "metrics",
		what: "5,000 streams; eight programs ask for the metrics, on the address for the operator",
		run: func(ctx context.Context, t *target) string {
			return besideStreams(5000, 8, "http://"+t.admin+"/metrics")(ctx, t)
		},
	},
	{
		name: "absent-unread",
		what: "500 clients ask 100 times for a path that is not there, and read nothing",
		run:  unread(500, strings.Repeat(get("/metrics"), 100)),
	},
	{
		name: "page",
		what: "5,000 streams; eight clients ask for the page's script",
		run:  besideStreams(5000, 8, "/app.js"),
	},
}

// manyTopics are 200,000 topics with a message each.
var manyTopics = &filling{func(s *server) ([]string, error) {
	_, err := s.publishAll(s.many(200_000), func(i int) string { return fmt.Sprintf(`{"topic":"many.t%d.x","data":"x"}`, i) })
	return nil, err
}}

// bigLog has 100 MB, most of them too old for the window. It marks each message.
var bigLog = &filling{func(s *server) ([]string, error) {
	data := strings.Repeat("d", 1000)
	return s.publishAll(s.many(100_000), func(i int) string { return batchLine(fmt.Sprintf("big.t%d", i%1000), data) })
}}

// largeMessages are messages of 500 KiB that are larger when they are encoded. Others come after
// them, so that these are too old for the window.
func largeMessages(topic string, n int, data string) *filling {
	return &filling{func(s *server) ([]string, error) {
		if _, err := s.publishAll(n, func(int) string { return batchLine(topic, strings.Repeat(data, 500<<10)) }); err != nil {
			return nil, err
		}
		return nil, fillWindow(s)
	}}
}

var (
	escapedMessages = largeMessages("large.escaped", 16, "\x01")
	escapedMessage  = largeMessages("large.one", 1, "\x01")
	lineMessages    = largeMessages("large.lines", 200, "\n")
)

func asking(clients int, method, path string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string { return t.hammer(ctx, clients, method, path) }
}

// unread has clients send requests, and read nothing.
func unread(clients int, requests string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		var c crowd
		defer c.leave()
		each(ctx, t.many(clients), 20, func(int) { c.add(t.send(4096, requests)) })
		<-ctx.Done()
		return c.String()
	}
}

// abandoning has clients ask, and hang up before the answer.
func abandoning(path string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		n := repeat(ctx, 4, func(_, _ int) {
			if conn, err := t.send(0, get(path)); err == nil {
				time.Sleep(10 * time.Millisecond)
				reset(conn)
			}
		})
		return fmt.Sprintf("%d requests", n)
	}
}

// replaying has streams read as fast as they can. When one ends, another one begins.
func replaying(streams int, path string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		opened := newTally()
		n := repeat(ctx, t.many(streams), func(w, _ int) {
			p := path
			if strings.Contains(p, "%d") {
				p = fmt.Sprintf(p, w)
			}
			conn, err := t.send(0, get(p))
			if err != nil {
				return
			}
			defer reset(conn)
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			line := make([]byte, 64<<10)
			k, _ := conn.Read(line)
			opened.count(string(line[:min(k, 12)]))
			io.CopyBuffer(io.Discard, struct{ io.Reader }{conn}, line)
		})
		return fmt.Sprintf("%d streams: %v", n, opened)
	}
}

// besideStreams has streams that do nothing, and clients that ask for a path or a URL.
func besideStreams(streams, clients int, path string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		var c crowd
		defer c.leave()
		each(ctx, t.many(streams), 8, func(int) { c.add(t.stream("/events?topic=nothing.here")) })
		return fmt.Sprintf("%v; %s", &c, t.hammer(ctx, clients, http.MethodGet, path))
	}
}

// postLines posts a batch, and returns the status of the answer, 0 for none.
func (t *target) postLines(n int, line func(i int) string) int {
	var b strings.Builder
	for i := range n {
		b.WriteString(line(i))
		b.WriteByte('\n')
	}
	return t.post("/batch", "application/x-ndjson", b.String())
}
