package dispatch

import (
	"strings"

	"example.com/tidings/topics"
)

// An index finds the owners of the filters that match a topic. It is a tree of the filters'
// tokens, and does not have to try each filter. It has no lock of its own.
type index[T comparable] struct{ root node[T] }

// A node stands for the filters that begin with the tokens on the way to it.
type node[T comparable] struct {
	next map[string]*node[T] // by token, * among them
	here map[T]int           // how many filters end here, by owner
	rest map[T]int           // how many filters go on with a last **, by owner
}

// add adds filters of an owner.
func (x *index[T]) add(c T, filters []topics.Filter) {
	for _, f := range filters {
		n := &x.root
		prefix, rest := strings.CutSuffix(f.String(), "**")
		prefix = strings.TrimSuffix(prefix, ".")
		if prefix != "" {
			for token := range strings.SplitSeq(prefix, ".") {
				if n.next == nil {
					n.next = map[string]*node[T]{}
				}
				if n.next[token] == nil {
					n.next[token] = &node[T]{}
				}
				n = n.next[token]
			}
		}
		at := &n.here
		if rest {
			at = &n.rest
		}
		if *at == nil {
			*at = map[T]int{}
		}
		(*at)[c]++
	}
}

// remove removes filters that add has added.
func (x *index[T]) remove(c T, filters []topics.Filter) {
	for _, f := range filters {
		x.root.remove(c, f.String())
	}
}

// remove removes a filter below n, and reports whether nothing is left there.
func (n *node[T]) remove(c T, pattern string) (empty bool) {
	token, rest, more := strings.Cut(pattern, ".")
	switch {
	case token == "**":
		forget(n.rest, c)
	default:
		child := n.next[token]
		if more {
			empty = child.remove(c, rest)
		} else {
			forget(child.here, c)
			empty = child.empty()
		}
		if empty {
			delete(n.next, token)
		}
	}
	return n.empty()
}

func forget[T comparable](m map[T]int, c T) {
	if m[c]--; m[c] == 0 {
		delete(m, c)
	}
}

func (n *node[T]) empty() bool { return len(n.next) == 0 && len(n.here) == 0 && len(n.rest) == 0 }

// match calls f for the owner of each filter that matches the topic.
func (x *index[T]) match(topic string, f func(T)) { x.root.match(topic, f) }

func (n *node[T]) match(topic string, f func(T)) {
	for c := range n.rest {
		f(c)
	}
	token, rest, more := strings.Cut(topic, ".")
	for _, child := range [...]*node[T]{n.next[token], n.next["*"]} {
		switch {
		case child == nil:
		case more:
			child.match(rest, f)
		default:
			for c := range child.here {
				f(c)
			}
		}
	}
}
