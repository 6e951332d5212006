//go:build unix

package soak_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// short returns n messages of 100 bytes. topic returns the topic of each.
func short(n int, topic func(i int) string) []message {
	padding := strings.Repeat("x", 100)
	all := make([]message, n)
	for i := range all {
		data := fmt.Sprintf("%d ", i)
		all[i] = message{Topic: topic(i), Data: data + padding[len(data):]}
	}
	return all
}

// A client resumes ten messages behind, in a log with few and with many messages.
// Measures the time from before it connects until it has the ten. The window holds only
// the newest message, so that the hub reads the ten from the log.
//
// One topic has nearly all messages. The others have ten: "quiet" among the last thousand
// messages, and "far" spread over the whole log.
func BenchmarkResume(b *testing.B) {
	const behind, among = 10, 1000
	for _, stored := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("stored=%d", stored), func(b *testing.B) {
			plan := short(stored, func(i int) string {
				switch {
				case i%(stored/behind) == stored/behind-2:
					return "far"
				case i >= stored-among && i%(among/behind) == 1:
					return "quiet"
				}
				return "busy"
			})
			p := serve(b, "--buffer", "1")
			ledger := newLedger(plan)
			pub := newPublisher(ledger, func() string { return p.addr }, false)
			defer pub.close()
			if err := publishAll(context.Background(), pub, 0, stored, 1000); err != nil {
				b.Fatal(err)
			}
			for _, topic := range []string{"busy", "quiet", "far"} {
				var mine []int
				for i, m := range plan {
					if m.Topic == topic {
						mine = append(mine, i)
					}
				}
				mine = mine[len(mine)-behind:]
				query := "topic=" + topic + "&from=start"
				if mine[0] > 0 {
					query = "topic=" + topic + "&lastEventId=" + ledger.ids[mine[0]-1]
				}
				b.Run("topic="+topic, func(b *testing.B) {
					var took []time.Duration
					for b.Loop() {
						for range 200 {
							begin := time.Now()
							s, err := tallyOf(p.addr, query)
							if err != nil {
								b.Fatal(err)
							}
							for _, want := range mine {
								if n, err := s.next(); err != nil || n != want {
									b.Fatalf("message %d comes (%v), want %d", n, err, want)
								}
							}
							took = append(took, time.Since(begin))
							s.close()
						}
					}
					reportLatency(b, took, "resume")
				})
			}
		})
	}
}

// A latencyProbe publishes messages on a topic at a steady pace, and measures how long
// each takes to the listeners of that topic.
type latencyProbe struct {
	pub   *publisher
	begun []time.Time // by message, before it was posted

	mu   sync.Mutex
	took []time.Duration
}

// newLatencyProbe subscribes listeners to the topic "live" of a server. They end with the
// benchmark.
func newLatencyProbe(b *testing.B, p *process, listeners int) *latencyProbe {
	b.Helper()
	t := &latencyProbe{begun: make([]time.Time, 100_000)}
	t.pub = newPublisher(newLedger(short(len(t.begun), func(int) string { return "live" })), func() string { return p.addr }, false)
	b.Cleanup(t.pub.close)
	for range listeners {
		s, err := tallyOf(p.addr, "topic=live")
		if err != nil {
			b.Fatal(err)
		}
		var wg sync.WaitGroup
		b.Cleanup(func() { s.close(); wg.Wait() })
		wg.Go(func() {
			for {
				n, err := s.next()
				if err != nil {
					return
				}
				now := time.Now()
				t.mu.Lock()
				t.took = append(t.took, now.Sub(t.begun[n]))
				t.mu.Unlock()
			}
		})
	}
	return t
}

// run publishes a message every 10 ms until stop is closed, beginning with number n. It
// returns the number of the next one.
func (t *latencyProbe) run(n int, stop <-chan struct{}) (int, error) {
	for tick := time.Tick(10 * time.Millisecond); ; n++ {
		select {
		case <-tick:
		case <-stop:
			return n, nil
		}
		t.mu.Lock()
		t.begun[n] = time.Now()
		t.mu.Unlock()
		if err := t.pub.single(context.Background(), n); err != nil {
			return n, err
		}
	}
}

// measure publishes while during runs, waits until all messages are delivered, and
// returns the latency of each delivery.
func (t *latencyProbe) measure(b *testing.B, n, listeners int, during func()) (next int, took []time.Duration) {
	b.Helper()
	t.mu.Lock()
	t.took = nil
	t.mu.Unlock()
	stop := make(chan struct{})
	go func() { defer close(stop); during() }()
	next, err := t.run(n, stop)
	if err != nil {
		b.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		t.mu.Lock()
		took = t.took
		t.mu.Unlock()
		if len(took) == (next-n)*listeners {
			return next, took
		}
		if time.Now().After(end) {
			b.Fatalf("%d deliveries of %d", len(took), (next-n)*listeners)
		}
	}
}

// 500 clients get a message every 10 ms, first alone and then while another client
// stalls. The ratio is the cost of the stalled client, whose connection is full and whose
// subscription is behind the window.
func BenchmarkStalledClient(b *testing.B) {
	const healthy = 500
	p := serve(b)
	probe := newLatencyProbe(b, p, healthy)
	n := 0
	var took []time.Duration
	for b.Loop() {
		pause := func() { time.Sleep(4 * time.Second) }
		n, _ = probe.measure(b, n, healthy, pause) // to warm up
		n, took = probe.measure(b, n, healthy, pause)
		reportLatency(b, took, "alone")
		alone := took[len(took)*99/100]

		burst := kilobyte(10_000, "burst")
		pub := newPublisher(newLedger(burst), func() string { return p.addr }, false)
		defer pub.close()
		stalled, err := dial(context.Background(), p.addr, map[string][]string{"topic": {"live", "burst"}}, "", 4096)
		if err != nil {
			b.Fatal(err)
		}
		defer stalled.close()
		if err := publishAll(context.Background(), pub, 0, len(burst), 500); err != nil {
			b.Fatal(err)
		}
		n, took = probe.measure(b, n, healthy, pause)
		reportLatency(b, took, "stalled")
		b.ReportMetric(float64(took[len(took)*99/100])/float64(alone), "ratio-p99")
		var info struct{ Subscribers int }
		if err := get(pub, p.addr, "/topics/burst", &info); err != nil || info.Subscribers != 1 {
			b.Errorf("the stalled client has already gone (%v)", err)
		}
	}
}

// 2,000 clients reconnect at once, each 1,000 messages behind, while 50 others are live.
// Measures the time until the last one has caught up, the memory, and the latency of the
// others.
func BenchmarkReconnectStorm(b *testing.B) {
	const clients, behind, live = 2000, 1000, 50
	p := serve(b)
	plan := short(5000, func(int) string { return "orders.42" })
	ledger := newLedger(plan)
	pub := newPublisher(ledger, func() string { return p.addr }, false)
	defer pub.close()
	if err := publishAll(context.Background(), pub, 0, len(plan), 500); err != nil {
		b.Fatal(err)
	}
	probe := newLatencyProbe(b, p, live)
	n := 0
	var took []time.Duration
	for b.Loop() {
		n, took = probe.measure(b, n, live, func() { time.Sleep(3 * time.Second) })
		reportLatency(b, took, "before")
		memory := watchMemory(p)
		query := "topic=orders.42&lastEventId=" + ledger.ids[len(plan)-behind-1]
		streams := make([]*tally, clients)
		var elapsed time.Duration
		n, took = probe.measure(b, n, live, func() {
			begin := time.Now()
			var wg sync.WaitGroup
			for i := range clients {
				wg.Go(func() {
					s, err := tallyOf(p.addr, query)
					if err != nil {
						b.Error(err)
						return
					}
					streams[i] = s
					for want := len(plan) - behind; want < len(plan); want++ {
						if n, err := s.next(); err != nil || n != want {
							b.Errorf("client %d: message %d comes (%v), want %d", i, n, err, want)
							return
						}
					}
				})
			}
			wg.Wait()
			elapsed = time.Since(begin)
		})
		reportLatency(b, took, "meanwhile")
		b.ReportMetric(elapsed.Seconds(), "s/storm")
		b.ReportMetric(clients*behind/elapsed.Seconds(), "events/s")
		most, _ := memory.stop()
		connected, _ := p.memory()
		b.ReportMetric(float64(memory.begin>>20), "MiB-before")
		b.ReportMetric(float64(most>>20), "MiB-peak")
		b.ReportMetric(float64(connected>>20), "MiB-connected")
		for _, s := range streams {
			if s != nil {
				s.close()
			}
		}
		time.Sleep(5 * time.Second) // the server notices that the clients left, and gives memory back
		after, _ := p.memory()
		b.ReportMetric(float64(after>>20), "MiB-after")
	}
}
