// Channel is the server that people write first: plain net/http, and for each
// client a goroutine and a channel. It loses nothing: a client whose channel is
// full makes the publisher wait, which a program that faces the world cannot let
// it do.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
)

// buffer is how many messages a client may be behind before it holds up the
// publisher: as many as the comparison has in flight at most.
const buffer = 64

// A broker hands each message to all clients. Its methods may be called
// concurrently.
type broker struct {
	mu      sync.Mutex
	clients map[chan string]struct{}
}

func (b *broker) events(w http.ResponseWriter, r *http.Request) {
	messages := make(chan string, buffer)
	b.mu.Lock()
	b.clients[messages] = struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.clients, messages)
		b.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	c := http.NewResponseController(w)
	if err := c.Flush(); err != nil {
		return
	}
	for {
		select {
		case m := <-messages:
			if _, err := fmt.Fprintf(w, "data: %s\n\n", m); err != nil {
				return
			}
			if err := c.Flush(); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

func (b *broker) publish(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.clients {
		c <- string(body)
	}
}

func main() {
	b := &broker{clients: map[chan string]struct{}{}}
	http.HandleFunc("GET /events", b.events)
	http.HandleFunc("POST /messages", b.publish)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
