// Metrics sends a reading a second, with ids, and goes on after the last one
// that the client has seen:
//
//	curl -N http://127.0.0.1:3012/metrics -H 'Last-Event-ID: 41'
package main

import (
	"iter"
	"net/http"
	"strconv"
	"time"

	"example.com/tidings/examples/internal/localhost"
	"example.com/tidings/sse"
	"example.com/tidings/stream"
)

type reading struct {
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	At     string  `json:"at"`
}

func metrics(r *http.Request) (iter.Seq2[sse.Event, error], error) {
	first := uint64(0) // also after an id that is none of ours; 62 bits leave room to count on
	if last, err := strconv.ParseUint(sse.LastEventID(r), 10, 62); err == nil {
		first = last + 1
	}
	ticks := stream.Enumerate(stream.Every(r.Context(), time.Second))
	return stream.Map(ticks, func(tick stream.Indexed[time.Time]) (sse.Event, error) {
		n := first + uint64(tick.Index)
		at := tick.Value.UTC().Format("2006-01-02T15:04:05.000000-07:00")
		event, err := sse.JSON("metrics", reading{CPU: 12.5 + float64(n), Memory: 40, At: at})
		event.ID = strconv.FormatUint(n, 10)
		return event, err
	}), nil
}

func main() {
	http.Handle("GET /metrics", sse.Handler(metrics, nil))
	localhost.Serve("127.0.0.1:3012")
}
