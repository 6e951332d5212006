package server

// Limits bound what all clients of a server have together.
type Limits struct {
	// Connections is how many connections may be open, those of streams included.
	Connections int

	// Requests is how many of them may be without a stream.
	Requests int

	// Heads is how many bytes of requests' heads may have arrived in part.
	Heads int64

	// Kept is how many descriptors connections leave to the log.
	Kept int

	// Subscribers is how many streams may be open if the user gives no number.
	Subscribers int
}

const (
	// leastKept is how many descriptors connections leave to the log, or an eighth of all if
	// that is more: it opens files all the time, and fails without descriptors.
	leastKept = 64

	// ownFiles is how many descriptors the program needs for itself: the standard ones,
	// listeners, and those that wait for connections.
	ownFiles = 8

	// mostRequests bounds Limits.Requests: a connection without a stream costs some 16 kB.
	mostRequests = 4096

	// leastOthers is how many connections streams leave to requests, or a sixteenth of all if
	// that is more.
	leastOthers = 24
)

// The memory that the limits count on, in bytes.
const (
	headsPart      = 128       // of all memory, for parts of heads
	mostHeads      = 2 << 20   // of them
	requestMemory  = 128 << 10 // of all memory, for each connection without a stream
	streamMemory   = 4 << 10   // for each stream that was taken over
	netHTTPMemory  = 64 << 10  // for each stream that net/http serves
	memoryOfThem   = 2         // the part of all memory that streams may have: 1/memoryOfThem
	leastRequests  = 64
	leastStreaming = 64
)

// NewLimits returns the limits for the descriptors that the process may have, and for so many
// bytes of memory. takeOver is whether streams can be taken over. sides is how many addresses there are
// beside that of the clients.
func NewLimits(memory int64, takeOver bool, sides int) Limits {
	return limitsFor(descriptors()-sides*sideConnections, memory, takeOver)
}

func limitsFor(files int, memory int64, takeOver bool) Limits {
	var l Limits
	l.Kept = min(max(leastKept, files/8), files/2)
	l.Connections = max(1, files-l.Kept-min(ownFiles, l.Kept))
	l.Requests = int(min(mostRequests, max(leastRequests, memory/requestMemory)))
	l.Heads = min(mostHeads, memory/headsPart)
	each := int64(netHTTPMemory)
	if takeOver {
		each = streamMemory
	}
	others := max(min(leastOthers, l.Connections/2), min(l.Connections/16, l.Requests))
	l.Subscribers = int(min(int64(l.Connections-others), max(leastStreaming, memory/memoryOfThem/each)))
	return l
}
