package dispatch

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"strconv"
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
	return &filterSet{Booking: &Booking{filters: topics.MustFilters(patterns...)}}
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
	if x.nodes != 0 || len(x.table.m) != 0 || len(x.tokens.m) != 0 || len(x.at) != 0 || slices.ContainsFunc(x.shapes[:], func(s []shape) bool { return len(s) > 0 }) {
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
		set := &filterSet{Booking: &Booking{filters: []topics.Filter{f}}}
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

// worst is every filter of up to four * that may match a topic of 16 tokens a.
func worst(end string) (patterns []string) {
	patterns = starred(0, 4, end, "")
	for tokens := range 16 {
		for k := range 1 << tokens {
			if bits.OnesCount(uint(k)) <= 4 {
				prefix := ""
				for i := range tokens {
					prefix += "a*"[k>>i&1:][:1] + "."
				}
				patterns = append(patterns, prefix+"**")
			}
		}
	}
	return patterns
}

// However many filters there are, a message costs a bounded number of steps.
func TestIndexIsBounded(t *testing.T) {
	var x index
	patterns := worst("")
	for _, p := range patterns {
		if p = strings.ReplaceAll(p, "a", "b"); strings.Contains(p, "b") {
			patterns = append(patterns, p)
		}
	}
	setsOf(&x, patterns)
	topic := strings.Repeat("b.", 15) + "a"
	_, steps := x.match(topic, nil)
	found := 0
	for _, f := range topics.MustFilters(patterns...) {
		if f.Match(topic) {
			found++
		}
	}
	if steps-found > 9401 {
		t.Errorf("%d steps, and %d filters that match", steps-found, found)
	}
	if _, steps := x.match("b.c.d", nil); steps > 15+3*15 {
		t.Errorf("%d steps for a topic of three tokens", steps)
	}
}

// A topic whose tokens no filter has costs next to nothing, whatever filters there are.
func TestIndexOfUnknownTokens(t *testing.T) {
	var x index
	setsOf(&x, worst(""))
	if _, steps := x.match(strings.Repeat("b.", 15)+"b", nil); steps > 100 {
		t.Errorf("%d steps", steps)
	}
}

// What a topic has matched is remembered, and forgotten when it would match something else.
func TestIndexRemembers(t *testing.T) {
	var x index
	var scratch []*filterSet
	setsOf(&x, append(starred(0, 4, "q", ""), "a.**"))
	topic := strings.Repeat("a.", 15) + "c"
	find := func(want int) {
		t.Helper()
		before := len(x.memo.m)
		sets, _ := x.find(topic, &scratch)
		first := len(sets)
		sets, steps := x.find(topic, &scratch)
		if steps != 1 || len(sets) != first {
			t.Errorf("the second time: %d steps and %d sets, the first time %d sets", steps, len(sets), first)
		}
		plain, _ := x.match(topic, nil)
		if len(plain) != first || want >= 0 && first != want {
			t.Errorf("%d sets, want %d and %d (%d topics were remembered)", first, len(plain), want, before)
		}
	}
	find(-1)
	n := len(x.memo.m[topic])
	exact, other, wild := newSet(topic), newSet("other", "b.c"), newSet("*.a.**")
	x.add(other)
	if len(x.memo.m) != 1 {
		t.Error("a filter that concerns no remembered topic makes the index forget one")
	}
	for i, set := range []*filterSet{exact, wild} {
		x.add(set)
		find(n + 1 + i)
	}
	x.remove(exact)
	find(n + 1)
	x.remove(wild)
	find(n)
	if allocs := testing.AllocsPerRun(100, func() { x.find(topic, &scratch) }); allocs != 0 {
		t.Errorf("%v allocations for a topic that is remembered", allocs)
	}
	for i := range 3 * memoTopics {
		x.find(topic+strconv.Itoa(i), &scratch)
	}
	if len(x.memo.m) > memoTopics || x.memo.sets > memoSets {
		t.Errorf("%d topics and %d sets are remembered", len(x.memo.m), x.memo.sets)
	}
	if allocs := testing.AllocsPerRun(100, func() { x.match(topic, scratch[:0]) }); allocs != 0 {
		t.Errorf("%v allocations for a topic that is not remembered", allocs)
	}
}
