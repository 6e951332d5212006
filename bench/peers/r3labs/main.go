// R3labs is r3labs/sse as its README sets it up, which keeps every message for
// those who come later: AutoReplay is its default, and nothing is ever removed.
package main

import (
	"io"
	"log"
	"net/http"
	"os"

	"github.com/r3labs/sse/v2"
)

func main() {
	s := sse.New()
	s.CreateStream("messages")
	http.HandleFunc("GET /events", s.ServeHTTP) // ?stream=messages
	http.HandleFunc("POST /messages", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "the body could not be read", http.StatusBadRequest)
			return
		}
		s.Publish("messages", &sse.Event{Data: body})
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
