package dispatch

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"strings"

	"example.com/tidings/internal/delivery"
	"example.com/tidings/topics"
)

// An index finds the sets whose filters match a topic.
//
// The shape of a filter is how many tokens it has, which of them are *, and whether it ends in
// **. The filters of one shape that match a topic have the same tokens at the other places. So
// one look into a table finds them, however many there are. A topic costs one look for each
// shape that can match it. As a filter of a stream has at most hub.MaxStars tokens *, a topic
// of 16 tokens has at most 9,401 of them, and one of three tokens at most 15. Where no filter
// has the topic's token, only shapes with * there can match. So most topics cost less.
//
// An index has no lock of its own.
type index struct {
	seed   maphash.Seed            // zero until the first filter is added
	shapes [2 * shapeKinds][]shape // by shapeKind
	at     map[shapeKey]int        // where in shapes[kind] a shape is
	table  table[uint64, *pattern] // by hash
	stars  [2 * shapeKinds]int     // the most tokens * of shapes, by shapeKind
	tokens table[uint64, int]      // how many filters have a token at a place, by hashToken
	nodes  int                     // tokens of all patterns
	memo   memo
	round  uint64 // of match, see filterSet.round
}

// A shapeKey says which shape a filter has.
type shapeKey struct {
	kind uint8  // see shapeKind
	mask uint16 // has a bit for each token that is *
}

// shapeKinds is how many numbers of tokens a filter may have, from 0 for **.
const shapeKinds = topics.MaxTokens + 1

// shapeKind returns a number for how many tokens a filter has, and whether ** follows.
func shapeKind(tokens int, rest bool) uint8 {
	if rest {
		tokens += shapeKinds
	}
	return uint8(tokens)
}

// A shape has the filters of one shape.
type shape struct {
	salt     uint64 // a part of the hash of its filters
	seen     uint64 // has a bit for each filter, see seenBit: most shapes need no look into the table
	mask     uint16 // of its key
	stale    int    // filters that were removed since seen was made
	patterns []*pattern
}

// seenBit returns the bit of shape.seen for a hash.
func seenBit(hash uint64) uint64 { return 1 << (hash >> 58) }

// A pattern is a filter of one or more sets.
type pattern struct {
	filter topics.Filter
	prefix string // the filter without **
	hash   uint64
	shape  shapeKey
	at     int // in shape.patterns
	nodes  int // tokens of prefix
	ends   []end
	next   *pattern // another one of the same hash, or nil
}

// An end belongs to the filter set.filters[i].
type end struct {
	set *filterSet
	i   int
}

// A filterSet is the Key of a [delivery.Set].
type filterSet struct {
	*Booking
	set *delivery.Set

	places []place // in the index, of each filter
	round  uint64  // the last call of match that has found the set
	last   uint64  // the number of the entry that was last appended
	gone   bool    // the set has lost its last stream
}

// A place says where the index has a filter of a set: pattern.ends[at] is its end.
type place struct {
	pattern *pattern
	at      int
}

// nodesOf returns how many nodes of the budget the filters need at most: each distinct filter
// needs one for each token but **.
func nodesOf(filters []topics.Filter) (n int) {
	for _, f := range filters {
		if prefix, _ := cutRest(f); prefix != "" {
			n += strings.Count(prefix, ".") + 1
		}
	}
	return n
}

// cutRest returns a filter without a last **, and whether it has one.
func cutRest(f topics.Filter) (prefix string, rest bool) {
	prefix, rest = strings.CutSuffix(f.String(), "**")
	return strings.TrimSuffix(prefix, "."), rest
}

// add adds the filters of a set.
func (x *index) add(set *filterSet) {
	if x.at == nil {
		x.seed, x.at = maphash.MakeSeed(), map[shapeKey]int{}
	}
	set.places = make([]place, len(set.filters))
	for i, f := range set.filters {
		p := x.pattern(f)
		set.places[i] = place{p, len(p.ends)}
		p.ends = append(p.ends, end{set, i})
	}
	x.memo.forget(set.filters)
}

// pattern returns the pattern of a filter, and adds it if there is none.
func (x *index) pattern(f topics.Filter) *pattern {
	key, hash, tokens := x.hash(f)
	for p := x.table.m[hash]; p != nil; p = p.next {
		if p.filter == f {
			return p
		}
	}
	i, ok := x.at[key]
	if !ok {
		i = len(x.shapes[key.kind])
		x.at[key] = i
		x.shapes[key.kind] = append(x.shapes[key.kind], shape{salt: x.salt(key), mask: key.mask})
		x.stars[key.kind] = max(x.stars[key.kind], bits.OnesCount16(key.mask))
	}
	s := &x.shapes[key.kind][i]
	prefix, _ := cutRest(f)
	p := &pattern{filter: f, prefix: prefix, hash: hash, shape: key, at: len(s.patterns), nodes: tokens, next: x.table.m[hash]}
	s.patterns = append(s.patterns, p)
	s.seen |= seenBit(hash)
	x.table.put(hash, p)
	x.nodes += tokens
	for hash := range x.hashes(prefix) {
		x.tokens.put(hash, x.tokens.m[hash]+1)
	}
	return p
}

// hashes yields hashToken of each token that is not *. (An empty prefix has none.)
func (x *index) hashes(prefix string) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		place := 0
		for text := range strings.SplitSeq(prefix, ".") {
			if text != "*" && text != "" && !yield(x.hashToken(text, place)) {
				return
			}
			place++
		}
	}
}

// hash returns the shape and the hash of a filter, and how many tokens it has without **.
func (x *index) hash(f topics.Filter) (key shapeKey, hash uint64, tokens int) {
	prefix, rest := cutRest(f)
	if prefix != "" {
		for text := range strings.SplitSeq(prefix, ".") {
			if text == "*" {
				key.mask |= 1 << tokens
			} else {
				hash ^= x.hashToken(text, tokens)
			}
			tokens++
		}
	}
	key.kind = shapeKind(tokens, rest)
	return key, hash ^ x.salt(key), tokens
}

// hashToken returns the hash of a token at a place of a topic or filter. The hash of all is the
// exclusive or of theirs, so that a token is taken out as it is put in. The seed is secret, so
// nobody can choose tokens for which hashes are equal.
func (x *index) hashToken(text string, place int) uint64 {
	return mix(maphash.String(x.seed, text) + uint64(place)*0x9e3779b97f4a7c15)
}

// salt returns the part of a hash that all filters of a shape have in common.
func (x *index) salt(key shapeKey) uint64 {
	return mix(uint64(key.kind)<<16 | uint64(key.mask))
}

// mix is the finalizer of SplitMix64: each bit of h changes half of the result's.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// remove removes the filters of a set that add has added.
func (x *index) remove(set *filterSet) {
	for _, at := range set.places {
		p := at.pattern
		last := len(p.ends) - 1
		moved := p.ends[last]
		p.ends[at.at] = moved
		moved.set.places[moved.i].at = at.at
		p.ends[last] = end{}
		if p.ends = p.ends[:last]; last == 0 {
			x.removePattern(p)
		}
	}
	set.places = nil
	x.memo.forget(set.filters)
}

// removePattern removes a filter that no set has any more.
func (x *index) removePattern(p *pattern) {
	x.nodes -= p.nodes
	if first := x.table.m[p.hash]; first != p {
		for ; first.next != p; first = first.next {
		}
		first.next = p.next
	} else if p.next != nil {
		x.table.put(p.hash, p.next)
	} else {
		x.table.remove(p.hash)
	}
	x.removeFromShape(p)
	for hash := range x.hashes(p.prefix) {
		if n := x.tokens.m[hash]; n > 1 {
			x.tokens.put(hash, n-1)
		} else {
			x.tokens.remove(hash)
		}
	}
}

// removeFromShape removes a filter from its shape, and the shape if it was the last one.
func (x *index) removeFromShape(p *pattern) {
	list := x.shapes[p.shape.kind]
	i := x.at[p.shape]
	s := &list[i]
	last := len(s.patterns) - 1
	moved := s.patterns[last]
	s.patterns[p.at], moved.at = moved, p.at
	s.patterns[last] = nil
	if s.patterns = s.patterns[:last]; last > 0 {
		if s.stale++; s.stale > last {
			s.stale, s.seen = 0, 0
			for _, p := range s.patterns {
				s.seen |= seenBit(p.hash)
			}
		}
		return
	}
	delete(x.at, p.shape)
	if last := len(list) - 1; i < last {
		list[i] = list[last]
		x.at[shapeKey{p.shape.kind, list[i].mask}] = i
	}
	list[len(list)-1] = shape{}
	x.shapes[p.shape.kind] = list[:len(list)-1]
}

// find returns the sets whose filters match a topic, each once, and how many steps that took:
// see match. The result is valid until the next call with the same scratch space. The caller
// does not change it.
func (x *index) find(topic string, scratch *[]*filterSet) (sets []*filterSet, steps int) {
	if sets, ok := x.memo.m[topic]; ok {
		return sets, 1
	}
	before := len(*scratch)
	*scratch, steps = x.match(topic, (*scratch)[:0])
	if n := len(*scratch); n < before {
		clear((*scratch)[n:before]) // the sets may have gone
	}
	if steps >= memoSteps {
		x.memo.remember(topic, *scratch)
	}
	return *scratch, steps
}

// match appends the sets to found. A step is a shape that may match, or a filter that does.
func (x *index) match(topic string, found []*filterSet) (_ []*filterSet, steps int) {
	if len(x.at) == 0 {
		return found, 0
	}
	x.round++
	t := split{topic: topic}
	hash := uint64(0) // of the first n tokens
	n := 0
	for more := true; more; n++ {
		if n == topics.MaxTokens {
			return found, steps // it is no topic
		}
		found = x.look(&t, shapeKind(n, true), hash, found, &steps)
		var text string
		text, _, more = strings.Cut(topic[t.starts[n]:], ".")
		t.starts[n+1] = t.starts[n] + len(text) + len(".")
		h := x.hashToken(text, n)
		t.add(n, h)
		if _, known := x.tokens.m[h]; !known {
			t.unknown |= 1 << n
		}
		hash ^= h
	}
	found = x.look(&t, shapeKind(n, false), hash, found, &steps)
	return found, steps
}

// A split is a topic in tokens.
type split struct {
	topic  string
	starts [topics.MaxTokens + 1]int // where tokens begin, and after the last one's dot

	// unknown has a bit for each of the tokens that no filter has at that place.
	unknown uint16

	// hashes[i] has the hash of each subset of the tokens from 4i on, by a mask of 4 bits.
	hashes [topics.MaxTokens / 4][16]uint64
}

// add adds the hash of token n.
func (t *split) add(n int, hash uint64) {
	sets, bit := &t.hashes[n/4], 1<<(n%4)
	for mask := range bit {
		sets[bit|mask] = sets[mask] ^ hash
	}
}

// of returns the hash of the tokens in a mask.
func (t *split) of(mask uint16) uint64 {
	return t.hashes[0][mask&15] ^ t.hashes[1][mask>>4&15] ^ t.hashes[2][mask>>8&15] ^ t.hashes[3][mask>>12]
}

// look appends the sets that have a filter of one of the shapes of a kind, and that this call
// of match has not found yet. hash is that of as many tokens as these shapes have.
func (x *index) look(t *split, kind uint8, hash uint64, found []*filterSet, steps *int) []*filterSet {
	if bits.OnesCount16(t.unknown) > x.stars[kind] {
		return found
	}
	shapes := x.shapes[kind]
	*steps += len(shapes)
	for i := range shapes {
		s := &shapes[i]
		if t.unknown&^s.mask != 0 {
			continue
		}
		h := hash ^ s.salt ^ t.of(s.mask)
		if s.seen&seenBit(h) == 0 {
			continue
		}
		for p := x.table.m[h]; p != nil; p = p.next {
			*steps += len(p.ends)
			compared := false
			for _, e := range p.ends {
				if e.set.round == x.round {
					continue
				}
				if !compared && !p.match(t) {
					break // another filter of the same hash
				}
				compared, e.set.round = true, x.round
				found = append(found, e.set)
			}
		}
	}
	return found
}

// match reports whether a filter matches a topic that has enough tokens. It compares all tokens
// between two * at once.
func (p *pattern) match(t *split) bool {
	rest := p.prefix // what is left of it
	mask := uint32(p.shape.mask) | 1<<p.nodes
	for first := 0; ; mask &= mask - 1 {
		star := bits.TrailingZeros32(mask) // or the end
		if star > first {
			text := t.topic[t.starts[first] : t.starts[star]-len(".")]
			if !strings.HasPrefix(rest, text) {
				return false
			}
			if rest = rest[len(text):]; rest != "" {
				if rest[0] != '.' {
					return false
				}
				rest = rest[len("."):]
			}
		}
		if star == p.nodes {
			return rest == ""
		}
		rest = rest[min(len(rest), len("*.")):]
		first = star + 1
	}
}
