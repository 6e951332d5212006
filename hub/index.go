package hub

import "strings"

// An index finds the cursors whose filters match a topic without asking each: by
// a tree of the filters' tokens. It is guarded by the hub's mu.
type index struct{ root node }

// A node stands for the filters that begin with the tokens on the way to it.
type node struct {
	next map[string]*node // by token, * among them
	here map[*cursor]int  // filters that end here, by cursor
	rest map[*cursor]int  // filters that go on with a last **
}

// add adds a cursor's filters.
func (x *index) add(c *cursor) {
	for _, f := range c.filters {
		n := &x.root
		prefix, rest := strings.CutSuffix(f.pattern, "**")
		prefix = strings.TrimSuffix(prefix, ".")
		if prefix != "" {
			for token := range strings.SplitSeq(prefix, ".") {
				if n.next == nil {
					n.next = map[string]*node{}
				}
				if n.next[token] == nil {
					n.next[token] = &node{}
				}
				n = n.next[token]
			}
		}
		at := &n.here
		if rest {
			at = &n.rest
		}
		if *at == nil {
			*at = map[*cursor]int{}
		}
		(*at)[c]++
	}
}

// remove removes what add has added.
func (x *index) remove(c *cursor) {
	for _, f := range c.filters {
		x.root.remove(c, f.pattern)
	}
}

// remove removes a filter below n, and reports whether nothing is left there.
func (n *node) remove(c *cursor, pattern string) (empty bool) {
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

func forget(m map[*cursor]int, c *cursor) {
	if m[c]--; m[c] == 0 {
		delete(m, c)
	}
}

func (n *node) empty() bool { return len(n.next) == 0 && len(n.here) == 0 && len(n.rest) == 0 }

// match calls f for each cursor of which a filter matches the topic, once for
// each such filter.
func (x *index) match(topic string, f func(*cursor)) { x.root.match(topic, f) }

func (n *node) match(topic string, f func(*cursor)) {
	for c := range n.rest {
		f(c)
	}
	token, rest, more := strings.Cut(topic, ".")
	for _, child := range [...]*node{n.next[token], n.next["*"]} {
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
