package dispatch

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"example.com/tidings/topics"
)

// randomTopic returns a topic, or a filter, of a few tokens.
func randomTopic(r *rand.Rand, filter bool) string {
	tokens := make([]string, 1+r.IntN(4))
	for i := range tokens {
		tokens[i] = []string{"a", "ab", "b"}[r.IntN(3)]
		if filter && r.IntN(3) == 0 {
			tokens[i] = "*"
		}
	}
	if filter && r.IntN(4) == 0 {
		tokens[len(tokens)-1] = "**"
	}
	return strings.Join(tokens, ".")
}

// newSet returns a set for an index alone.
func newSet(patterns ...string) *filterSet {
	return &filterSet{filters: topics.MustFilters(patterns...)}
}

func TestIndexFindsWhatMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var x index
	var scratch []*filterSet
	sets := map[int]*filterSet{}
	for i := range 3000 {
		if n := r.IntN(60); sets[n] != nil {
			x.remove(sets[n])
			delete(sets, n)
		} else {
			var patterns []string
			for range 1 + r.IntN(3) {
				patterns = append(patterns, randomTopic(r, true))
			}
			sets[n] = newSet(patterns...)
			x.add(sets[n])
		}
		topic := randomTopic(r, false)
		got := map[*filterSet]int{}
		found, _ := x.find(topic, &scratch)
		for _, set := range found {
			got[set]++
		}
		for _, set := range sets {
			want := 0
			if topics.MatchAny(set.filters, topic) {
				want = 1
			}
			if got[set] != want {
				t.Fatalf("step %d: %v found %d times for %s, want %d", i, set.filters, got[set], topic, want)
			}
		}
	}
	for _, set := range sets {
		x.remove(set)
	}
	if x.nodes != 0 || len(x.table.m) != 0 || len(x.byMask) != 0 || slices.ContainsFunc(x.shapes[:], func(s []*shape) bool { return len(s) > 0 }) {
		t.Errorf("something is left in the index: %+v", x)
	}
}

// A hash only finds a filter. Whether that matches is compared.
func TestPatternMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		topic := randomTopic(r, false)
		f := topics.MustFilters(randomTopic(r, true))[0]
		var x index
		set := &filterSet{filters: []topics.Filter{f}}
		x.add(set)
		p := set.places[0].pattern
		n := strings.Count(topic, ".") + 1
		if p.nodes > n || f.Exact() && p.nodes != n {
			continue
		}
		s := split{topic: topic}
		at := 0
		for i, text := range strings.Split(topic, ".") {
			at += len(text) + 1
			s.starts[i+1] = at
		}
		if n != p.nodes && p.shape.kind < shapeKinds || n == p.nodes && p.shape.kind >= shapeKinds {
			continue // the index does not compare these
		}
		if got := p.match(&s); got != f.Match(topic) {
			t.Fatalf("%s compared with %s: %v", f, topic, got)
		}
	}
}

func TestMatcher(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		var patterns []string
		for range 1 + r.IntN(300) {
			patterns = append(patterns, strings.ReplaceAll(randomTopic(r, true), "**", "*")+".x."+randomTopic(r, true))
		}
		filters := topics.MustFilters(patterns...)
		m := newMatcher(filters)
		for range 30 {
			topic := randomTopic(r, false) + ".x." + randomTopic(r, false)
			if got := m.match(topic); got != topics.MatchAny(filters, topic) {
				t.Fatalf("%v: %s matches: %v", filters, topic, got)
			}
		}
	}
}
