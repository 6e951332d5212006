package delivery

// A queue holds items, first in, first out.
type queue[T any] struct {
	items []T
	first int
}

// maxKeptQueue is the largest capacity that an empty queue keeps.
const maxKeptQueue = 1024

func (q *queue[T]) len() int { return len(q.items) - q.first }

func (q *queue[T]) add(item T) { q.items = append(q.items, item) }

// take removes the first item.
func (q *queue[T]) take() T {
	var none T
	item := q.items[q.first]
	q.items[q.first] = none
	q.first++
	switch {
	case q.first < len(q.items):
		if q.first >= maxKeptQueue && q.first > len(q.items)/2 {
			n := copy(q.items, q.items[q.first:])
			clear(q.items[n:])
			*q = queue[T]{items: q.items[:n]}
		}
	case cap(q.items) > maxKeptQueue:
		*q = queue[T]{}
	default:
		*q = queue[T]{items: q.items[:0]}
	}
	return item
}
