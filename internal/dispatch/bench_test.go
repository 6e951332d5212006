package dispatch

import (
	"fmt"
	"math/bits"
	"strings"
	"testing"

	"example.com/tidings/topics"
)

// starred returns the filters of 16 tokens that have * where a number of up to 16 bits has a
// one, for all numbers with the given counts of ones. Other tokens are a, and the last is end
// if that is not empty.
func starred(least, most int, end, suffix string) (patterns []string) {
	for k := range 1 << 16 {
		if n := bits.OnesCount(uint(k)); n < least || n > most || end != "" && k>>15 == 1 {
			continue
		}
		tokens := make([]string, 16)
		for i := range tokens {
			tokens[i] = "a*"[k>>i&1:][:1]
		}
		if end != "" {
			tokens[15] = end
		}
		patterns = append(patterns, strings.Join(tokens, ".")+suffix)
	}
	return patterns
}

// setsOf adds sets of up to 100 filters to an index, and returns how many.
func setsOf(x *index, patterns []string) (n int) {
	for ; len(patterns) > 0; n++ {
		some := patterns[:min(100, len(patterns))]
		x.add(&filterSet{Booking: &Booking{filters: topics.MustFilters(some...)}})
		patterns = patterns[len(some):]
	}
	return n
}

// The worst filters that streams may have, with a topic that the index does not remember: an
// upper bound of what matching one message costs a shard.
func BenchmarkIndexWorst(b *testing.B) {
	topic := strings.Repeat("a.", 15) + "a"
	decoys := func(patterns []string) (all []string) { // six more filters of each shape
		for _, p := range patterns {
			for i := range 6 {
				all = append(all, strings.ReplaceAll(p, "a", fmt.Sprint("b", i)))
			}
		}
		return append(all, patterns...)
	}
	for name, patterns := range map[string][]string{
		"four stars":            starred(4, 4, "", ""),
		"four stars, no match":  starred(0, 4, "q", ""),
		"up to four":            starred(0, 4, "", ""),
		"with decoys, no match": decoys(starred(0, 4, "q", "")),
		"all shapes":            worst(""),
		"all shapes, no match":  decoys(worst("q")),
	} {
		b.Run(name, func(b *testing.B) {
			var x index
			patterns = append(patterns, strings.Repeat("z.", 15)+"a") // so that each token is known
			sets := setsOf(&x, patterns)
			var found []*filterSet
			var steps int
			b.ReportAllocs()
			for b.Loop() {
				found, steps = x.match(topic, found[:0])
			}
			b.ReportMetric(float64(sets), "sets")
			b.ReportMetric(float64(x.nodes), "nodes")
			b.ReportMetric(float64(len(found)), "found")
			b.ReportMetric(float64(steps), "steps")
		})
	}
}

// The same topics again, and an ordinary hub.
func BenchmarkIndex(b *testing.B) {
	for name, patterns := range map[string][]string{
		"remembered": starred(4, 4, "", ""),
		"ordinary":   {"a.**", "a.a.*", "orders.*.status", "b", "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a"},
	} {
		b.Run(name, func(b *testing.B) {
			topic := strings.Repeat("a.", 15) + "a"
			var x index
			setsOf(&x, patterns)
			var scratch []*filterSet
			b.ReportAllocs()
			for b.Loop() {
				x.find(topic, &scratch)
			}
		})
	}
}

// A stream with 100 deep filters whose place is a whole window back, off the shard.
func BenchmarkPlace(b *testing.B) {
	patterns := starred(4, 4, "q", "")[:100]
	filters := topics.MustFilters(patterns...)
	names := make([]string, 8192)
	for i := range names {
		names[i] = fmt.Sprint(strings.Repeat("a.", 15), i)
	}
	b.ReportAllocs()
	for b.Loop() {
		m := newMatcher(filters)
		for _, name := range names {
			if m.match(name) {
				b.Fatal("a match")
			}
		}
	}
}
