// Launch counts down and ends: curl -N http://127.0.0.1:3010/launch
package main

import (
	"iter"
	"net/http"
	"time"

	"example.com/tidings/examples/internal/localhost"
	"example.com/tidings/sse"
	"example.com/tidings/stream"
)

func countdown(r *http.Request) (iter.Seq2[sse.Event, error], error) {
	return func(yield func(sse.Event, error) bool) {
		for _, n := range []string{"3", "2", "1"} {
			if stream.Sleep(r.Context(), 150*time.Millisecond) != nil || !yield(sse.Event{Data: "T-minus " + n}, nil) {
				return
			}
		}
		yield(sse.Event{Type: "liftoff", Data: "Liftoff!"}, nil)
	}, nil
}

func main() {
	http.Handle("GET /launch", sse.Handler(countdown, nil))
	localhost.Serve("127.0.0.1:3010")
}
