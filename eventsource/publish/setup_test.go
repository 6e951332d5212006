package publish_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventsource/publish"
	"example.com/tidings/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A sentLine is a message in the body of a batch.
type sentLine struct{ Topic, Type, Data, Key string }

// A hub answers batches in memory, inside a bubble of synctest.
type hub struct {
	answer func(n int, lines []sentLine) reply // n counts from 0

	mu     sync.Mutex
	times  []time.Time
	bodies [][]sentLine
}

// A reply is an answer to a batch.
type reply struct {
	status  int
	header  []string // names and values
	body    string
	cut     bool          // the answer breaks off after the body
	err     error         // there is no answer
	takes   time.Duration // before the answer
	problem bool
}

func (h *hub) RoundTrip(req *http.Request) (*http.Response, error) {
	var lines []sentLine
	for scan := bufio.NewScanner(req.Body); scan.Scan(); {
		var l sentLine
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	h.mu.Lock()
	n := len(h.times)
	h.times, h.bodies = append(h.times, time.Now()), append(h.bodies, lines)
	h.mu.Unlock()
	r := h.answer(n, lines)
	select {
	case <-time.After(r.takes):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	res := &http.Response{StatusCode: r.status, Header: http.Header{"Content-Type": {"application/x-ndjson"}}, Request: req}
	if r.problem {
		res.Header.Set("Content-Type", "application/problem+json")
	}
	for i := 0; i < len(r.header); i += 2 {
		res.Header.Set(r.header[i], r.header[i+1])
	}
	body := io.Reader(strings.NewReader(r.body))
	if r.cut {
		body = io.MultiReader(body, cutReader{})
	}
	res.Body = io.NopCloser(body)
	return res, nil
}

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.times)
}

type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (h *hub) client(opts publish.Options) *publish.Client {
	opts.HTTPClient = &http.Client{Transport: h}
	return publish.New("http://hub.test/api?x", &opts)
}

// stored is the answer that all lines are stored.
func stored(lines []sentLine) reply { return answers(200, lines, func(int) string { return "" }) }

// answers has a line for each message: the JSON that of returns, or that it is
// stored.
func answers(status int, lines []sentLine, of func(i int) string) reply {
	var b strings.Builder
	for i, l := range lines {
		s := of(i)
		if s == "" {
			s = fmt.Sprintf(`{"id":"e-%s","topic":%q,"status":201}`, l.Data, l.Topic)
		}
		b.WriteString(s + "\n")
	}
	return reply{status: status, body: b.String(), header: []string{"Idempotency-Window", "120"}}
}

// refusal is an answer about the whole batch.
func refusal(status int, name string, header ...string) reply {
	return reply{status: status, problem: true, header: header, body: fmt.Sprintf(`{"type":"urn:tidings:problem:%s","title":"T","detail":"D."}`, name)}
}

func messages(n int) (ms []publish.Message) {
	for i := range n {
		ms = append(ms, publish.Message{Topic: "a", Data: fmt.Sprint(i)})
	}
	return ms
}

// summary returns the outcomes, such as "stored stored unknown".
func summary(results []publish.Result) string {
	var words []string
	for _, r := range results {
		words = append(words, r.Outcome.String())
	}
	return strings.Join(words, " ")
}
