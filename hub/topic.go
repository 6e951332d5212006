package hub

import (
	"fmt"
	"strings"
)

// The bounds of a topic and of a filter.
const (
	MaxTopicBytes  = 200
	MaxTopicTokens = 16
)

// ReservedPrefix begins the topics and event types that are the hub's own.
// Nothing can be published under it.
const ReservedPrefix = "tidings."

// CheckTopic returns nil if s is a topic: 1 to [MaxTopicTokens] tokens, joined
// by dots, at most [MaxTopicBytes] in all, each of one or more of the characters
// A–Z a–z 0–9 - _ ~ @ : = which need no encoding in a URL. The error is an
// [*InvalidError], or wraps [ErrReserved] for a topic of the hub's own.
func CheckTopic(s string) error {
	return checkTokens("topic", s, func(token string, _ bool) error {
		if strings.Contains(token, "*") {
			return invalid("topic", "%s has a *, which only filters may have", quote(s))
		}
		return nil
	})
}

// checkTokens checks what topics and filters have in common. each, which may be
// nil, checks a token in which it may allow a *.
func checkTokens(field, s string, each func(token string, last bool) error) error {
	switch {
	case s == "":
		return invalid(field, "is empty")
	case len(s) > MaxTopicBytes:
		return invalid(field, "has %d bytes, more than %d", len(s), MaxTopicBytes)
	case strings.Count(s, ".") >= MaxTopicTokens:
		return invalid(field, "%s has %d tokens, more than %d", quote(s), strings.Count(s, ".")+1, MaxTopicTokens)
	}
	for rest, more := s, true; more; {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		if token == "" {
			return invalid(field, "%s has an empty token: tokens are separated by single dots", quote(s))
		}
		for _, c := range token {
			if !tokenChar(c) && c != '*' {
				return invalid(field, "%s has %q, and may have only A-Z a-z 0-9 - _ ~ @ : = and dots between tokens", quote(s), c)
			}
		}
		if err := each(token, !more); err != nil {
			return err
		}
	}
	if strings.HasPrefix(s, ReservedPrefix) {
		return fmt.Errorf("%w: %s %s begins with %q", ErrReserved, field, quote(s), ReservedPrefix)
	}
	return nil
}

func tokenChar(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-_~@:=", c)
}

// A Filter says which topics are meant. It is a topic in which a token may be *,
// which stands for any one token, and the last may be **, which stands for one or
// more: orders.*.status, orders.**. Filters are comparable; the zero Filter
// matches nothing.
type Filter struct{ pattern string }

// ParseFilter returns the filter that s says. The error is an [*InvalidError],
// or wraps [ErrReserved].
func ParseFilter(s string) (Filter, error) {
	err := checkTokens("filter", s, func(token string, last bool) error {
		switch {
		case !strings.Contains(token, "*") || token == "*" || token == "**" && last:
			return nil
		case token == "**":
			return invalid("filter", "%s has ** before its end, and may have it only as its last token", quote(s))
		}
		return invalid("filter", "%s has the token %s: * and ** are tokens of their own", quote(s), quote(token))
	})
	if err != nil {
		return Filter{}, err
	}
	return Filter{s}, nil
}

// ParseFilters parses each of the strings.
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

// String returns the filter as it was parsed.
func (f Filter) String() string { return f.pattern }

// Exact reports whether the filter is a topic, and matches only that.
func (f Filter) Exact() bool { return f.pattern != "" && !strings.Contains(f.pattern, "*") }

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
			// "a.**" against "a": the ** wants a token more.
			return false
		}
		if !moreP {
			return true
		}
		pattern, topic = restP, restT
	}
}

// Covers reports whether every topic that g matches is matched by f too.
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

// matchAny reports whether one of the filters matches the topic.
func matchAny(filters []Filter, topic string) bool {
	for _, f := range filters {
		if f.Match(topic) {
			return true
		}
	}
	return false
}

// normalize returns filters that match what the given ones do, none of which is
// covered by another.
func normalize(filters []Filter) []Filter {
	var kept []Filter
next:
	for i, f := range filters {
		for j, g := range filters {
			// Of two equal ones the first is kept.
			if i != j && g.Covers(f) && (!f.Covers(g) || j < i) {
				continue next
			}
		}
		kept = append(kept, f)
	}
	return kept
}

// Token returns s as one token of a topic, whatever s holds; different strings
// become different tokens. Bytes that a token may not have, and =, become = and
// two hexadecimal digits; the empty string becomes a lone =. So a user's name, a
// path or an address can stand in a topic:
//
//	topic := "users." + hub.Token("zoë@example.org") + ".inbox"
//
// The bounds of the whole topic stay: s should have no more than some 60 bytes.
func Token(s string) string {
	if s == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		// The first token of a topic may not be the hub's own.
		if c != '=' && c < 0x80 && tokenChar(rune(c)) && !(i == 0 && s+"." == ReservedPrefix) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// quote quotes what a client sent, and shortens it.
func quote(s string) string {
	const enough = 60
	if r := []rune(s); len(r) > enough {
		s = string(r[:enough]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
