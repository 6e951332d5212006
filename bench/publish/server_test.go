//go:build linux

package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/bench/internal/measure"
	main "example.com/tidings/bench/publish"
)

// asServer is the address at which this program serves a hub, if it is set.
const asServer = "BENCH_PUBLISH_SERVER"

func TestMain(m *testing.M) {
	if addr := os.Getenv(asServer); addr != "" {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(addr, (&hub{}).handler()))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A hub is a minimal hub. The id of a message is its place among all messages, after
// the run that stored it: run a stored the first messages, and run b the others. It
// refuses every refuse-th request.
type hub struct {
	mu       sync.Mutex
	runA     int      // messages of run a; 0 means all
	topics   []string // of the messages
	refuse   int
	requests int
}

func (h *hub) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /topics/{topic}", func(w http.ResponseWriter, r *http.Request) {
		h.post(w, r, http.StatusCreated, func(string) string { return r.PathValue("topic") })
	})
	mux.HandleFunc("POST /batch", func(w http.ResponseWriter, r *http.Request) {
		h.post(w, r, http.StatusOK, func(line string) string {
			_, line, _ = strings.Cut(line, `"topic":"`)
			topic, _, _ := strings.Cut(line, `"`)
			return topic
		})
	})
	mux.HandleFunc("GET /events", h.events)
	mux.HandleFunc("GET /topics", h.list)
	return mux
}

// post stores a message for each line of the body.
func (h *hub) post(w http.ResponseWriter, r *http.Request, status int, topic func(line string) string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.requests++; h.refuse > 0 && h.requests%h.refuse == 0 {
		status = http.StatusServiceUnavailable
	} else {
		for line := range strings.Lines(string(body)) {
			h.topics = append(h.topics, topic(line))
		}
	}
	w.Header().Set("Content-Length", "2")
	w.WriteHeader(status)
	io.WriteString(w, "{}")
}

func (h *hub) events(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := func(place int) string {
		if h.runA > 0 && place > h.runA {
			return fmt.Sprintf("b-%d", place)
		}
		return fmt.Sprintf("a-%d", place)
	}
	out := bufio.NewWriter(w)
	defer out.Flush()
	place := 0
	if n, err := strconv.Atoi(r.FormValue("from")); err == nil {
		place = len(h.topics) - n
	}
	last := r.Header.Get("Last-Event-ID")
	if _, after, ok := strings.Cut(last, "-"); ok {
		place, _ = strconv.Atoi(after)
	}
	fmt.Fprintf(out, "event: tidings.open\nretry: 2000\ndata: {}\nid: %s\n\n", id(place))
	if last != "" && last != id(place) {
		fmt.Fprintf(out, "event: tidings.gap\ndata: {}\nid: %s\n\n", id(place))
		return
	}
	for i, topic := range h.topics[place:] {
		if filter := r.FormValue("topic"); filter == "**" || filter == topic {
			fmt.Fprintf(out, "data: xxx\nid: %s\n\n", id(place+i+1))
		}
	}
}

// list answers with pages of two topics out of bench.0 to bench.9.
func (h *hub) list(w http.ResponseWriter, r *http.Request) {
	first := 0
	if after := r.FormValue("after"); after != "" {
		n, _ := strconv.Atoi(strings.TrimPrefix(after, "bench."))
		first = n + 1
	}
	switch {
	case first == 9:
		io.WriteString(w, `{"topics":[{"topic":"bench.9"}]}`)
	case first == 8:
		io.WriteString(w, `{"topics":[{"topic":"bench.8"},{"topic":"bench.9"}]}`)
	default:
		fmt.Fprintf(w, `{"topics":[{"topic":"bench.%d"},{"topic":"bench.%d"}],"next":"bench.%d"}`, first, first+1, first+1)
	}
}

// listen serves a hub and returns its address.
func listen(t *testing.T, h *hub) string {
	s := httptest.NewServer(h.handler())
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// store publishes messages, to one of the topics after the other.
func store(t *testing.T, addr string, messages, topics int) {
	t.Helper()
	_, err := main.Load([]string{"-addr", addr, "-c", "2", "-b", "50", "-n", fmt.Sprint(messages), "-topics", fmt.Sprint(topics)})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLoadPublishesToAllTopics(t *testing.T) {
	for _, batch := range []string{"0", "64"} {
		h := &hub{}
		result, err := main.Load([]string{
			"-addr", listen(t, h), "-c", "3", "-s", "94", "-b", batch, "-n", "1000", "-topics", "100",
			"-i", fmt.Sprint(os.Getpid()), "-data", t.TempDir(),
		})
		if err != nil {
			t.Fatal(err)
		}
		got := result.(main.LoadResult)
		if got.Messages != 1000 || got.Failed != 0 || got.Logical != .1 || got.P50 <= 0 || got.PerSecond <= 0 || got.RestRSS <= 0 {
			t.Errorf("batches of %s: got %+v, want 1,000 messages of 102 bytes, and none failed", batch, got)
		}
		counts := map[string]int{}
		for _, topic := range h.topics {
			counts[topic]++
		}
		if len(h.topics) != 1000 || len(counts) != 100 || counts["bench.00"] != 10 || counts["bench.99"] != 10 {
			t.Errorf("batches of %s: got %d messages to %d topics", batch, len(h.topics), len(counts))
		}
	}
}

func TestLoadCountsWhatIsRefused(t *testing.T) {
	h := &hub{refuse: 4}
	result, err := main.Load([]string{"-addr", listen(t, h), "-c", "2", "-b", "10", "-n", "1000"})
	if err != nil {
		t.Fatal(err)
	}
	got := result.(main.LoadResult)
	if got.Messages != 750 || got.Failed != 25 || got.Count != 75 || got.Answers["503"] != 25 || len(h.topics) != 750 {
		t.Errorf("got %+v, want 25 of 100 batches refused", got)
	}
}

func TestLoadFailsWithoutAServer(t *testing.T) {
	result, err := main.Load([]string{"-addr", "127.0.0.1:1", "-c", "2", "-d", "1s"})
	if err != nil {
		t.Fatal(err)
	}
	if got := result.(main.LoadResult); got.Failed != 2 || got.Messages != 0 {
		t.Errorf("got %+v, want a failure for each connection", got)
	}
}

func TestReplayCountsMessages(t *testing.T) {
	addr := listen(t, &hub{})
	store(t, addr, 10_000, 10)
	result, err := main.Replay([]string{"-addr", addr, "-n", "10000"})
	if err != nil {
		t.Fatal(err)
	}
	if got := result.(main.ReplayResult); got.Messages != 10_000 || got.PerSecond <= 0 {
		t.Errorf("got %+v, want 10,000 messages", got)
	}
	if _, err := main.Replay([]string{"-addr", addr, "-n", "10001"}); err == nil || !strings.Contains(err.Error(), "10000 messages") {
		t.Errorf("one message is missing: got %v, want an error with their number", err)
	}
}

func TestResume(t *testing.T) {
	for _, tt := range []struct {
		rule string
		runA int
		args []string
		ok   bool
	}{
		{"ten behind", 0, []string{"-n", "10"}, true},
		{"a topic, from the middle", 0, []string{"-n", "1", "-middle"}, true},
		{"ten behind, another run stored the last message", 499, []string{"-n", "10"}, true},
		{"a topic, another run stored the last message", 499, []string{"-n", "1", "-middle"}, true},
		{"a topic, another run stored the middle: a gap is an error", 100, []string{"-n", "1", "-middle"}, false},
		{"a topic has too few messages", 0, []string{"-n", "4", "-middle"}, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			addr := listen(t, &hub{runA: tt.runA})
			store(t, addr, 500, 100)
			result, err := main.Resume(append([]string{"-addr", addr, "-topics", "100", "-times", "20"}, tt.args...))
			if !tt.ok {
				if err == nil {
					t.Errorf("got %+v, want an error", result)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := result.(measure.Spread); got.Count != 20 || got.P50 <= 0 {
				t.Errorf("got %+v, want 20 latencies", got)
			}
		})
	}
}

func TestPages(t *testing.T) {
	addr := listen(t, &hub{})
	for _, tt := range []struct {
		rule          string
		args          []string
		pages, topics int
	}{
		{"all", nil, 5, 10},
		{"the first", []string{"-pages", "2"}, 2, 4},
		{"those after bench.5", []string{"-middle"}, 2, 4},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			result, err := main.Pages(append([]string{"-addr", addr, "-topics", "10", "-limit", "2"}, tt.args...))
			if err != nil {
				t.Fatal(err)
			}
			if got := result.(main.PagesResult); got.Count != tt.pages || got.Topics != tt.topics {
				t.Errorf("got %+v, want %d topics on %d pages", got, tt.topics, tt.pages)
			}
		})
	}
}

func TestStartsAServerAgain(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var addr string
	var result any
	for range 3 { // another connection may get the port meanwhile
		addr = freeAddr(t)
		t.Setenv(asServer, addr)
		if result, err = main.Starts([]string{"-addr", addr, "-busy", "50ms", program}); err == nil {
			break
		}
		t.Log(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := result.(main.StartResult)
	if got.KillListens <= 0 || got.KillAnswered < got.KillListens || got.EndListens <= 0 || got.EndAnswered < got.EndListens {
		t.Errorf("got %+v, want times", got)
	}
	if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		c.Close()
		t.Error("the server still listens")
	}
}

// freeAddr returns an address on which nobody listens just now.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestStartSeesAServerThatEnds(t *testing.T) {
	if _, err := main.Starts([]string{"-addr", "127.0.0.1:1", "false"}); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("got %v, want an error", err)
	}
}
