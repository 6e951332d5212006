// Ticks sends three events, 200 ms apart, and ends:
//
//	curl -N http://127.0.0.1:3007/events
package main

import (
	"fmt"
	"iter"
	"net/http"
	"time"

	"example.com/tidings/examples/internal/localhost"
	"example.com/tidings/sse"
	"example.com/tidings/stream"
)

type tick struct {
	Seq     int    `json:"seq"`
	Message string `json:"message"`
}

func ticks(r *http.Request) (iter.Seq2[sse.Event, error], error) {
	events := stream.Map(stream.Of(0, 1, 2), func(seq int) (sse.Event, error) {
		return sse.JSON("tick", tick{seq, fmt.Sprintf("tick %d", seq)})
	})
	return stream.Throttle(r.Context(), events, 200*time.Millisecond), nil
}

func main() {
	http.Handle("GET /events", sse.Handler(ticks, nil))
	localhost.Serve("127.0.0.1:3007")
}
