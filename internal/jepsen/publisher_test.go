//go:build unix

package jepsen_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// attemptTimeout is how long a publisher waits for an answer.
const attemptTimeout = 12 * time.Second

// A publisher posts one message, or one batch, after the other. Each is sent again until it
// is acknowledged, if all of it has keys.
type publisher struct {
	name    string
	r       *rand.Rand
	history *history
	nodes   []*node
	answers *answers
	pause   time.Duration // the mean time between messages
	home    int           // the node that it prefers
	client  *http.Client
	begun   int
}

func newPublisher(number int, r *rand.Rand, h *history, nodes []*node, a *answers, pause time.Duration) *publisher {
	return &publisher{
		name: fmt.Sprint("p", number), r: r, history: h, nodes: nodes, answers: a, pause: pause, home: number % len(nodes),
		client: &http.Client{Transport: &http.Transport{}, Timeout: attemptTimeout},
	}
}

// run publishes until ctx is done. It then gives up what is not acknowledged.
func (p *publisher) run(ctx context.Context) {
	defer p.client.CloseIdleConnections()
	for ctx.Err() == nil {
		sleep(ctx, time.Duration(2*p.r.Float64()*float64(p.pause)))
		switch n := p.r.IntN(10); {
		case n < 2:
			batch := make([]*message, 2+p.r.IntN(6))
			for i := range batch {
				batch[i] = p.message(true)
			}
			p.send(ctx, batch, true, true)
		case n < 8:
			p.send(ctx, []*message{p.message(true)}, false, true)
		default:
			p.send(ctx, []*message{p.message(false)}, false, false)
		}
	}
}

// message returns a further message.
func (p *publisher) message(key bool) *message {
	p.begun++
	m := newMessage(p.r, fmt.Sprintf("%s-%d", p.name, p.begun), p.name)
	if key {
		m.key = m.name
	}
	return m
}

// newMessage returns a message on some topic.
func newMessage(r *rand.Rand, name, publisher string) *message {
	m := &message{name: name, publisher: publisher, topic: busyTopics[r.IntN(len(busyTopics))]}
	if r.IntN(50) == 0 {
		m.topic = rareTopics[r.IntN(len(rareTopics))]
	}
	if r.IntN(3) == 0 {
		m.typ = "note"
	}
	m.data = name + " " + strings.Repeat("x", r.IntN(300))
	return m
}

// The topics.
var (
	busyTopics = []string{"a.0", "a.1", "a.2", "b.0.x", "b.1.x", "b.1.y"}
	rareTopics = []string{"rare.0", "rare.1"}
)

// send sends messages until all of them are acknowledged or refused for good, or ctx is done.
// Without retries it sends them once.
func (p *publisher) send(ctx context.Context, all []*message, batch, retries bool) {
	for _, m := range all {
		p.history.begin(m, time.Now())
	}
	for node := p.home; ; node = (node + 1) % len(p.nodes) {
		if p.attempt(ctx, node, all, batch) || !retries {
			return
		}
		if sleep(ctx, 20*time.Millisecond); ctx.Err() != nil {
			return
		}
	}
}

// attempt sends messages once. It reports whether they need not be sent again.
func (p *publisher) attempt(ctx context.Context, node int, all []*message, batch bool) bool {
	a := answer{node: node, begun: time.Now()}
	body, err := p.post(ctx, node, all, batch, &a)
	a.at = time.Now()
	defer func() { p.answers.add(a) }()
	if err != nil {
		a.problem = "no answer: " + why(err)
		p.unknown(all)
		return false
	}
	if !batch {
		var answer struct{ ID, Type string }
		if err := json.Unmarshal(body, &answer); err != nil {
			a.problem = fmt.Sprintf("not JSON: %.80q", body)
			p.unknown(all)
			return false
		}
		return p.took(&a, all[0], a.status, answer.ID, answer.Type)
	}
	lines := bytes.Split(bytes.TrimSpace(body), []byte("\n"))
	if len(lines) != len(all) { // a problem for all of it
		var answer struct{ Type string }
		json.Unmarshal(body, &answer)
		for _, m := range all {
			p.took(&a, m, a.status, "", answer.Type)
		}
		return false
	}
	done := true
	for i, line := range lines {
		var answer struct {
			ID, Type string
			Status   int
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			a.problem = fmt.Sprintf("not JSON: %.80q", line)
			p.unknown(all[i:])
			return false
		}
		done = p.took(&a, all[i], answer.Status, answer.ID, answer.Type) && done
	}
	return done
}

// took takes the answer for one message. It reports whether the message need not be sent
// again.
func (p *publisher) took(a *answer, m *message, status int, id, problem string) bool {
	problem = strings.TrimPrefix(problem, "urn:tidings:problem:")
	switch {
	case status/100 == 2 && id != "":
		p.history.ack(m, id, a.at)
		a.acked++
		return true
	case problem == "key-conflict": // the message was stored once, and erased
		p.history.unknown(m)
		a.problem = problem
		return true
	case problem == "unavailable", problem == "stopping", problem == "insufficient-storage":
		a.problem = problem
	default:
		a.problem = fmt.Sprintf("%d %s", status, problem)
		p.history.unknown(m)
	}
	return false
}

func (p *publisher) unknown(all []*message) {
	for _, m := range all {
		p.history.unknown(m)
	}
}

// post sends one request. It returns the body of the answer.
func (p *publisher) post(ctx context.Context, node int, all []*message, batch bool, a *answer) ([]byte, error) {
	base := "http://" + p.nodes[node].clients.addr
	target, contentType, body := base+"/batch", "application/x-ndjson", encode(all)
	if !batch {
		target, contentType, body = base+"/topics/"+all[0].topic+"?type="+url.QueryEscape(all[0].typ), "text/plain", []byte(all[0].data)
	}
	// The request goes on when ctx is done: otherwise nobody knows whether it was stored.
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // otherwise the transport would send the request again by itself
	req.Header.Set("Content-Type", contentType)
	if !batch && all[0].key != "" {
		req.Header.Set("Idempotency-Key", all[0].key)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	a.status, a.retryAfter = res.StatusCode, res.Header.Get("Retry-After") != ""
	return io.ReadAll(res.Body)
}

// encode returns the lines of a batch.
func encode(all []*message) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, m := range all {
		line := map[string]string{"topic": m.topic, "data": m.data, "key": m.key}
		if m.typ != "" {
			line["type"] = m.typ
		}
		if err := enc.Encode(line); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

// why says in few words why there was no answer.
func why(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		if e.Timeout() {
			return "timeout"
		}
		err = e.Err
	}
	if i := strings.LastIndex(err.Error(), ": "); i >= 0 {
		return err.Error()[i+2:]
	}
	return err.Error()
}

// An answer is the outcome of one request to publish.
type answer struct {
	node       int
	begun, at  time.Time
	status     int // 0 without an answer
	retryAfter bool
	problem    string // "" if everything is stored
	acked      int
}

// answers has the outcome of each request. It may be used concurrently.
type answers struct {
	mu  sync.Mutex
	all []answer
}

func (s *answers) add(a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, a)
}

// counts returns how often each kind of answer was given, beside acknowledgements.
func (s *answers) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for _, a := range s.all {
		if a.problem != "" {
			n[a.problem]++
		}
	}
	return n
}

// wrong returns the answers that docs/http-api.md does not allow while NATS is away.
func (s *answers) wrong() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.all {
		if a.status == http.StatusInternalServerError || a.status == http.StatusServiceUnavailable && !a.retryAfter {
			all = append(all, fmt.Sprintf("node %d answers %d (%s, Retry-After: %t) at %s", a.node, a.status, a.problem, a.retryAfter, a.at.Format("15:04:05.000")))
		}
	}
	return all
}

// silence returns the longest time without an acknowledgement between two times: by a node,
// or by all of them if node is negative. Time before the first acknowledgement counts, and
// after the last one.
func (s *answers) silence(node int, from, to time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest, last := time.Duration(0), from
	for _, a := range s.all {
		if a.acked > 0 && (node < 0 || a.node == node) && a.at.After(last) && a.at.Before(to) {
			longest, last = max(longest, a.at.Sub(last)), a.at
		}
	}
	return max(longest, to.Sub(last))
}

// back returns how long after a time a node first acknowledged what was sent after it, or a
// negative time if it never did.
func (s *answers) back(node int, from time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := time.Duration(-1)
	for _, a := range s.all {
		if d := a.at.Sub(from); a.acked > 0 && a.node == node && !a.begun.Before(from) && (first < 0 || d < first) {
			first = d
		}
	}
	return first
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
