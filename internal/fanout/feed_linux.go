package fanout

import "time"

// A Frame is an event as it goes out to many streams. It never changes.
type Frame interface {
	// Position is greater than that of the frame before it, in every set that
	// has both.
	Position() uint64

	// Wire returns the frame, ready for the socket, in one of the feed's forms. It
	// may be called by several shards at the same time. Nil breaks a stream.
	Wire(form uint8) []byte
}

// A Feed has what a shard's streams are to get. All methods are called on the
// shard's goroutine, and do not wait for anything.
type Feed interface {
	// Advance appends to the shard's sets what is new, see [Shard.Append].
	Advance()

	// Resettle finds a stream's place in its set again, after its socket was full
	// and the set has moved on: by [Shard.Place], or by [Shard.Leave] if that is no
	// longer possible.
	Resettle(slot uint32)

	// Written is called when all is written that [Shard.Send] was given for a
	// stream that is away from its set.
	Written(slot uint32)

	// KeepAlive returns what is sent to a stream to which nothing was for a while,
	// and the position that the client has then.
	KeepAlive(slot uint32) (pieces [][]byte, position uint64)

	// Vacated is called when a set has lost its last stream, and is gone.
	Vacated(set *Set)

	// Gone is called when a stream has ended, and its slot is about to be used
	// again.
	Gone(slot uint32, reason Reason)
}

// A Reason says why a stream has ended.
type Reason uint8

const (
	Left     Reason = iota // the client has closed the connection, or its host has
	TimedOut               // it took nothing for the write timeout
	Ended                  // it was finished: its client has all of it
	Broken                 // the feed could not go on with it
	Cut                    // it was in the way of the end
	reasons
)

func (r Reason) String() string {
	return [...]string{"client left", "write timeout", "ended", "broken", "cut"}[r]
}

// Options configure a [Group]. There are no defaults, but for Shards.
type Options struct {
	// Shards is how many goroutines write. 0 means half of GOMAXPROCS, at least 1:
	// more wake sooner, and so write less at a time.
	Shards int

	// KeepAlive is how long a stream may be silent. It is sent one somewhat
	// before that, so that not all are sent theirs at the same time. Not positive
	// means never.
	KeepAlive time.Duration

	// WriteTimeout is for how long a socket may take nothing of what it is owed. Not
	// positive means for ever.
	WriteTimeout time.Duration

	// Feed returns the feed of a shard.
	Feed func(*Shard) Feed
}

// linger is how long a client may take to close a connection whose stream has
// ended.
const linger = 300 * time.Millisecond

// Stats are counted from the beginning, but for the first group of fields.
type Stats struct {
	Streams int // that are open
	Stalled int // of them, those whose socket is full
	Away    int // of them, those that are not in reach of their set
	Sets    int

	Opened     uint64 // streams
	Deliveries uint64 // frames of sets that were written
	Writes     uint64 // calls of write and writev
	Short      uint64 // of them, those of which the socket did not take all
	Bytes      uint64
	Ends       [reasons]uint64 // streams, by Reason
}
