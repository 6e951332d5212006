package fanout

// A queue holds streams in the order in which they were added.
type queue struct {
	streams []Stream
	first   int
}

func (q *queue) len() int { return len(q.streams) - q.first }

func (q *queue) add(st Stream) { q.streams = append(q.streams, st) }

// take removes the first one.
func (q *queue) take() Stream {
	st := q.streams[q.first]
	q.first++
	switch {
	case q.first == len(q.streams):
		*q = queue{streams: q.streams[:0]}
		if cap(q.streams) > 1024 {
			q.streams = nil
		}
	case q.first >= 1024 && q.first > len(q.streams)/2:
		n := copy(q.streams, q.streams[q.first:])
		*q = queue{streams: q.streams[:n]}
	}
	return st
}
