// Notifications sends each message that is posted to everyone who listens:
//
//	curl -N http://127.0.0.1:3008/events
//	curl http://127.0.0.1:3008/messages -H 'Content-Type: application/json' -d '{"user":"alice","text":"hello"}'
package main

import (
	"io"
	"iter"
	"net/http"
	"time"

	"example.com/tidings/broadcast"
	"example.com/tidings/examples/internal/chat"
	"example.com/tidings/examples/internal/localhost"
	"example.com/tidings/sse"
	"example.com/tidings/stream"
)

// messages keeps the last 64 for clients that are behind. One that falls
// further behind goes on with the oldest of them, and is told what it has
// missed: its sequence holds an *sse.GapError at that point, which the handler
// sends to it as an event of its own,
//
//	event: tidings.gap
//	data: {"reason":"lag","missed":39}
//
// ServeOptions.OnError could send another event instead, or end the response.
var messages = broadcast.New[chat.Message](64)

func publish(w http.ResponseWriter, r *http.Request) {
	message, ok := chat.Read(w, r)
	if !ok {
		return // Read has told the client why
	}
	messages.Send(message) // never waits for a client
	io.WriteString(w, "queued")
}

func subscribe(r *http.Request) (iter.Seq2[sse.Event, error], error) {
	received := messages.Subscribe(r.Context()).All()
	return stream.Map(received, func(m chat.Message) (sse.Event, error) { return sse.JSON("", m) }), nil
}

func main() {
	http.HandleFunc("POST /messages", publish)
	http.Handle("GET /events", sse.Handler(subscribe, &sse.ServeOptions{
		KeepAlive:      15 * time.Second,
		KeepAliveEvent: sse.Event{Comment: "keep-alive"},
	}))
	localhost.Serve("127.0.0.1:3008")
}
