package hub

import "example.com/tidings/internal/delivery"

// The ways that a stream of ServeEvents may take, as they stand in the log.
const (
	// PathNetHTTP is through net/http: the only one for HTTP/2, TLS and HTTP/1.0.
	PathNetHTTP = "net/http"

	// PathTakenOver is that of connections that were taken over, see
	// Options.TakeOver.
	PathTakenOver = "taken over"
)

// pathIterator stands in the log for the sequences of Subscribe.
const pathIterator = "iterator"

// pathOf returns the way that a stream takes.
func pathOf(sink delivery.Sink) string {
	switch sink {
	case delivery.Socket:
		return PathTakenOver
	case delivery.Writer:
		return PathNetHTTP
	}
	return pathIterator
}

// Stats are what a hub has to tell of itself at one moment.
type Stats struct {
	Subscribers int // those of Subscribe and ServeEvents

	// Streams of ServeEvents by the way they take: those that are open, and those
	// that have begun since the hub was made.
	NetHTTP, TakenOver           int
	NetHTTPBegun, TakenOverBegun uint64

	// Invalid counts the messages in the log, among those that the hub has met since
	// it was made, that no stream can be sent, see GapInvalid. It stops at 1,000.
	Invalid uint64

	// Shards has the figures of each goroutine that delivers.
	Shards []ShardStats
}

// ShardStats are the figures of one goroutine that delivers. All but the first three
// count from the beginning.
type ShardStats struct {
	Streams int // that are open
	Stalled int // of them, those whose client takes nothing just now
	Away    int // of them, those that begin, or that catch up from the log

	Deliveries uint64 // messages that a stream was handed from the window
	Writes     uint64 // what streams were handed at a time, those messages and all else
	Short      uint64 // of them, those of which a client that was taken over did not take all
	Bytes      uint64

	// Ends counts streams by why they have ended: "client left", "write timeout",
	// "ended" by the hub with all that they were owed, "broken" by the log, "cut" by
	// Close, "concluded" since their time was up.
	Ends map[string]uint64
}

// TakenOver returns how many connections were taken over and are still open, as Stats
// does, without asking those who serve them: at the cost of an atomic load.
func (h *Hub) TakenOver() int { return h.engine.group.Sockets() }

// Stats returns the figures of the hub.
func (h *Hub) Stats() Stats {
	s := Stats{Subscribers: int(h.subscribers.Load()), Invalid: h.invalid.count()}
	for _, shard := range h.engine.group.Stats() {
		s.NetHTTP += shard.Open[delivery.Writer]
		s.TakenOver += shard.Open[delivery.Socket]
		s.NetHTTPBegun += shard.Opened[delivery.Writer]
		s.TakenOverBegun += shard.Opened[delivery.Socket]
		ends := map[string]uint64{}
		for reason, n := range shard.Ends {
			ends[delivery.Reason(reason).String()] = n
		}
		s.Shards = append(s.Shards, ShardStats{
			Streams: shard.Streams(), Stalled: shard.Stalled, Away: shard.Detached,
			Deliveries: shard.Deliveries, Writes: shard.Writes, Short: shard.Short, Bytes: shard.Bytes,
			Ends: ends,
		})
	}
	return s
}
