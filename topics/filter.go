package topics

import (
	"strings"

	"example.com/tidings/internal/quote"
)

// A Filter selects topics. It is a topic in which a token may be *, which matches any
// one token, and the last token may be **, which matches one or more: orders.*.status,
// orders.**. Filters are comparable. The zero Filter matches nothing.
type Filter struct{ pattern string }

// ParseFilter parses one filter. The error is an [*Error], or wraps [ErrReserved].
func ParseFilter(s string) (Filter, error) {
	err := checkTokens(s, func(token string, last bool) error {
		switch {
		case !strings.Contains(token, "*") || token == "*" || token == "**" && last:
			return nil
		case token == "**":
			return invalid("%s has ** before its end, and may have it only as its last token", quote.Short(s))
		}
		return invalid("%s has the token %s: * and ** are tokens of their own", quote.Short(s), quote.Short(token))
	})
	if err != nil {
		return Filter{}, err
	}
	return Filter{s}, nil
}

// ParseFilters parses several filters. Its error is that of the first that is invalid.
func ParseFilters(patterns ...string) ([]Filter, error) {
	filters := make([]Filter, 0, len(patterns))
	for _, s := range patterns {
		f, err := ParseFilter(s)
		if err != nil {
			return nil, err
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// MustFilters is [ParseFilters] for patterns that the program itself makes, with
// [Token] where they contain anything from outside. It panics if one is invalid.
func MustFilters(patterns ...string) []Filter {
	filters, err := ParseFilters(patterns...)
	if err != nil {
		panic(err)
	}
	return filters
}

// Reserved returns the filter of the topic [ReservedPrefix] + name, which belongs to the hub. It is
// for the hub: no other filter has that prefix.
func Reserved(name string) Filter { return Filter{ReservedPrefix + name} }

// String returns the filter's pattern.
func (f Filter) String() string { return f.pattern }

// MarshalText implements [encoding.TextMarshaler], so that logs and JSON show the pattern.
func (f Filter) MarshalText() ([]byte, error) { return []byte(f.pattern), nil }

// UnmarshalText implements [encoding.TextUnmarshaler], as [ParseFilter].
func (f *Filter) UnmarshalText(text []byte) (err error) {
	*f, err = ParseFilter(string(text))
	return err
}

// Exact reports whether the filter is a topic, and matches only that one.
func (f Filter) Exact() bool { return f.pattern != "" && !strings.Contains(f.pattern, "*") }

// Stars returns how many tokens of the filter are *. A last ** does not count.
func (f Filter) Stars() int {
	return strings.Count(strings.TrimSuffix(f.pattern, "**"), "*") // a * is a token of its own
}

// Match reports whether the filter matches a topic. It does not allocate.
func (f Filter) Match(topic string) bool {
	pattern := f.pattern
	for {
		p, restP, moreP := strings.Cut(pattern, ".")
		if p == "**" {
			return topic != ""
		}
		t, restT, moreT := strings.Cut(topic, ".")
		if p != t && p != "*" || t == "" || moreP != moreT {
			// The ** of "a.**" needs a token that the topic "a" does not have.
			return false
		}
		if !moreP {
			return true
		}
		pattern, topic = restP, restT
	}
}

// Covers reports whether f matches every topic that g matches.
func (f Filter) Covers(g Filter) bool {
	p, q := f.pattern, g.pattern
	if p == "" || q == "" {
		return false
	}
	for {
		a, restA, moreA := strings.Cut(p, ".")
		b, restB, moreB := strings.Cut(q, ".")
		switch {
		case a == "**":
			return true
		case b == "**", a != b && a != "*", moreA != moreB:
			return false
		case !moreA:
			return true
		}
		p, q = restA, restB
	}
}

// MatchAny reports whether one of the filters matches a topic. It does not allocate.
func MatchAny(filters []Filter, topic string) bool {
	for _, f := range filters {
		if f.Match(topic) {
			return true
		}
	}
	return false
}

// Reduce returns the filters without those that another one covers. The result matches
// the same topics.
func Reduce(filters []Filter) []Filter {
	// To compare the tokens as strings takes milliseconds for 100 filters.
	numbers := map[string]int{"": noToken, "*": oneToken, "**": allTokens}
	tokens := make([][]int, len(filters))
	for i, f := range filters {
		for token := range strings.SplitSeq(f.pattern, ".") {
			n, ok := numbers[token]
			if !ok {
				n = len(numbers)
				numbers[token] = n
			}
			tokens[i] = append(tokens[i], n)
		}
	}
	var kept []Filter
next:
	for i, f := range filters {
		for j := range filters {
			// Of two equal filters the first is kept.
			if i != j && covers(tokens[j], tokens[i]) && (!covers(tokens[i], tokens[j]) || j < i) {
				continue next
			}
		}
		kept = append(kept, f)
	}
	return kept
}

// The numbers of some tokens for covers. Others have other numbers.
const (
	noToken   = iota // of the zero filter
	oneToken         // *
	allTokens        // **
)

// covers is [Filter.Covers] for the numbers of the filters' tokens.
func covers(f, g []int) bool {
	if f[0] == noToken || g[0] == noToken {
		return false
	}
	for i, token := range f {
		switch {
		case token == allTokens:
			return true
		case g[i] == allTokens, token != g[i] && token != oneToken, (i == len(f)-1) != (i == len(g)-1):
			return false
		}
	}
	return true
}
