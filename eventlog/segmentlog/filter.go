package segmentlog

import (
	"encoding/binary"
	"sync/atomic"
)

// A filter says which keys a chunk may have: of those that it does not have, it takes one in
// a hundred for one that it has. It may be read while one goroutine adds to it.
type filter [filterWords]atomic.Uint64

const (
	filterBytes  = chunkKeys * 10 / 8 // ten bits a key
	filterWords  = filterBytes / 8
	filterProbes = 7
)

// each calls f for the places of a key's bits, until f returns false.
func (f *filter) each(hash keyHash, do func(word *atomic.Uint64, bit uint64) bool) {
	h, step := binary.BigEndian.Uint64(hash[:]), binary.BigEndian.Uint64(hash[8:])|1
	for range filterProbes {
		n := h % (filterWords * 64)
		if !do(&f[n/64], 1<<(n%64)) {
			return
		}
		h += step
	}
}

func (f *filter) add(hash keyHash) {
	f.each(hash, func(word *atomic.Uint64, bit uint64) bool {
		word.Or(bit)
		return true
	})
}

func (f *filter) has(hash keyHash) bool {
	has := true
	f.each(hash, func(word *atomic.Uint64, bit uint64) bool {
		has = word.Load()&bit != 0
		return has
	})
	return has
}

func (f *filter) append(b []byte) []byte {
	for i := range f {
		b = binary.BigEndian.AppendUint64(b, f[i].Load())
	}
	return b
}

// decodeFilter is the inverse of append.
func decodeFilter(b []byte) (*filter, bool) {
	if len(b) != filterBytes {
		return nil, false
	}
	f := new(filter)
	for i := range f {
		f[i].Store(binary.BigEndian.Uint64(b[8*i:]))
	}
	return f, true
}
