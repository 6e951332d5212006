// Package ringbuf has the newest items of a numbered sequence.
package ringbuf

import "unsafe"

// An Item knows how much memory it takes, in bytes. The size does not change.
type Item interface{ Size() int }

// A Ring holds items with consecutive numbers. It is a value that never changes: Push and
// Drop return another one, which shares the items. So a reader takes a Ring without a
// lock, and keeps it as long as it wants. The zero Ring is not valid: see [New].
type Ring[T Item] struct {
	first uint64 // number of items[0]
	// items has room behind its end. It belongs to whoever pushes next: of the values
	// that share it, only the newest is pushed to.
	items   []T
	array   int // capacity of the array of items
	bytes   int // of items
	dropped int // bytes that the array of items still refers to, before its beginning
}

// New returns an empty ring. The first item that is pushed gets the given number.
func New[T Item](first uint64) Ring[T] { return Ring[T]{first: first} }

// First returns the number of the first item.
func (r Ring[T]) First() uint64 { return r.first }

// Last returns the number of the last item, First - 1 if there is none.
func (r Ring[T]) Last() uint64 { return r.first + uint64(len(r.items)) - 1 }

// Len returns how many items there are.
func (r Ring[T]) Len() int { return len(r.items) }

// Overhead returns how many bytes the ring takes beside its items.
func (r Ring[T]) Overhead() int { return r.array * int(unsafe.Sizeof(*new(T))) }

// From returns the items with the given number and greater ones. Callers do not change
// the slice.
func (r Ring[T]) From(number uint64) []T {
	switch {
	case number <= r.first:
		return r.items
	case number > r.Last():
		return nil
	}
	return r.items[number-r.first:]
}

// Push adds an item after the last one.
func (r Ring[T]) Push(item T) Ring[T] {
	moves := len(r.items) == cap(r.items)
	r.items = append(r.items, item)
	r.bytes += item.Size()
	if moves {
		r.array, r.dropped = cap(r.items), 0
	}
	return r
}

// Drop removes the oldest n items.
func (r Ring[T]) Drop(n int) Ring[T] {
	for _, item := range r.items[:n] {
		r.bytes -= item.Size()
		r.dropped += item.Size()
	}
	r.items = r.items[n:]
	r.first += uint64(n)
	// Otherwise the array would keep dropped items alive until it is full.
	if r.dropped > r.bytes/16+16<<10 {
		r.items = append(make([]T, 0, len(r.items)+len(r.items)/4+16), r.items...)
		r.array, r.dropped = cap(r.items), 0
	}
	return r
}

// Excess returns how many of the oldest items exceed the bounds. The newest item never
// does.
func (r Ring[T]) Excess(maxItems, maxBytes int) int {
	n, bytes := 0, r.bytes
	for len(r.items)-n > 1 && (len(r.items)-n > maxItems || bytes > maxBytes) {
		bytes -= r.items[n].Size()
		n++
	}
	return n
}
