package dispatch

import (
	"strings"

	"example.com/tidings/topics"
)

// A matcher reports whether one of several filters matches a topic. It looks up each token of
// the topic once, and so takes no longer for many filters than for one. Making a matcher
// takes as long as some topics. It never changes.
type matcher struct{ groups []group }

// A mask has a bit for each filter of a group.
type mask [2]uint64

// maskBits is how many filters a group has. One group is enough for a stream of package hub.
const maskBits = 128

func (m *mask) set(i int) { m[i/64] |= 1 << (i % 64) }

// A group has up to maskBits filters.
type group struct {
	tokens [topics.MaxTokens]tokenMasks
	exact  [topics.MaxTokens + 1]mask // the filters without ** of so many tokens
	rest   [topics.MaxTokens + 1]mask // those with **, of at most so many tokens with it
}

// tokenMasks says which filters match what token at one place of a topic. A filter with **
// matches any token from there on.
type tokenMasks struct {
	any  mask // with any token
	only map[string]mask
}

func newMatcher(filters []topics.Filter) *matcher {
	m := &matcher{groups: make([]group, (len(filters)+maskBits-1)/maskBits)}
	for i, f := range filters {
		m.groups[i/maskBits].add(i%maskBits, f)
	}
	return m
}

// add adds a filter as number i of the group.
func (g *group) add(i int, f topics.Filter) {
	prefix, rest := cutRest(f)
	n := 0 // tokens
	if prefix != "" {
		for text := range strings.SplitSeq(prefix, ".") {
			at := &g.tokens[n]
			if n++; text == "*" {
				at.any.set(i)
				continue
			}
			if at.only == nil {
				at.only = map[string]mask{}
			}
			only := at.only[text]
			only.set(i)
			at.only[text] = only
		}
	}
	if !rest {
		g.exact[n].set(i)
		return
	}
	for at := n; at < topics.MaxTokens; at++ {
		g.tokens[at].any.set(i)
		g.rest[at+1].set(i)
	}
}

// match reports whether a stream with the filters gets the messages of a topic: whether one of
// them matches it. No stream gets those of the hub's own topics. It does not allocate.
func (m *matcher) match(topic string) bool {
	if strings.HasPrefix(topic, topics.ReservedPrefix) {
		return false
	}
	for i := range m.groups {
		if m.groups[i].match(topic) {
			return true
		}
	}
	return false
}

func (g *group) match(topic string) bool {
	found := mask{^uint64(0), ^uint64(0)}
	n := 0
	for more := true; more; n++ {
		var text string
		text, topic, more = strings.Cut(topic, ".")
		if n == len(g.tokens) {
			return false // it is no topic
		}
		at := &g.tokens[n]
		only := at.only[text]
		found[0] &= at.any[0] | only[0]
		found[1] &= at.any[1] | only[1]
		if found == (mask{}) {
			return false
		}
	}
	exact, rest := g.exact[n], g.rest[n]
	return found[0]&(exact[0]|rest[0])|found[1]&(exact[1]|rest[1]) != 0
}
