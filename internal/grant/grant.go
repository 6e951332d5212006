// Package grant decides what grants allow. A grant is a topic filter: whoever has it may reach
// the topics that it matches, and none whose name is reserved.
package grant

import (
	"strings"

	"example.com/tidings/topics"
)

// Allow reports whether one of the grants matches a topic.
func Allow(grants []topics.Filter, topic string) bool {
	return !strings.HasPrefix(topic, topics.ReservedPrefix) && topics.MatchAny(grants, topic)
}

// Uncovered returns the first of some filters that the grants do not cover. ok is false if they
// cover all of them.
func Uncovered(grants, filters []topics.Filter) (first topics.Filter, ok bool) {
	for _, f := range filters {
		if !Cover(grants, f) {
			return f, true
		}
	}
	return topics.Filter{}, false
}

// Cover reports whether the grants together match every topic that a filter matches. That a
// topic has at most [topics.MaxBytes] is left out: it would only allow more.
//
// A topic has 1 to [topics.MaxTokens] tokens, and there are more tokens than any list of
// filters can name. So the topics of one length that the filter matches are covered by one
// grant, or not at all. Only a filter that ends in ** has topics of several lengths, for each
// of which it may be another grant.
func Cover(grants []topics.Filter, f topics.Filter) bool {
	need := lengths(f)
	for _, g := range grants {
		need &^= covered(g, f)
		if need == 0 {
			return f != topics.Filter{}
		}
	}
	return false
}

// A set of lengths has bit n for topics of n tokens.
type set uint32

// from returns the lengths from n on.
func from(n int) set { return (1<<(topics.MaxTokens+1) - 1) &^ (1<<n - 1) }

// lengths returns the lengths of the topics that a filter matches.
func lengths(f topics.Filter) set {
	n := strings.Count(f.String(), ".") + 1
	if open(f) {
		return from(n)
	}
	return 1 << n
}

func open(f topics.Filter) bool { return strings.HasSuffix(f.String(), "**") }

// covered returns the lengths of those topics of f that the grant matches.
func covered(grant, f topics.Filter) set {
	p, q := grant.String(), f.String()
	for {
		a, restA, moreA := strings.Cut(p, ".")
		b, restB, moreB := strings.Cut(q, ".")
		switch {
		case a == "**" || b == "**" && a == "*":
		case b == "**" || a != "*" && a != b:
			return 0
		}
		if a == "**" || !moreA {
			return lengths(grant)
		}
		p = restA
		if b != "**" {
			if !moreB {
				return 0
			}
			q = restB
		}
	}
}
