// Gosse is tmaxmax/go-sse as its README sets it up: the zero Server, whose
// provider is Joe without a replayer. It sends a client's headers together with
// the first message.
package main

import (
	"io"
	"log"
	"net/http"
	"os"

	"github.com/tmaxmax/go-sse"
)

func main() {
	s := &sse.Server{}
	http.Handle("GET /events", s)
	http.HandleFunc("POST /messages", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "the body could not be read", http.StatusBadRequest)
			return
		}
		m := &sse.Message{}
		m.AppendData(string(body))
		if err := s.Publish(m); err != nil {
			http.Error(w, "not published", http.StatusInternalServerError)
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
