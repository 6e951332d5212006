package dispatch

import (
	"math/rand/v2"
	"strings"
	"testing"

	"example.com/tidings/topics"
)

// randomTopic returns a topic, or a filter, of a few tokens.
func randomTopic(r *rand.Rand, filter bool) string {
	tokens := make([]string, 1+r.IntN(4))
	for i := range tokens {
		tokens[i] = string(rune('a' + r.IntN(3)))
		if filter && r.IntN(3) == 0 {
			tokens[i] = "*"
		}
	}
	if filter && r.IntN(4) == 0 {
		tokens[len(tokens)-1] = "**"
	}
	return strings.Join(tokens, ".")
}

func TestIndexFindsWhatMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var x index[int]
	sets := map[int][]topics.Filter{}
	for i := range 3000 {
		if n := r.IntN(60); sets[n] != nil {
			x.remove(n, sets[n])
			delete(sets, n)
		} else {
			var patterns []string
			for range 1 + r.IntN(3) {
				patterns = append(patterns, randomTopic(r, true))
			}
			sets[n], _ = topics.ParseFilters(patterns...)
			x.add(n, sets[n])
		}
		topic := randomTopic(r, false)
		got := map[int]bool{}
		x.match(topic, func(n int) { got[n] = true })
		for n, filters := range sets {
			if got[n] != topics.MatchAny(filters, topic) {
				t.Fatalf("step %d: %v found for %s: %v", i, filters, topic, got[n])
			}
		}
	}
	for n := range sets {
		x.remove(n, sets[n])
	}
	if !x.root.empty() {
		t.Error("something is left in the index")
	}
}
