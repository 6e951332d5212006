// Package fanout serves many HTTP/1.1 responses that are event streams from few
// goroutines (Linux). A stream is a duplicated socket and 48 bytes: no goroutine, no
// buffer and nothing of net/http while it is idle.
//
// Streams that get the same frames in the same order are a [Set]. A [Shard] has a
// goroutine of its own, and only that touches its streams, their sockets and its sets.
// It is told that there is something new, has its [Feed] append it to the sets, and
// writes to each stream everything that it is owed, in one write of frames that all
// share. What a socket does not take is written when epoll says that it takes more.
//
// A stream is named by its slot and the slot's generation, never by its descriptor,
// which the next connection may have at once.
package fanout
