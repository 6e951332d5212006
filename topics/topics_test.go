package topics_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/tidings/topics"
)

func TestTopics(t *testing.T) {
	for _, tt := range []struct {
		rule, topic string
		says        string // in the error; "" for none
	}{
		{"one token", "messages", ""},
		{"several tokens", "orders.42.status", ""},
		{"every character", "AZaz09-_~@:=.x", ""},
		{"16 tokens", strings.Repeat("a.", 15) + "a", ""},
		{"200 bytes", strings.Repeat("a", 200), ""},
		{"tidings alone is not the hub's", "tidings", ""},
		{"nor what begins like it", "tidings-a.b", ""},
		{"nor one further on", "a.tidings.b", ""},
		{"empty", "", "is empty"},
		{"17 tokens", strings.Repeat("a.", 16) + "a", "17 tokens"},
		{"201 bytes", strings.Repeat("a", 201), "201 bytes"},
		{"an empty token at the begin", ".a", "empty token"},
		{"at the end", "a.", "empty token"},
		{"in between", "a..b", "empty token"},
		{"a space", "a b", `' '`},
		{"a slash", "a/b", `'/'`},
		{"a percent sign", "a%2Eb", `'%'`},
		{"NATS's wildcard", "a.>", `'>'`},
		{"beyond ASCII", "zoë", `'ë'`},
		{"a NUL", "a\x00", `'\x00'`},
		{"no UTF-8", "a\xff", `'�'`},
		{"a wildcard", "a.*", "only filters"},
		{"a wildcard within a token", "a*", "only filters"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			err := topics.Check(tt.topic)
			if tt.says == "" {
				if err != nil {
					t.Errorf("%q: %v", tt.topic, err)
				}
				return
			}
			invalid, ok := errors.AsType[*topics.Error](err)
			if !ok || !strings.Contains(invalid.Reason, tt.says) {
				t.Errorf("%q: %v, want one that says %q", tt.topic, err, tt.says)
			}
		})
	}
	if err := topics.Check("tidings.gap"); !errors.Is(err, topics.ErrReserved) {
		t.Errorf("tidings.gap: %v, want ErrReserved", err)
	}
}

func TestFilters(t *testing.T) {
	for _, tt := range []struct {
		filter   string
		match    string // topics
		mismatch string
	}{
		{"a", "a", "b aa a.a"},
		{"a.b", "a.b", "a b a.c a.b.c"},
		{"*", "a b", "a.b"},
		{"a.*", "a.b a.c", "a a.b.c b.a"},
		{"*.b", "a.b b.b", "b a.b.c"},
		{"a.*.c", "a.b.c", "a.c a.b.b.c a.b.d"},
		{"**", "a a.b a.b.c", ""},
		{"a.**", "a.b a.b.c", "a b b.a"},
		{"*.**", "a.b a.b.c", "a"},
		{"a.*.**", "a.b.c a.b.c.d", "a a.b"},
	} {
		f, err := topics.ParseFilter(tt.filter)
		if err != nil {
			t.Fatal(err)
		}
		if f.String() != tt.filter || f.Exact() == strings.Contains(tt.filter, "*") {
			t.Errorf("%s: it says of itself that it is %s, exact %v", tt.filter, f, f.Exact())
		}
		for topic := range strings.FieldsSeq(tt.match) {
			if !f.Match(topic) {
				t.Errorf("%s does not match %s", f, topic)
			}
		}
		for topic := range strings.FieldsSeq(tt.mismatch) {
			if f.Match(topic) {
				t.Errorf("%s matches %s", f, topic)
			}
		}
	}
	for filter, says := range map[string]string{
		"":         "is empty",
		"**.a":     "before its end",
		"a.**.b":   "before its end",
		"a*":       "tokens of their own",
		"***":      "tokens of their own",
		"a.b*.c":   "tokens of their own",
		"a.>":      `'>'`,
		"a..*":     "empty token",
		"a.*.":     "empty token",
		"a b":      `' '`,
		"*.#.c":    `'#'`,
		"a.b\nc.*": `'\n'`,
	} {
		_, err := topics.ParseFilter(filter)
		invalid, ok := errors.AsType[*topics.Error](err)
		if !ok || !strings.Contains(invalid.Reason, says) {
			t.Errorf("%q: %v, want one that says %q", filter, err, says)
		}
	}
	for _, reserved := range []string{"tidings.**", "tidings.a"} {
		if _, err := topics.ParseFilter(reserved); !errors.Is(err, topics.ErrReserved) {
			t.Errorf("%s: %v, want ErrReserved", reserved, err)
		}
	}
	if (topics.Filter{}).Match("") || (topics.Filter{}).Match("a") {
		t.Error("the zero Filter matches something")
	}
}

// literal is what a filter says, as a regular expression.
func literal(filter string) *regexp.Regexp {
	var parts []string
	for token := range strings.SplitSeq(filter, ".") {
		switch token {
		case "*":
			parts = append(parts, `[^.]+`)
		case "**":
			parts = append(parts, `[^.]+(\.[^.]+)*`)
		default:
			parts = append(parts, regexp.QuoteMeta(token))
		}
	}
	return regexp.MustCompile(`\A` + strings.Join(parts, `\.`) + `\z`)
}

func FuzzFilter(f *testing.F) {
	f.Add("a.*.c", "a.b.c")
	f.Add("orders.**", "orders.42.status")
	f.Add("a.**.b", "a.b.b")
	f.Add("tidings.**", "tidings.x")
	f.Add("*.**", "zoë..")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		parsed, err := topics.ParseFilter(filter)
		if err != nil {
			return
		}
		if topics.Check(topic) != nil {
			return
		}
		if got, want := parsed.Match(topic), literal(filter).MatchString(topic); got != want {
			t.Errorf("%q matches %q: %v, want %v", filter, topic, got, want)
		}
		if parsed.Exact() && topics.Check(filter) != nil {
			t.Errorf("%q is exact and no topic", filter)
		}
	})
}

func FuzzTopic(f *testing.F) {
	f.Add("orders.42")
	f.Add("a..b")
	f.Add("tidings.a")
	f.Add("a.*")
	valid := regexp.MustCompile(`\A[A-Za-z0-9_~@:=-]+(\.[A-Za-z0-9_~@:=-]+){0,15}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		want := valid.MatchString(s) && len(s) <= 200 && !strings.HasPrefix(s, "tidings.")
		if got := topics.Check(s) == nil; got != want {
			t.Errorf("%q is a topic: %v, want %v", s, got, want)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("zoë@example.org", "a")
	f.Add("", "=")
	f.Add("=", "=3D")
	f.Add("tidings", "=74idings")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := topics.Token(a), topics.Token(b)
		if (a == b) != (x == y) {
			t.Errorf("%q and %q become %q and %q", a, b, x, y)
		}
		if topic := x + ".x"; len(topic) <= topics.MaxBytes && topics.Check(topic) != nil {
			t.Errorf("%q becomes %q, which is no token: %v", a, x, topics.Check(topic))
		}
	})
}

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

func matches(filters []topics.Filter, topic string) bool {
	return slices.ContainsFunc(filters, func(f topics.Filter) bool { return f.Match(topic) })
}

// Without those that others cover, filters match the same.
func TestReducedFiltersMatchTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	smaller := 0
	for range 2000 {
		var patterns []string
		for range 1 + r.IntN(5) {
			patterns = append(patterns, randomTopic(r, true))
		}
		filters, err := topics.ParseFilters(patterns...)
		if err != nil {
			t.Fatal(err)
		}
		reduced := topics.Reduce(filters)
		if len(reduced) < len(filters) {
			smaller++
		}
		for range 50 {
			topic := randomTopic(r, false)
			if matches(filters, topic) != matches(reduced, topic) {
				t.Fatalf("%v and %v differ about %s", filters, reduced, topic)
			}
		}
		for i, f := range reduced {
			for j, g := range reduced {
				if i != j && f.Covers(g) {
					t.Fatalf("of %v, %v is left: %s covers %s", filters, reduced, f, g)
				}
			}
		}
	}
	if smaller == 0 {
		t.Error("no filter was ever covered: the test is blind")
	}
}

// Reduce leaves out what another filter covers, and of equal ones all but the first.
func TestReduceLeavesOutWhatIsCovered(t *testing.T) {
	tokens := []string{"a", "b", "*", "**"}
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0))
		var filters []topics.Filter
		for range 1 + random.IntN(8) {
			pattern := make([]string, 1+random.IntN(4))
			for i := range pattern {
				if pattern[i] = tokens[random.IntN(len(tokens))]; pattern[i] == "**" {
					pattern = pattern[:i+1]
					break
				}
			}
			filters = append(filters, topics.MustFilters(strings.Join(pattern, "."))[0])
		}
		if seed%5 == 0 {
			filters = append(filters, topics.Filter{})
		}
		var want []topics.Filter
		for i, f := range filters {
			covered := false
			for j, g := range filters {
				covered = covered || i != j && g.Covers(f) && (!f.Covers(g) || j < i)
			}
			if !covered {
				want = append(want, f)
			}
		}
		if got := topics.Reduce(filters); !slices.Equal(got, want) {
			t.Fatalf("seed %d: Reduce(%v) is %v, want %v", seed, filters, got, want)
		}
	}
}

// The most filters that a stream may have, which differ in their last tokens only.
func BenchmarkReduce(b *testing.B) {
	var filters []topics.Filter
	for i := range 100 {
		filters = append(filters, topics.MustFilters(fmt.Sprintf("%s%d", strings.Repeat("a.", 15), i))...)
	}
	for b.Loop() {
		topics.Reduce(filters)
	}
}
