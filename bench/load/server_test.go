//go:build linux

package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"example.com/tidings/bench/internal/measure"
	main "example.com/tidings/bench/load"
)

// A hub is a minimal hub that can misbehave on purpose. The id of a message is its
// place among all messages.
type hub struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced with each message
	messages []posted
	fault    string // what goes wrong with message faulty, for the first subscriber that would get it
	faulty   int
}

type posted struct{ topic, data string }

func (h *hub) post(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.mu.Lock()
	h.messages = append(h.messages, posted{r.PathValue("topic"), string(data)})
	id := len(h.messages)
	close(h.changed)
	h.changed = make(chan struct{})
	h.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"id":"%d","topic":"%s"}`, id, r.PathValue("topic"))
}

func (h *hub) events(w http.ResponseWriter, r *http.Request) {
	topic := r.URL.Query().Get("topic")
	h.mu.Lock()
	next := len(h.messages)
	h.mu.Unlock()
	if id, err := strconv.Atoi(r.Header.Get("Last-Event-ID")); err == nil {
		next = id
	}
	c := http.NewResponseController(w)
	for {
		h.mu.Lock()
		changed := h.changed
		var b strings.Builder
		for ; next < len(h.messages); next++ {
			m := h.messages[next]
			times := 1
			if (m.topic == topic || h.fault == "astray") && h.fault != "" && next == h.faulty {
				times = map[string]int{"lost": 0, "twice": 2, "astray": 1}[h.fault]
				if h.fault != "astray" || m.topic != topic {
					h.fault, m.topic = "", topic
				}
			}
			if m.topic == topic {
				b.WriteString(strings.Repeat("data: "+m.data+"\n\n", times))
			}
		}
		h.mu.Unlock()
		io.WriteString(w, b.String())
		c.Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// serve serves a hub that mishandles one message, and returns its address.
func serve(t *testing.T, fault string, faulty int) string {
	addr, _ := serveTLS(t, fault, faulty)
	return addr
}

// serveTLS serves such a hub at two addresses. The second uses TLS.
func serveTLS(t *testing.T, fault string, faulty int) (addr, tlsAddr string) {
	h := &hub{changed: make(chan struct{}), fault: fault, faulty: faulty}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /topics/{topic}", h.post)
	mux.HandleFunc("GET /events", h.events)
	mux.HandleFunc("GET /topics", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"count":1}`) })
	plain, secure := httptest.NewServer(mux), httptest.NewUnstartedServer(mux)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	for _, s := range []*httptest.Server{plain, secure} {
		t.Cleanup(func() {
			s.CloseClientConnections()
			s.Close()
		})
	}
	return plain.Listener.Addr().String(), secure.Listener.Addr().String()
}

func TestStormSeesWhatIsLost(t *testing.T) {
	const behind = 20
	for _, tt := range []struct {
		rule              string
		fault             string
		faulty            int
		missing, disorder int
	}{
		{"all is well", "", 0, 0, 0},
		{"a live message is lost", "lost", behind + 2, 1, 0},
		{"a live message comes twice", "twice", behind + 2, 0, 1},
		{"a message of the replay is lost", "lost", behind - 5, 1, 0},
	} {
		for _, apart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, apart %v", tt.rule, apart), func(t *testing.T) {
				t.Parallel()
				result, err := main.Storm([]string{
					"-addr", serve(t, tt.fault, tt.faulty), "-others", "3", "-returning", "5", "-behind", fmt.Sprint(behind), "-rate", "50",
					"-idle", "10ms", "-before", "200ms", "-within", "50ms", "-after", "100ms", "-apart=" + fmt.Sprint(apart),
				})
				if err != nil {
					t.Fatal(err)
				}
				got := result.(main.StormResult)
				if got.Missing != tt.missing || got.Disorder != tt.disorder || got.Caught != 5 || got.Closed != 0 {
					t.Errorf("got %+v, want %d missing, %d in disorder, 5 caught up and none closed", got, tt.missing, tt.disorder)
				}
				// 50 messages a second to three subscribers, for 200 ms.
				if got.Before.Count < 15 || got.During.Count == 0 || got.After.Count == 0 {
					t.Errorf("got %d, %d and %d latencies before, during and after", got.Before.Count, got.During.Count, got.After.Count)
				}
			})
		}
	}
}

func TestTopicsSeesWhatGoesAstray(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		fault  string
		astray int
	}{
		{"each to its own", "", 0},
		{"one to another too", "astray", 1},
		{"one comes twice", "twice", 1},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			result, err := main.Topics([]string{
				"-addr", serve(t, tt.fault, 25), "-pid", fmt.Sprint(os.Getpid()),
				"-topics", "10", "-warm", "10", "-messages", "200", "-idle", "1ms",
			})
			if err != nil {
				t.Fatal(err)
			}
			got := result.(main.TopicsResult)
			if got.Astray != tt.astray || got.Closed != 0 || got.Deliveries.Count != 200 {
				t.Errorf("got %+v, want %d astray and 200 delivered", got, tt.astray)
			}
		})
	}
}

func TestGetsMeasures(t *testing.T) {
	result, err := main.Gets([]string{"-addr", serve(t, "", 0), "-pause", "1ms", "-for", "50ms"})
	if err != nil {
		t.Fatal(err)
	}
	if got := result.(measure.Spread); got.Count == 0 || got.P50 <= 0 {
		t.Errorf("got %+v", got)
	}
}

func TestQuietMeasures(t *testing.T) {
	result, err := main.Quiet([]string{"-addr", serve(t, "", 0), "-pause", "1ms", "-for", "50ms"})
	if err != nil {
		t.Fatal(err)
	}
	if got := result.(measure.Spread); got.Count == 0 || got.P50 <= 0 {
		t.Errorf("got %+v", got)
	}
}

func TestTopicsApartReachNobody(t *testing.T) {
	for _, topics := range []int{0, 10} {
		result, err := main.Topics([]string{
			"-addr", serve(t, "", 0), "-pid", fmt.Sprint(os.Getpid()), "-apart",
			"-topics", fmt.Sprint(topics), "-warm", "10", "-messages", "200", "-idle", "1ms",
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := result.(main.TopicsResult); got.Astray != 0 || got.Closed != 0 || got.Deliveries.Count != 200 {
			t.Errorf("%d topics: got %+v, want none astray and 200 acknowledged", topics, got)
		}
	}
}

func TestTLSSeesWhatIsLost(t *testing.T) {
	for _, protocol := range []string{"h1", "h2"} {
		for _, tt := range []struct {
			rule              string
			fault             string
			faulty            int
			missing, disorder int
		}{
			{"all is well", "", 0, 0, 0},
			{"a message is lost", "lost", 25, 1, 0},
			{"the last message is lost", "lost", 199, 1, 0},
			{"a message comes twice", "twice", 25, 0, 1},
		} {
			t.Run(protocol+", "+tt.rule, func(t *testing.T) {
				t.Parallel()
				addr, tlsAddr := serveTLS(t, tt.fault, tt.faulty)
				result, err := main.Secured([]string{
					"-addr", addr, "-tls", tlsAddr, "-pid", fmt.Sprint(os.Getpid()), "-protocol", protocol,
					"-streams", "6", "-connections", "2", "-messages", "200", "-flight", "8", "-idle", "1ms", "-stall", "2s",
				})
				if err != nil {
					t.Fatal(err)
				}
				got := result.(main.SecuredResult)
				if got.Missing != tt.missing || got.Disorder != tt.disorder || got.Closed != 0 || got.Messages != 200 {
					t.Errorf("got %+v, want 200 messages, %d missing, %d in disorder and none closed", got, tt.missing, tt.disorder)
				}
				if want := map[string]int{"h1": 6, "h2": 2}[protocol]; got.Connections != want || got.PerSecond <= 0 {
					t.Errorf("got %+v, want %d connections, and a rate", got, want)
				}
			})
		}
	}
}

func TestTLSSeesStreamsThatEnd(t *testing.T) {
	for _, protocol := range []string{"h1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			addr, _ := serveTLS(t, "", 0)
			brief := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.NewResponseController(w).Flush()
			}))
			brief.EnableHTTP2 = true
			brief.StartTLS()
			t.Cleanup(brief.Close)
			result, err := main.Secured([]string{
				"-addr", addr, "-tls", brief.Listener.Addr().String(), "-pid", fmt.Sprint(os.Getpid()), "-protocol", protocol,
				"-streams", "3", "-connections", "1", "-messages", "2", "-flight", "2", "-idle", "50ms", "-stall", "100ms",
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := result.(main.SecuredResult); got.Closed != 3 || got.Missing != 6 {
				t.Errorf("got %+v, want 3 closed and 6 missing", got)
			}
		})
	}
}

func TestOnlyThisMachineIsLoaded(t *testing.T) {
	for _, args := range [][]string{{"-addr", "192.0.2.1:80"}, {"-tls", "192.0.2.1:443"}} {
		load := main.Storm
		if args[0] == "-tls" {
			load = main.Secured
		}
		if _, err := load(args); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: got %v, want an error about the loopback", args, err)
		}
	}
}
