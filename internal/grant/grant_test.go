package grant

import (
	"math/rand/v2"
	"strings"
	"testing"

	"example.com/tidings/topics"
)

func TestCover(t *testing.T) {
	sixteen := strings.Repeat("a.", 15)
	for _, c := range []struct {
		grants, filter string
		want           bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a.*", "a.b", true},
		{"a.*", "a", false},
		{"a.b", "a.*", false},
		{"**", "**", true},
		{"**", "a.*.**", true},
		{"a.**", "**", false},
		{"a.**", "a.*", true},
		{"a.**", "a", false},
		{"a.*", "a.**", false},
		{"a.* a.*.**", "a.**", true},
		{"a.* a.*.*.**", "a.**", false},
		{"a.* a.*.* a.*.*.**", "a.**", true},
		{"a.b.* a.*.c", "a.b.c", true},
		{"a.b a.c", "a.*", false},
		{"*.**", "**", false},
		{"* *.**", "**", true},
		{sixteen + "*", sixteen + "**", true},
		{sixteen + "**", sixteen + "*", true},
		{sixteen + "b", sixteen + "**", false},
		{"", "a", false},
	} {
		grants := topics.MustFilters(strings.Fields(c.grants)...)
		if got := Cover(grants, topics.MustFilters(c.filter)[0]); got != c.want {
			t.Errorf("%q cover %s: %v", c.grants, c.filter, got)
		}
	}
	if Cover(topics.MustFilters("**"), topics.Filter{}) {
		t.Error("a filter that is none is covered")
	}
}

// topicsUpTo returns every topic of a few tokens, some of which no filter of the test names.
func topicsUpTo(length int) (all []string) {
	longest := []string{""}
	for range length {
		var longer []string
		for _, t := range longest {
			for _, token := range []string{"a", "b", "unnamed"} {
				longer = append(longer, strings.TrimPrefix(t+"."+token, "."))
			}
		}
		all, longest = append(all, longer...), longer
	}
	return all
}

func randomFilter(rnd *rand.Rand, length int) topics.Filter {
	tokens := make([]string, 1+rnd.IntN(length))
	for i := range tokens {
		tokens[i] = []string{"a", "b", "*", "*"}[rnd.IntN(4)]
	}
	if rnd.IntN(3) == 0 {
		tokens[len(tokens)-1] = "**"
	}
	return topics.MustFilters(strings.Join(tokens, "."))[0]
}

// Cover agrees with trying all topics. Topics longer than any of the filters are as those of
// the next length.
func TestCoverAgreesWithTryingAll(t *testing.T) {
	const length = 4
	all := topicsUpTo(length + 1)
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 1))
	covered := 0
	for range 20_000 {
		grants := make([]topics.Filter, 1+rnd.IntN(4))
		for i := range grants {
			grants[i] = randomFilter(rnd, length)
		}
		f := randomFilter(rnd, length)
		want := true
		for _, topic := range all {
			want = want && (!f.Match(topic) || topics.MatchAny(grants, topic))
		}
		if want {
			covered++
		}
		if got := Cover(grants, f); got != want {
			t.Fatalf("%v cover %v: %v, and by trying all %v", grants, f, got, want)
		}
	}
	if covered < 1000 {
		t.Errorf("only %d of the cases are covered", covered)
	}
}

// No grant reaches what is reserved.
func TestReserved(t *testing.T) {
	if Allow(topics.MustFilters("**"), "tidings.revoked") || !Allow(topics.MustFilters("**"), "tidingsx") {
		t.Error("** allows the wrong topics")
	}
}

func TestUncovered(t *testing.T) {
	grants := topics.MustFilters("a.**")
	if f, bad := Uncovered(grants, topics.MustFilters("a.b", "a.*", "b", "c")); !bad || f.String() != "b" {
		t.Errorf("%v, %v", f, bad)
	}
	if f, bad := Uncovered(grants, topics.MustFilters("a.b")); bad {
		t.Errorf("%v is not covered", f)
	}
}

func BenchmarkCover(b *testing.B) {
	f := topics.MustFilters("a." + strings.Repeat("*.", 14) + "**")[0]
	var grants []topics.Filter
	for i := range 64 {
		grants = append(grants, topics.MustFilters("a." + strings.Repeat("*.", 13) + string(rune('a'+i%26)))[0])
	}
	for b.Loop() {
		for range 100 {
			Cover(grants, f)
		}
	}
}
