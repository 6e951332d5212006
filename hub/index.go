package hub

import "strings"

// An index finds those whose filters match a topic without asking each: by a tree of
// the filters' tokens. It has no lock of its own.
type index[T comparable] struct{ root node[T] }

// A node stands for the filters that begin with the tokens on the way to it.
type node[T comparable] struct {
	next map[string]*node[T] // by token, * among them
	here map[T]int           // filters that end here, by whose they are
	rest map[T]int           // filters that go on with a last **
}

// add adds filters that are of c.
func (x *index[T]) add(c T, filters []Filter) {
	for _, f := range filters {
		n := &x.root
		prefix, rest := strings.CutSuffix(f.pattern, "**")
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

// remove removes what add has added.
func (x *index[T]) remove(c T, filters []Filter) {
	for _, f := range filters {
		x.root.remove(c, f.pattern)
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

// match calls f for each of whom a filter matches the topic, once for each such
// filter.
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
