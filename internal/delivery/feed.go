package delivery

import "time"

// A Frame is an event, encoded once for many streams. It never changes. Its methods may be
// called concurrently.
type Frame interface {
	// Position is greater than the position of the preceding frame of the same set.
	Position() uint64

	// Wire returns the event as a chunk of an HTTP/1.1 body (RFC 9112, section 7.1), in
	// one of the feed's forms. form is less than Forms. With a nil chunk the shard ends the stream as Broken.
	Wire(form uint8) []byte

	// Size returns about how many bytes of memory the frame takes, without its forms.
	Size() int
}

// NoForm is the form of what an iterator holds: the frame itself.
const NoForm = 255

// A Pinnable is a [Frame] that counts what it takes while streams hold it that take nothing.
type Pinnable interface {
	// Part returns what a stream holds of the frame that was handed it in a form. The
	// method may be called concurrently.
	Part(form uint8) Pinner
}

// A Pinner is what a stream holds of a frame. Its methods may be called concurrently.
type Pinner interface {
	// Pin and Unpin are called when a stream begins and ends to hold it.
	Pin()
	Unpin()

	// Pinned returns how many bytes a stream frees that no longer holds it. That is 0 if
	// others than streams hold it anyway.
	Pinned() int
}

// A Budget counts bytes. Its methods may be called concurrently.
type Budget interface {
	Add(n int)  // takes bytes, also beyond the limit
	Give(n int) // gives them back
	Used() int
	Limit() int
	Refuse() // counts a stream that ends because the budget is used up
}

// Forms is the number of forms that a frame can have.
const Forms = 2

// A Feed decides which frames the streams of a shard get. The shard calls all methods on its
// own goroutine. They must not block.
type Feed interface {
	// Advance appends some new frames to the shard's sets, with [Shard.Append]. It reports
	// whether there are more, for the next turn of the shard.
	Advance() (more bool)

	// Resettle is called when a stream's sink is no longer full, and the set has dropped
	// frames that the stream lacks. It returns the stream to its set with [Shard.Attach].
	// If that is no longer possible, it calls [Shard.Detach].
	Resettle(slot uint32)

	// Written is called when a detached stream has been handed all frames that were
	// given to [Shard.Send].
	Written(slot uint32)

	// KeepAlive returns the frames to send to a silent stream, and the position that the
	// client has after them.
	KeepAlive(slot uint32) (frames []Frame, position uint64)

	// Last returns the last frame of a stream that ends for a reason from Stopping on. Its
	// client then has everything up to [Shard.Position]. An iterator gets no last frame.
	Last(slot uint32, reason Reason) Frame

	// Vacated is called when a set has lost its last stream and has been dropped.
	Vacated(set *Set)

	// Gone is called when a stream has ended. Its slot is then reused.
	Gone(slot uint32, reason Reason)
}

// A Sink is the kind of carrier of a stream.
type Sink uint8

const (
	Socket   Sink = iota // a descriptor that the shard writes to
	Writer               // a task that writes bytes
	Iterator             // a task that takes frames
	sinks
)

// String returns the name of a sink in logs and metrics.
func (s Sink) String() string { return [...]string{"taken over", "net/http", "iterator"}[s] }

// A Reason says why a stream has ended.
type Reason uint8

const (
	Left     Reason = iota // the client, or its host, closed the connection
	TimedOut               // the client took nothing during the write timeout
	Broken                 // Break: the feed could not continue the stream
	Cut                    // the shard was closed

	// For these a client gets the last frame of the feed. Finished completes the response.
	// Any other reason breaks it off.
	Stopping // the group drains
	Limit    // the stream has reached a limit
	Expired  // the stream's time is over
	Revoked  // somebody has ended the stream
	Finished // nothing more will follow
	Slow     // the client takes too little while others need the room

	reasons
)

// reasonNames are the names of the reasons in logs and metrics, and in the events of the feed.
var reasonNames = [...]string{"client left", "write timeout", "broken", "cut", "stopping", "limit", "expired", "revoked", "finished", "slow"}

var _ = [1]int{}[len(reasonNames)-int(reasons)] // does not compile if a name is missing

func (r Reason) String() string { return reasonNames[r] }

// Options configure a [Group]. Only Shards has a default.
type Options struct {
	// Shards is the number of goroutines that deliver. 0 means half of GOMAXPROCS, at
	// least 1. More shards wake sooner, and so write less at a time.
	Shards int

	// Sockets allows streams on sockets. It has an effect only on Linux.
	Sockets bool

	// KeepAlive is how long a stream on a socket or a writer may be silent. A keep-alive
	// is sent up to an eighth of that time earlier, so that not all streams get theirs at
	// once. Zero or less means never.
	KeepAlive time.Duration

	// WriteTimeout is how long a socket or a writer may take nothing while frames or bytes
	// wait for it. Zero or less means forever.
	WriteTimeout time.Duration

	// Pinned counts what streams hold that take nothing, of frames that are [Pinnable] and
	// of frames that were joined. If that exceeds its limit, the shards end the streams that
	// have taken nothing for longest. Nil means no limit.
	Pinned Budget

	// Feed creates the feed of a shard.
	Feed func(*Shard) Feed
}

// linger is how long a client may take to read its last event before the response breaks off, and
// then to close its connection. It is also how long [Shard.Conclude] waits for a full sink.
const linger = 300 * time.Millisecond

// Stats are the figures of a shard. Counters start when the shard is created.
type Stats struct {
	Open     [sinks]int // open streams, by Sink
	Stalled  int        // open streams whose sink has taken nothing for a while
	Detached int        // open streams that get nothing from their set at the moment
	Sets     int

	Opened     [sinks]uint64   // streams opened, by Sink
	Deliveries uint64          // frames of sets handed to streams, counted for each stream
	Writes     uint64          // calls of write and writev, and hand-outs to tasks
	Short      uint64          // writes of which the socket took only a part
	Bytes      uint64          // bytes that sockets took or writers were handed
	Ends       [reasons]uint64 // streams ended, by Reason
}

// Streams returns how many streams are open.
func (s Stats) Streams() (n int) {
	for _, open := range s.Open {
		n += open
	}
	return n
}
