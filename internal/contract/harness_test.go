package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/tidings/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// A harness tests clients of the service as LaunchDarkly's does: it serves the
// streams and takes the callbacks.
type harness struct {
	t       *testing.T
	service *httptest.Server
	own     *httptest.Server // the streams and the callbacks
	http    *http.Client

	connections chan *connection
	messages    chan received
	answer      func(w http.ResponseWriter, r *http.Request) bool // may answer for the stream
	location    string
}

// A received is a callback.
type received struct {
	number string
	message
}

// A connection is one request for the stream.
type connection struct {
	request *http.Request
	body    string
	send    chan string // "" breaks the connection
}

// closing ends the connection as a server does that has said everything.
const closing = "\x00close"

func newHarness(t *testing.T) *harness {
	h := &harness{t: t, connections: make(chan *connection, 10), messages: make(chan received, 1000), http: &http.Client{Transport: &http.Transport{}}}
	s := newService(func() {})
	h.service = httptest.NewServer(s)
	mux := http.NewServeMux()
	mux.HandleFunc("/stream", h.stream)
	mux.HandleFunc("POST /callback/{n}", h.callback)
	h.own = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.close()
		h.http.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
		h.service.Close()
		h.own.CloseClientConnections()
		h.own.Close()
	})
	return h
}

func (h *harness) stream(w http.ResponseWriter, r *http.Request) {
	if h.answer != nil && h.answer(w, r) {
		h.connections <- &connection{request: r}
		return
	}
	body, _ := io.ReadAll(r.Body)
	c := &connection{request: r, body: string(body), send: make(chan string, 1000)}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	h.connections <- c
	for {
		select {
		case text := <-c.send:
			switch text {
			case "":
				panic(http.ErrAbortHandler)
			case closing:
				return
			}
			io.WriteString(w, text)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (h *harness) callback(w http.ResponseWriter, r *http.Request) {
	m := received{number: r.PathValue("n")}
	if err := json.NewDecoder(r.Body).Decode(&m.message); err != nil {
		h.t.Errorf("callback %s: %v", m.number, err)
	}
	h.messages <- m
	w.WriteHeader(http.StatusAccepted)
}

// do sends a request with a JSON body to the service.
func (h *harness) do(method, url string, body any) *http.Response {
	h.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, url, bytes.NewReader(b))
	if err != nil {
		h.t.Fatal(err)
	}
	res, err := h.http.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res
}

// start starts a client with these further parameters.
func (h *harness) start(params map[string]any) {
	h.t.Helper()
	body := map[string]any{"streamUrl": h.own.URL + "/stream", "callbackUrl": h.own.URL + "/callback", "tag": h.t.Name()}
	for name, value := range params {
		body[name] = value
	}
	res := h.do("POST", h.service.URL, body)
	h.location = res.Header.Get("Location")
	if res.StatusCode != http.StatusCreated || !strings.HasPrefix(h.location, h.service.URL+"/") {
		h.t.Fatalf("status %d, Location %q", res.StatusCode, h.location)
	}
}

// connection waits for the next request for the stream.
func (h *harness) connection() *connection {
	h.t.Helper()
	select {
	case c := <-h.connections:
		return c
	case <-time.After(patience):
		h.t.Fatal("the client does not connect")
		return nil
	}
}

// next waits for the next callback and checks its number.
func (h *harness) next(n int) message {
	h.t.Helper()
	select {
	case m := <-h.messages:
		if m.number != fmt.Sprint(n) {
			h.t.Fatalf("callback %s comes as number %d", m.number, n)
		}
		return m.message
	case <-time.After(patience):
		h.t.Fatal("no callback")
		return message{}
	}
}

// say returns a callback as one line.
func (m message) say() string {
	switch {
	case m.Event != nil:
		return fmt.Sprintf("%s %q %q", m.Event.Type, m.Event.Data, m.Event.ID)
	case m.Comment != nil:
		return fmt.Sprintf("comment %q", *m.Comment)
	}
	return m.Kind
}

// expect checks the next callbacks, of which the first has the number n. "error"
// stands for any error.
func (h *harness) expect(n int, want ...string) {
	h.t.Helper()
	for i, w := range want {
		if got := h.next(n + i).say(); got != w {
			h.t.Fatalf("callback %d is %.200s, want %.200s", n+i, got, w)
		}
	}
}
