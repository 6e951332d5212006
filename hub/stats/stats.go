// Package stats has the figures of a hub, for metrics.
package stats

// A Hub has the figures of a hub at one moment.
type Hub struct {
	Subscribers int // of Subscribe and ServeEvents

	// Paths has the streams of ServeEvents by the path that they take, see [PathNetHTTP].
	Paths map[string]Path

	// Invalid counts messages in the log that cannot be sent as an event, of those that
	// the hub has seen. It stops at 1,000.
	Invalid uint64

	// Shards has the figures of each goroutine that delivers.
	Shards []Shard

	// Budgets has the figures of what clients may cost, one for each kind of cost.
	Budgets []Budget

	// Log has the figures of the log. It is nil if the log has none.
	Log *Log

	// Trouble says whether the log needs to be repaired: see eventlog.Monitor. It is nil if the log
	// does not say.
	Trouble *bool
}

// A Budget has the figures of one kind of cost that clients cause.
type Budget struct {
	Name        string
	Used, Limit int64  // bytes; of "reads" and "long-work", how many do so at the moment and how many may; of "index-nodes", nodes
	Refused     uint64 // times that the budget was used up
}

// A Log has the figures of a log that keeps its records in files.
type Log struct {
	Bytes    int64  // of the records
	Verified int64  // of them, those that were read and checked since the start, or written since
	Lost     uint64 // numbers of retained records that are known to be lost
}

// The paths of streams.
const (
	PathNetHTTP   = "net/http"   // through net/http: always for HTTP/2, TLS and HTTP/1.0
	PathTakenOver = "taken over" // on a connection that was taken over from net/http
)

// A Path has the figures of the streams that take one path.
type Path struct {
	Streams int    // open streams
	Begun   uint64 // streams that have begun
}

// A Shard has the figures of one goroutine that delivers. Except for the first three, they
// count from the beginning.
type Shard struct {
	Streams    int // open streams
	Stalled    int // of them, those whose client does not read just now
	CatchingUp int // of them, those that begin, or that catch up from the log

	Deliveries  uint64 // messages that streams got from the window
	Writes      uint64 // writes to streams
	ShortWrites uint64 // of them, those of which a connection that was taken over did not take everything
	Bytes       uint64 // written to streams

	// Ends counts streams by the reason of their end:
	//   - "client left"
	//   - "write timeout"
	//   - "broken", by an error of the log
	//   - "cut", by Close
	//   - "slow": the client took too little of what the hub held for it, while others needed
	//     the room
	//   - "stopping": the hub has drained. A stream that was behind gets the rest when its
	//     client reconnects.
	//   - "limit", "expired", "revoked" and "finished", as the constants of package hub that
	//     begin with End. None is used yet.
	Ends map[string]uint64
}
