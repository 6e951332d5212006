package delivery

import "time"

// A Frame is an event as it goes out to many streams. It never changes. Its methods may
// be called by several goroutines at the same time.
type Frame interface {
	// Position is greater than that of the frame before it, in every set that
	// has both.
	Position() uint64

	// Wire returns the event as a chunk of an HTTP/1.1 body (RFC 9112, section 7.1),
	// in one of the feed's forms, less than Forms. A nil chunk breaks a stream.
	Wire(form uint8) []byte

	// Size returns about how much memory the frame takes, in bytes.
	Size() int
}

// Forms is how many forms a frame may have.
const Forms = 2

// A Feed knows what a shard's streams are to get. The shard calls all methods on its own
// goroutine. They do not wait for anything.
type Feed interface {
	// Advance appends to the shard's sets what is new, see [Shard.Append].
	Advance()

	// Resettle finds a stream's place in its set again, after its sink was full
	// and the set has dropped frames that the stream has not got: by
	// [Shard.Attach], or by [Shard.Detach] if that is no longer possible.
	Resettle(slot uint32)

	// Written is called when a stream that is detached from its set has got
	// everything that [Shard.Send] was given for it.
	Written(slot uint32)

	// KeepAlive returns what a stream is sent that was silent for a while, and the
	// position that the client has then.
	KeepAlive(slot uint32) (frames []Frame, position uint64)

	// Vacated is called when a set has lost its last stream, and is gone.
	Vacated(set *Set)

	// Gone is called when a stream has ended, and its slot is about to be used
	// again.
	Gone(slot uint32, reason Reason)
}

// A Sink says what carries a stream.
type Sink uint8

const (
	Socket   Sink = iota // a descriptor, which the shard writes to
	Writer               // a task that writes bytes
	Iterator             // a task that takes frames
	sinks
)

// A Reason says why a stream has ended.
type Reason uint8

const (
	Left      Reason = iota // the client has closed the connection, or its host has
	TimedOut                // the client took nothing for the write timeout
	Ended                   // the stream was finished: its client has all of it
	Broken                  // the feed could not go on with it
	Cut                     // the shard was closed
	Concluded               // by its Ending
	reasons
)

func (r Reason) String() string {
	return [...]string{"client left", "write timeout", "ended", "broken", "cut", "concluded"}[r]
}

// An Ending says how a stream is to end at a time that is known before, or on demand. The
// stream's client gets nothing that had not gone out by then but the rest of a frame, and
// the last frame.
type Ending struct {
	// Last, if not nil, is sent before the end to a socket or a writer that takes it
	// soon.
	Last Frame

	// Clean is whether the response then ends as one that is complete. Otherwise it is
	// broken off.
	Clean bool
}

// Options configure a [Group]. There are no defaults, except for Shards.
type Options struct {
	// Shards is how many goroutines deliver. 0 means half of GOMAXPROCS, at least 1:
	// more wake sooner, and so write less at a time.
	Shards int

	// Sockets is whether there may be streams on sockets. It has no effect on other
	// systems than Linux.
	Sockets bool

	// KeepAlive is how long a stream on a socket or a writer may be silent. The
	// keep-alive is sent up to an eighth of that before, so that not all streams are
	// sent theirs at the same time. Not positive means never.
	KeepAlive time.Duration

	// WriteTimeout is for how long a socket or a writer may take nothing of what it is
	// owed. Not positive means for ever.
	WriteTimeout time.Duration

	// Feed returns the feed of a shard.
	Feed func(*Shard) Feed
}

// linger is how long a client may take to close a connection whose stream has ended, and
// for how long an [Ending] waits for a sink that is full.
const linger = 300 * time.Millisecond

// Stats are the figures of a shard. The counters count from the beginning.
type Stats struct {
	Open     [sinks]int // streams at the moment, by Sink
	Stalled  int        // of them, those whose sink has taken nothing for a while
	Detached int        // of them, those that get nothing from their set just now
	Sets     int

	Opened     [sinks]uint64   // streams, by Sink
	Deliveries uint64          // frames of sets that were handed to a stream
	Writes     uint64          // calls of write and writev, and of a task
	Short      uint64          // of them, those of which the socket did not take all
	Bytes      uint64          // that sockets took, and writers were handed
	Ends       [reasons]uint64 // streams, by Reason
}

// Streams returns how many streams are open.
func (s Stats) Streams() (n int) {
	for _, open := range s.Open {
		n += open
	}
	return n
}
