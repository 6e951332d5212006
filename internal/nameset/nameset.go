// Package nameset has sets of names in their order.
package nameset

import (
	"slices"
	"sort"
)

// A Set is a set of strings. The zero Set is empty. Adding, removing and looking for a name
// take less than a microsecond with a million names. Its methods may not be called
// concurrently, but for those that change nothing.
type Set struct {
	blocks [][]string // none is empty; all names of one are before those of the next
	n      int
}

// mostInBlock is how many names a block has at most. Then it is halved.
const mostInBlock = 512

// Len returns how many names the set has.
func (s *Set) Len() int { return s.n }

// find returns the block that has a name, or would have it, and the name's place in it.
func (s *Set) find(name string) (block, place int, ok bool) {
	block = max(0, sort.Search(len(s.blocks), func(i int) bool { return s.blocks[i][0] > name })-1)
	if block == len(s.blocks) {
		return block, 0, false
	}
	place, ok = slices.BinarySearch(s.blocks[block], name)
	return block, place, ok
}

// Add adds a name.
func (s *Set) Add(name string) {
	i, place, ok := s.find(name)
	switch {
	case ok:
		return
	case i == len(s.blocks):
		s.blocks = append(s.blocks, nil)
	}
	s.n++
	b := slices.Insert(s.blocks[i], place, name)
	s.blocks[i] = b
	if len(b) > mostInBlock {
		half := len(b) / 2
		s.blocks = slices.Insert(s.blocks, i+1, slices.Clone(b[half:]))
		clear(b[half:])
		s.blocks[i] = b[:half]
	}
}

// Remove removes a name, if the set has it.
func (s *Set) Remove(name string) {
	i, place, ok := s.find(name)
	if !ok {
		return
	}
	s.n--
	s.blocks[i] = slices.Delete(s.blocks[i], place, place+1)
	if len(s.blocks[i]) == 0 {
		s.blocks = slices.Delete(s.blocks, i, i+1)
	}
}

// Has reports whether the set has a name.
func (s *Set) Has(name string) bool {
	_, _, ok := s.find(name)
	return ok
}

// After appends up to limit of the names after a given one to a slice, in their order.
func (s *Set) After(names []string, name string, limit int) []string {
	i, place, ok := s.find(name)
	if ok {
		place++
	}
	for ; i < len(s.blocks) && limit > 0; i++ {
		some := s.blocks[i][place:]
		some = some[:min(len(some), limit)]
		names, limit, place = append(names, some...), limit-len(some), 0
	}
	return names
}
