// Clock counts the seconds for ever: curl -N http://127.0.0.1:3012/clock
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

func clock(r *http.Request) (iter.Seq2[sse.Event, error], error) {
	ticks := stream.Enumerate(stream.Every(r.Context(), time.Second))
	return stream.Map(ticks, func(tick stream.Indexed[time.Time]) (sse.Event, error) {
		return sse.Event{Data: strconv.Itoa(tick.Index)}, nil
	}), nil
}

func main() {
	http.Handle("GET /clock", sse.Handler(clock, nil))
	localhost.Serve("127.0.0.1:3012")
}
