package broadcast_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/broadcast"
)

var receiverCounts = []int{1, 100, 10_000}

const benchCapacity = 64

// perReceiver is what Channel is compared with: a buffered channel for each
// receiver, in a map under a mutex, a value dropped for a receiver whose buffer
// is full.
type perReceiver[T any] struct {
	mu        sync.Mutex
	receivers map[chan T]struct{}
}

func (c *perReceiver[T]) Subscribe() <-chan T {
	ch := make(chan T, benchCapacity)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.receivers == nil {
		c.receivers = make(map[chan T]struct{})
	}
	c.receivers[ch] = struct{}{}
	return ch
}

func (c *perReceiver[T]) Send(v T) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ch := range c.receivers {
		select {
		case ch <- v:
		default:
		}
	}
	return len(c.receivers)
}

func (c *perReceiver[T]) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ch := range c.receivers {
		close(ch)
	}
}

// subject is one of the two implementations, as the benchmarks drive it.
type subject struct {
	name      string
	subscribe func() (receive func(each func())) // receive runs until close
	send      func(int)
	close     func()
	waiting   func() int // how many receivers wait, or -1 if that is unknown
}

func subjects() []subject {
	c := broadcast.New[int](benchCapacity)
	p := new(perReceiver[int])
	return []subject{{
		name: "ring",
		subscribe: func() func(func()) {
			r := c.Subscribe(context.Background())
			return func(each func()) {
				for _, err := range r.All() {
					if err != nil {
						panic(err)
					}
					each()
				}
			}
		},
		send:    func(v int) { c.Send(v) },
		close:   c.Close,
		waiting: c.Waiting,
	}, {
		name: "channels",
		subscribe: func() func(func()) {
			ch := p.Subscribe()
			return func(each func()) {
				for range ch {
					each()
				}
			}
		},
		send:    func(v int) { p.Send(v) },
		close:   p.Close,
		waiting: func() int { return -1 },
	}}
}

func forEach(b *testing.B, run func(b *testing.B, sub subject, n int)) {
	for i, sub := range subjects() {
		for _, n := range receiverCounts {
			b.Run(fmt.Sprintf("%s/receivers=%d", sub.name, n), func(b *testing.B) {
				run(b, subjects()[i], n)
			})
		}
	}
}

// running is n receivers, each on its goroutine.
type running struct {
	subject
	n        int
	received atomic.Int64 // by all of them
	done     sync.WaitGroup
}

func run(sub subject, n int) *running {
	r := &running{subject: sub, n: n}
	for range n {
		receive := sub.subscribe()
		r.done.Go(func() { receive(func() { r.received.Add(1) }) })
	}
	return r
}

// settle returns when all receivers have received sent values, and then wait.
func (r *running) settle(sent int) {
	r.all(sent)
	if r.waiting() >= 0 {
		for r.waiting() < r.n {
			time.Sleep(20 * time.Microsecond)
		}
		return
	}
	time.Sleep(time.Millisecond) // long enough to get from counting to waiting
}

// all returns when all receivers have received sent values.
func (r *running) all(sent int) {
	for r.received.Load() < int64(r.n)*int64(sent) {
		runtime.Gosched()
	}
}

func (r *running) stop() {
	r.close()
	r.done.Wait()
}

// BenchmarkSendIdle is Send to receivers that do not receive.
func BenchmarkSendIdle(b *testing.B) {
	forEach(b, func(b *testing.B, sub subject, n int) {
		for range n {
			sub.subscribe()
		}
		b.ReportAllocs()
		for b.Loop() {
			sub.send(1)
		}
	})
}

// latencies are the times that single calls took.
type latencies []time.Duration

func (l *latencies) measure(call func()) {
	start := time.Now()
	call()
	*l = append(*l, time.Since(start))
}

func (l latencies) report(b *testing.B) {
	slices.Sort(l)
	b.ReportMetric(float64(l[len(l)/2]), "p50-ns/send")
	b.ReportMetric(float64(l[len(l)*99/100]), "p99-ns/send")
	b.ReportMetric(float64(l[len(l)-1]), "max-ns/send")
}

// BenchmarkSendWaiting is the time of the call of Send alone while all
// receivers wait and the processors are idle. (ns/op has the receiving and a
// pause in it.)
func BenchmarkSendWaiting(b *testing.B) {
	forEach(b, func(b *testing.B, sub subject, n int) {
		benchmarkSendWaiting(b, sub, n, sub.send, func(int) {})
	})
}

// BenchmarkGoWaiting is a go statement in the place of Send: what waking one
// idle processor costs on this machine.
func BenchmarkGoWaiting(b *testing.B) {
	for _, n := range receiverCounts {
		b.Run(fmt.Sprintf("receivers=%d", n), func(b *testing.B) {
			sub := subjects()[0]
			benchmarkSendWaiting(b, sub, n, func(int) { go func() {}() }, sub.send)
		})
	}
}

func benchmarkSendWaiting(b *testing.B, sub subject, n int, measured, then func(int)) {
	r := run(sub, n)
	defer r.stop()
	r.settle(0)
	var took latencies
	sent := 0
	b.ReportAllocs()
	for b.Loop() {
		took.measure(func() { measured(1) })
		then(1)
		sent++
		r.settle(sent)
	}
	took.report(b)
}

// BenchmarkSendBusy is the time of the call of Send alone while receivers are
// being woken and receive: 32 calls, 0.1 ms apart.
func BenchmarkSendBusy(b *testing.B) {
	forEach(b, func(b *testing.B, sub subject, n int) {
		r := run(sub, n)
		defer r.stop()
		r.settle(0)
		var took latencies
		sent := 0
		b.ReportAllocs()
		for b.Loop() {
			for range benchCapacity / 2 {
				took.measure(func() { sub.send(1) })
				sent++
				for start := time.Now(); time.Since(start) < 100*time.Microsecond; {
				}
			}
			r.all(sent)
		}
		took.report(b)
	})
}

// BenchmarkDeliver is a value from Send to the last receiver, one at a time.
func BenchmarkDeliver(b *testing.B) { benchmarkDeliver(b, 1) }

// BenchmarkDeliverPipelined is the same with up to 32 values in flight.
func BenchmarkDeliverPipelined(b *testing.B) { benchmarkDeliver(b, benchCapacity/2) }

func benchmarkDeliver(b *testing.B, inFlight int) {
	forEach(b, func(b *testing.B, sub subject, n int) {
		r := run(sub, n)
		defer r.stop()
		r.settle(0)
		sent := 0
		start := time.Now()
		b.ReportAllocs()
		for b.Loop() {
			sub.send(1)
			sent++
			if sent%inFlight == 0 {
				r.all(sent)
			}
		}
		r.all(sent)
		b.ReportMetric(float64(sent)*float64(n)/time.Since(start).Seconds(), "deliveries/s")
	})
}
