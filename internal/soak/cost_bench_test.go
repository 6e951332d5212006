//go:build unix

package soak_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// benchFor is how long each benchmark of a whole server runs.
const benchFor = 3 * time.Second

// payload is a message of 100 bytes.
var payload = []byte(strings.Repeat("x", 100))

// lines returns a batch of n messages of 100 bytes.
func lines(n int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, `{"topic":"orders.42","data":%q}`+"\n", payload), n)
}

// A load is a request that a benchmark sends again and again.
type load struct {
	name, path, contentType string
	body                    []byte
	status                  string // the expected status
	messages                int    // in one request
}

// The loads of the benchmarks of publishing.
var (
	single    = load{"single", "/topics/orders.42", "text/plain", payload, "201", 1}
	batch100  = load{"batch=100", "/batch", "application/x-ndjson", lines(100), "200", 100}
	batch1000 = load{"batch=1000", "/batch", "application/x-ndjson", lines(1000), "200", 1000}
)

// Publishes durably over HTTP. Reports the messages acknowledged per second and the time
// of a request.
func BenchmarkPublish(b *testing.B) {
	for _, sync := range []string{"1s", "100ms", "always"} {
		for _, l := range []load{single, batch100, batch1000} {
			for _, connections := range []int{1, 64} {
				b.Run(fmt.Sprintf("sync=%s/%s/connections=%d", sync, l.name, connections), func(b *testing.B) {
					l.run(b, serve(b, "--sync", sync), connections)
				})
			}
		}
	}
}

// run sends the load to a server over several connections, and reports the results.
func (l load) run(b *testing.B, p *process, connections int) {
	b.Helper()
	posters := make([]*poster, connections)
	for i := range posters {
		var err error
		if posters[i], err = newPoster("http://"+p.addr, l.path, l.contentType, l.body); err != nil {
			b.Fatal(err)
		}
		defer posters[i].close()
	}
	for b.Loop() {
		took := postAll(b, posters, l.status)
		b.ReportMetric(float64(len(took)*l.messages)/benchFor.Seconds(), "messages/s")
		reportLatency(b, took, "ack")
	}
}

// postAll posts with all posters for benchFor, and returns the time of each request.
func postAll(b *testing.B, posters []*poster, status string) []time.Duration {
	b.Helper()
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	end := time.Now().Add(benchFor)
	for _, p := range posters {
		wg.Go(func() {
			var took []time.Duration
			for begin := time.Now(); begin.Before(end); {
				if err := p.post(status); err != nil {
					b.Error(err)
					return
				}
				now := time.Now()
				took = append(took, now.Sub(begin))
				begin = now
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	wg.Wait()
	return all
}

func reportLatency(b *testing.B, took []time.Duration, name string) {
	b.Helper()
	if len(took) == 0 {
		b.Fatal("nothing was measured")
	}
	slices.Sort(took)
	for _, q := range []struct {
		name string
		at   int
	}{{"p50", len(took) / 2}, {"p99", len(took) * 99 / 100}} {
		b.ReportMetric(float64(took[q.at].Nanoseconds())/1000, name+"-"+q.name+"-µs")
	}
}

// Measures the time from before a POST until a subscriber has read the event, at light load.
func BenchmarkPublishToDelivery(b *testing.B) {
	for subscribers, every := range map[int]time.Duration{1: 5 * time.Millisecond, 1000: 200 * time.Millisecond} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			p := serve(b)
			var mu sync.Mutex
			var took []time.Duration
			var wg sync.WaitGroup
			begun := make([]time.Time, 0, 1000) // by message
			for range subscribers {
				events := streamOf(b, p, "topic=orders.42")
				wg.Go(func() {
					defer events.close()
					var mine []time.Duration
					for n := 0; events.next(); n++ {
						now := time.Now()
						mu.Lock()
						at := begun[n]
						mu.Unlock()
						mine = append(mine, now.Sub(at))
					}
					mu.Lock()
					defer mu.Unlock()
					took = append(took, mine...)
				})
			}
			post, err := newPoster("http://"+p.addr, "/topics/orders.42", "text/plain", payload)
			if err != nil {
				b.Fatal(err)
			}
			defer post.close()
			nothing, err := newPoster("http://"+p.addr, "/nothing", "text/plain", payload)
			if err != nil {
				b.Fatal(err)
			}
			defer nothing.close()
			var acks, floor []time.Duration
			for b.Loop() {
				for range 100 { // measure an answer without work, at this pace
					time.Sleep(5 * time.Millisecond)
					at := time.Now()
					if err := nothing.post("404"); err != nil {
						b.Fatal(err)
					}
					floor = append(floor, time.Since(at))
				}
				for end := time.Now().Add(benchFor); time.Now().Before(end); time.Sleep(every) {
					at := time.Now()
					mu.Lock()
					begun = append(begun, at)
					mu.Unlock()
					if err := post.post("201"); err != nil {
						b.Fatal(err)
					}
					acks = append(acks, time.Since(at))
				}
			}
			if err := p.terminate(); err != nil { // ends the streams after all messages are delivered
				b.Fatal(err)
			}
			wg.Wait()
			if want := len(begun) * subscribers; len(took) != want {
				b.Errorf("%d deliveries, want %d", len(took), want)
			}
			reportLatency(b, floor, "404")
			reportLatency(b, acks, "ack")
			reportLatency(b, took, "delivery")
		})
	}
}

// One client reads all stored messages, oldest first.
func BenchmarkReplayOverHTTP(b *testing.B) {
	const messages = 300_000
	p := serve(b)
	fill(b, p, messages)
	for b.Loop() {
		events := streamOf(b, p, "topic=orders.42&from=start")
		begin := time.Now()
		for n := range messages {
			if !events.next() {
				b.Fatalf("the stream ends after %d events", n)
			}
		}
		b.ReportMetric(messages/time.Since(begin).Seconds(), "events/s")
		events.close()
	}
}

// A server restarts after a kill, with a million messages stored.
func BenchmarkStartAfterAKill(b *testing.B) {
	p := serve(b, "--dedup-window", "2m")
	fill(b, p, 1_000_000)
	for b.Loop() {
		p.kill()
		if err := p.start(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(p.opened.Seconds(), "s/start")
	}
}

// fill stores n messages of 100 bytes.
func fill(b *testing.B, p *process, n int) {
	b.Helper()
	post, err := newPoster("http://"+p.addr, "/batch", "application/x-ndjson", lines(1000))
	if err != nil {
		b.Fatal(err)
	}
	defer post.close()
	for range n / 1000 {
		if err := post.post("200"); err != nil {
			b.Fatal(err)
		}
	}
}

// A rawStream reads the messages of a stream at little cost.
type rawStream struct {
	conn  net.Conn
	lines *bufio.Reader
}

// streamOf subscribes and waits until the stream is open.
func streamOf(b *testing.B, p *process, query string) *rawStream {
	b.Helper()
	conn, err := net.DialTimeout("tcp", p.addr, 10*time.Second)
	if err != nil {
		b.Fatal(err)
	}
	s := &rawStream{conn, bufio.NewReaderSize(conn, 256<<10)}
	fmt.Fprintf(conn, "GET /events?%s HTTP/1.1\r\nHost: %s\r\n\r\n", query, p.addr)
	conn.SetDeadline(time.Now().Add(patience))
	for {
		line, err := s.lines.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		if bytes.HasPrefix(line, []byte("HTTP/")) && !bytes.Contains(line, []byte(" 200 ")) {
			b.Fatalf("%s: %s", http.MethodGet, line)
		}
		if bytes.HasPrefix(line, []byte("id: ")) {
			return s
		}
	}
}

// next reads the data of the next message, and reports whether there is one.
func (s *rawStream) next() bool {
	for {
		line, err := s.lines.ReadSlice('\n')
		if err != nil {
			return false
		}
		if bytes.HasPrefix(line, []byte("data: x")) {
			return true
		}
	}
}

func (s *rawStream) close() { s.conn.Close() }
