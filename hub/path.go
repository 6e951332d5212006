package hub

import (
	"net/http"
)

// The ways that a stream of ServeEvents may take, as they stand in the log.
const (
	// PathNetHTTP is through net/http: the only one for HTTP/2, TLS and HTTP/1.0.
	PathNetHTTP = "net/http"

	// PathTakenOver is that of connections that were taken over, see
	// Options.TakeOver.
	PathTakenOver = "taken over"
)

// begin takes note of a stream that net/http serves, and returns what does so of its
// end.
func (h *Hub) begin(r *http.Request, sub Subscription) (end func()) {
	h.begun.Add(1)
	h.served.Add(1)
	h.opts.Logger.DebugContext(r.Context(), "hub: a stream begins", "path", PathNetHTTP, "remote", r.RemoteAddr, "topics", sub.Topics)
	return func() {
		h.served.Add(-1)
		h.opts.Logger.DebugContext(r.Context(), "hub: a stream has ended", "path", PathNetHTTP, "remote", r.RemoteAddr)
	}
}

// Stats are what a hub has to tell of itself at one moment.
type Stats struct {
	Subscribers int // those of Subscribe and ServeEvents

	// Streams of ServeEvents by the way they take: those that are open, and those
	// that have begun since the hub was made.
	NetHTTP, TakenOver           int
	NetHTTPBegun, TakenOverBegun uint64

	// Shards has the figures of each goroutine that serves streams which were taken
	// over. It is empty where none are.
	Shards []ShardStats
}

// ShardStats are the figures of one goroutine that serves streams which were taken
// over. All but the first three count from the beginning.
type ShardStats struct {
	Streams int // that are open
	Stalled int // of them, those whose client takes nothing just now
	Away    int // of them, those that begin, or that catch up from the log

	Deliveries uint64 // messages that were written to a stream from the window
	Writes     uint64 // system calls for that, and for all else
	Short      uint64 // of them, those of which the client did not take all
	Bytes      uint64

	// Ends counts streams by why they have ended: "client left", "write timeout",
	// "ended" by the hub with all that they were owed, "broken" by the log, "cut" by
	// Close.
	Ends map[string]uint64

	begun uint64
}

// TakenOver returns how many connections were taken over and are still open, as Stats
// does, without asking those who serve them: at the cost of an atomic load.
func (h *Hub) TakenOver() int { return h.fan.len() }

// Stats returns the figures of the hub.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	s := Stats{Subscribers: h.subscribers}
	h.mu.Unlock()
	s.NetHTTP, s.NetHTTPBegun = int(h.served.Load()), h.begun.Load()
	s.Shards = h.fan.stats()
	for i := range s.Shards {
		s.TakenOver += s.Shards[i].Streams
		s.TakenOverBegun += s.Shards[i].begun
	}
	return s
}
