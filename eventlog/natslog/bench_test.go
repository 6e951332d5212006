package natslog_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/internal/natstest"
)

// Appends messages of 100 bytes, each in a call of its own, and publishes as many with the client
// of JetStream alone. Both take turns, so that what else the machine does hits them alike.
func BenchmarkAppend(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			servers := natstest.StartConfigured(b, natstest.Config{Servers: replicas})
			urls := natstest.URLs(servers)
			l := connect(b, natslog.Options{URL: urls, Replicas: replicas, Wait: patience})
			js := jetStream(b, urls)
			data := strings.Repeat("x", 100)
			for _, publishers := range []int{1, 64} {
				b.Run(fmt.Sprintf("publishers=%d", publishers), func(b *testing.B) {
					each := 50 * publishers
					var bare, appended time.Duration
					turns := 0
					for b.Loop() {
						bare += timeOf(publishers, each, func() error {
							_, err := js.Publish(b.Context(), "tidings.a", []byte(data))
							return err
						}, b.Error)
						appended += timeOf(publishers, each, func() error {
							return l.Append(b.Context(), []eventlog.Message{{Topic: "a", Data: data}})[0].Err
						}, b.Error)
						turns++
					}
					count := float64(turns * each)
					b.ReportMetric(count/bare.Seconds(), "bare/s")
					b.ReportMetric(count/appended.Seconds(), "appended/s")
					b.ReportMetric(bare.Seconds()/appended.Seconds(), "×")
				})
			}
		})
	}
}

// timeOf returns how long some goroutines take to call a function so many times in all.
func timeOf(goroutines, calls int, call func() error, failed func(...any)) time.Duration {
	begun := time.Now()
	var left atomic.Int64
	left.Store(int64(calls))
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					failed(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begun)
}
