package hub

import (
	"example.com/tidings/eventlog"
	"example.com/tidings/hub/stats"
	"example.com/tidings/internal/delivery"
)

// TakenOver returns how many connections were taken over and are still open, at the cost of
// a few atomic loads.
func (h *Hub) TakenOver() int { return h.streams.Sockets() }

// Stats returns the figures of the hub.
func (h *Hub) Stats() stats.Hub {
	var netHTTP, takenOver stats.Path
	s := stats.Hub{Subscribers: int(h.subscribers.Load()), Invalid: h.window.Invalid(), Budgets: h.budgets.Stats()}
	for _, shard := range h.streams.Stats() {
		netHTTP.Streams += shard.Open[delivery.Writer]
		netHTTP.Begun += shard.Opened[delivery.Writer]
		takenOver.Streams += shard.Open[delivery.Socket]
		takenOver.Begun += shard.Opened[delivery.Socket]
		ends := map[string]uint64{}
		for reason, n := range shard.Ends {
			ends[delivery.Reason(reason).String()] = n
		}
		s.Shards = append(s.Shards, stats.Shard{
			Streams: shard.Streams(), Stalled: shard.Stalled, CatchingUp: shard.Detached,
			Deliveries: shard.Deliveries, Writes: shard.Writes, ShortWrites: shard.Short, Bytes: shard.Bytes,
			Ends: ends,
		})
	}
	if _, ok := h.log.(eventlog.Monitor); ok {
		s.Trouble = new(h.trouble() != nil)
	}
	if l, ok := h.log.(interface{ Stats() eventlog.Stats }); ok {
		s.Log = (*stats.Log)(new(l.Stats()))
	}
	s.Paths = map[string]stats.Path{stats.PathNetHTTP: netHTTP, stats.PathTakenOver: takenOver}
	return s
}
