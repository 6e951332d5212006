package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
)

// capabilities names the optional parts of the protocol that the service has.
var capabilities = []string{
	"bom", "comments", "headers", "last-event-id", "post", "read-timeout", "report", "restart",
	"server-directed-shutdown-request",
}

// A service starts and stops clients. It is safe for concurrent use.
type service struct {
	mux  *http.ServeMux
	stop func() // ends the program

	mu      sync.Mutex
	last    int
	clients map[int]*client
}

func newService(stop func()) *service {
	s := &service{mux: http.NewServeMux(), stop: stop, clients: map[int]*client{}}
	s.mux.HandleFunc("GET /{$}", s.describe)
	s.mux.HandleFunc("POST /{$}", s.start)
	s.mux.HandleFunc("DELETE /{$}", s.exit)
	s.mux.HandleFunc("POST /clients/{id}", s.command)
	s.mux.HandleFunc("DELETE /clients/{id}", s.remove)
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *service) describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct {
		Name         string   `json:"name"`
		Capabilities []string `json:"capabilities"`
	}{"tidings", capabilities})
}

// A start is the body of the request that starts a client.
type start struct {
	StreamURL      string            `json:"streamUrl"`
	CallbackURL    string            `json:"callbackUrl"`
	Tag            string            `json:"tag"`
	InitialDelayMS *int64            `json:"initialDelayMs"`
	ReadTimeoutMS  *int64            `json:"readTimeoutMs"`
	LastEventID    string            `json:"lastEventId"`
	Headers        map[string]string `json:"headers"`
	Method         string            `json:"method"`
	Body           string            `json:"body"`
}

func (s *service) start(w http.ResponseWriter, r *http.Request) {
	var p start
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		http.Error(w, "The body is not the JSON that starts a client.", http.StatusBadRequest)
		return
	}
	for name, value := range map[string]string{"streamUrl": p.StreamURL, "callbackUrl": p.CallbackURL} {
		if u, err := url.Parse(value); err != nil || u.Host == "" {
			http.Error(w, name+" is not a URL.", http.StatusBadRequest)
			return
		}
	}
	s.mu.Lock()
	s.last++
	id := s.last
	s.clients[id] = startClient(&p)
	s.mu.Unlock()
	w.Header().Set("Location", fmt.Sprintf("http://%s/clients/%d", r.Host, id))
	w.WriteHeader(http.StatusCreated)
}

func (s *service) exit(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusNoContent)
	s.stop()
}

func (s *service) command(w http.ResponseWriter, r *http.Request) {
	_, c := s.find(r)
	if c == nil {
		http.NotFound(w, r)
		return
	}
	var p struct {
		Command string `json:"command"`
	}
	if json.NewDecoder(r.Body).Decode(&p) != nil || p.Command != "restart" {
		http.Error(w, "The only command is restart.", http.StatusBadRequest)
		return
	}
	c.restart()
	w.WriteHeader(http.StatusNoContent)
}

func (s *service) remove(w http.ResponseWriter, r *http.Request) {
	id, c := s.find(r)
	if c == nil {
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	delete(s.clients, id)
	s.mu.Unlock()
	c.close()
	w.WriteHeader(http.StatusNoContent)
}

// find returns the client that a request names, or nil.
func (s *service) find(r *http.Request) (int, *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, _ := strconv.Atoi(r.PathValue("id"))
	return id, s.clients[id]
}

// close ends all clients.
func (s *service) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		c.close()
	}
	clear(s.clients)
}
