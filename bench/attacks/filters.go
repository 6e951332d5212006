//go:build linux

package main

import (
	"context"
	"fmt"
	"math/bits"
	"net/url"
	"strings"
	"time"
)

// Attacks with filters: on matching messages, on placing streams, and on the memory of both.
var filterAttacks = []attack{
	{
		name: "filters-8-stars",
		what: "128 streams with 100 filters of 16 tokens, eight of them `*`; 200 messages/s that they all match",
		run:  starred(8, 8, sameTopic),
	},
	{
		name: "filters-4-stars",
		what: "the same with each of the 2,517 filters of up to four `*`",
		run:  starred(0, 4, sameTopic),
	},
	{
		name: "filters-4-stars-apart",
		what: "the same, each message to a topic of its own",
		run:  starred(0, 4, ownTopic),
	},
	{
		name: "filters-all",
		what: "each filter of `a` and `*` in 16 tokens, 65,536 on 656 streams; 200 messages/s",
		run:  starred(0, 16, sameTopic),
	},
	{
		name: "filters-large",
		what: "the filters of four `*` and messages of 60 KiB as fast as they are stored",
		run: func(ctx context.Context, t *target) string {
			c := subscribeStarred(ctx, t, 0, 4)
			defer c.leave()
			body := strings.Repeat("b", 60<<10)
			n := repeat(ctx, 4, func(int, int) { t.publish(sameTopic(0), body) })
			return fmt.Sprintf("%v; %d messages", c, n)
		},
	},
	{
		name: "filters-literal",
		what: "2,000 streams with 100 filters of 16 tokens, each filter different",
		run: func(ctx context.Context, t *target) string {
			var c crowd
			defer c.leave()
			each(ctx, t.many(2000), 8, func(i int) { c.add(t.stream(literalFilters(i))) })
			<-ctx.Done()
			return c.String()
		},
	},
	{
		name: "filters-long",
		what: "the same with filters of 200 bytes",
		run: func(ctx context.Context, t *target) string {
			var c crowd
			defer c.leave()
			each(ctx, t.many(2000), 8, func(i int) { c.add(t.stream(longFilters(i))) })
			<-ctx.Done()
			return c.String()
		},
	},
	{
		name: "filters-http10",
		what: "the same over HTTP/1.0",
		run: func(ctx context.Context, t *target) string {
			return held(ctx, t, 2000, func(i int) string { return request("GET", longFilters(i), "HTTP/1.0") })
		},
	},
	{
		name: "filters-churn",
		what: "streams with 100 different filters that come and go",
		run: func(ctx context.Context, t *target) string {
			came := newTally()
			n := repeat(ctx, 8, func(w, i int) {
				a, err := openOnce(t.addr, literalFilters(w*1_000_000+i), t.left())
				came.count(outcome(a, err))
			})
			return fmt.Sprintf("%d streams: %v", n, came)
		},
	},
	{
		name: "place-15-stars",
		what: "streams that begin 7,000 messages back with 100 filters of 15 `*` that match nothing",
		fill: markWindow,
		run:  place(15),
	},
	{
		name: "place-4-stars",
		what: "the same with four `*`, at the worst places",
		fill: markWindow,
		run:  place(4),
	},
	{
		name: "place-literal",
		what: "the same with filters that differ from the topic in the last token",
		fill: markWindow,
		run:  place(0),
	},
}

// tokens is how many tokens the filters of these attacks have, the most that there may be.
const tokens = 16

// deepTopic is the topic that these filters match.
var deepTopic = strings.TrimSuffix(strings.Repeat("a.", tokens), ".")

func sameTopic(int) string { return deepTopic }

// ownTopic returns another topic each time, in which two tokens are not a.
func ownTopic(i int) string {
	all := strings.Split(deepTopic, ".")
	all[i%tokens], all[(i/tokens+1)%tokens] = fmt.Sprint("t", i), fmt.Sprint("u", i)
	return strings.Join(all, ".")
}

// starredFilter returns a filter with * where the bits of mask are set, and a elsewhere.
func starredFilter(mask int) string {
	all := strings.Split(deepTopic, ".")
	for i := range all {
		if mask>>i&1 == 1 {
			all[i] = "*"
		}
	}
	return strings.Join(all, ".")
}

// streamPath returns the path of a stream with filters.
func streamPath(filters []string) string {
	return "/events?" + url.Values{"topic": filters}.Encode()
}

// subscribeStarred opens streams with each filter that has least to most *, 100 on a stream.
func subscribeStarred(ctx context.Context, t *target, least, most int) *crowd {
	var filters []string
	for mask := range 1 << tokens {
		if n := bits.OnesCount(uint(mask)); n >= least && n <= most {
			filters = append(filters, starredFilter(mask))
		}
	}
	c := &crowd{}
	each(ctx, t.many((len(filters)+99)/100), 8, func(i int) {
		c.add(t.stream(streamPath(filters[i*100 : min(len(filters), (i+1)*100)])))
	})
	c.drain()
	return c
}

func starred(least, most int, topic func(i int) string) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		c := subscribeStarred(ctx, t, least, most)
		defer c.leave()
		n := t.publishEvery(ctx, 5*time.Millisecond, topic, "x")
		return fmt.Sprintf("%v; %d messages", c, n)
	}
}

// literalFilters returns the path of a stream with 100 filters that no other stream has.
func literalFilters(stream int) string {
	filters := make([]string, 100)
	for i := range filters {
		filters[i] = fmt.Sprintf("%d-%d.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p", stream, i)
	}
	return streamPath(filters)
}

// longFilters returns the path of a stream with 100 filters of 200 bytes that no other stream has.
func longFilters(stream int) string {
	filters := make([]string, 100)
	for i := range filters {
		filters[i] = fmt.Sprintf("%090d.%0109d", stream, i)
	}
	return streamPath(filters)
}

// markWindow fills the window with messages to deepTopic, and marks the id of an early one.
var markWindow = &filling{func(s *server) ([]string, error) {
	ids, err := s.publishAll(9000, func(int) string { return batchLine(deepTopic, "x") })
	if err != nil {
		return nil, err
	}
	return []string{ids[len(ids)-7000]}, nil
}}

// place opens streams at the mark, as fast as they are answered. The filters have so many *.
func place(stars int) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		came := newTally()
		n := repeat(ctx, 8, func(w, i int) {
			filters := make([]string, 100)
			for k := range filters {
				// The stars are in the first tokens, where each multiplies the ways to go.
				mask := 1<<stars - 1
				if stars > 0 && stars < tokens-2 {
					mask = mask>>1<<(1+k%(tokens-1-stars)) | 1
				}
				filter := starredFilter(mask &^ (1 << (tokens - 1)))
				filters[k] = strings.TrimSuffix(filter, "a") + fmt.Sprintf("q%d-%d-%d", w, i, k)
			}
			a, err := openOnce(t.addr, streamPath(filters), t.left(), "Last-Event-ID: "+t.marks[0])
			came.count(outcome(a, err))
		})
		return fmt.Sprintf("%d streams: %v", n, came)
	}
}

// outcome names how a newcomer of an attack was answered.
func outcome(a answer, err error) string {
	switch {
	case err != nil:
		return "no answer"
	case a.good():
		return "open"
	default:
		return fmt.Sprint(a.status)
	}
}
