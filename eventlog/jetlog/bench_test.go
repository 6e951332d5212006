package jetlog_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/jetlog"
	"example.com/tidings/topics"
)

var payload = strings.Repeat("x", 100)

// syncs are the settings of Options.Sync that the benchmarks compare.
var syncs = []struct {
	name string
	sync time.Duration
}{{"sync=1s", 0}, {"sync=always", jetlog.SyncAlways}}

func BenchmarkAppend(b *testing.B) {
	for _, s := range syncs {
		for _, goroutines := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", s.name, goroutines), func(b *testing.B) {
				l := open(b, jetlog.Options{Dir: b.TempDir(), Sync: s.sync})
				b.ReportAllocs()
				b.SetParallelism(max(1, goroutines/runtime.GOMAXPROCS(0)))
				b.ResetTimer()
				if goroutines == 1 {
					for b.Loop() {
						mustAppend(b, l, []eventlog.Message{{Topic: "orders.42", Data: payload}})
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							mustAppend(b, l, []eventlog.Message{{Topic: "orders.42", Data: payload}})
						}
					})
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
		for _, size := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%s/batch=%d", s.name, size), func(b *testing.B) {
				l := open(b, jetlog.Options{Dir: b.TempDir(), Sync: s.sync})
				batch := make([]eventlog.Message, size)
				for i := range batch {
					batch[i] = eventlog.Message{Topic: fmt.Sprintf("orders.%d", i), Data: payload}
				}
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					mustAppend(b, l, batch)
					n += size
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
	b.Run("typed and keyed/goroutines=1", func(b *testing.B) {
		l := open(b, jetlog.Options{Dir: b.TempDir()})
		b.ReportAllocs()
		var n atomic.Int64
		for b.Loop() {
			mustAppend(b, l, []eventlog.Message{{Topic: "orders.42", Type: "order.created", Key: fmt.Sprint(n.Add(1)), Data: payload}})
		}
	})
}

func mustAppend(tb testing.TB, l eventlog.Log, messages []eventlog.Message) {
	for _, a := range l.Append(tb.Context(), messages) {
		if a.Err != nil {
			tb.Error(a.Err)
			return
		}
	}
}

// stock fills a log with n messages on 1,000 topics and a rare one.
func stock(tb testing.TB, l eventlog.Log, n int) {
	batch := make([]eventlog.Message, 0, 1000)
	for i := range n {
		topic := fmt.Sprintf("orders.%d", i%1000)
		if i%10000 == 0 {
			topic = "rare"
		}
		if batch = append(batch, eventlog.Message{Topic: topic, Data: payload}); len(batch) == cap(batch) || i == n-1 {
			mustAppend(tb, l, batch)
			batch = batch[:0]
		}
	}
}

func BenchmarkRead(b *testing.B) {
	const n = 300_000
	l := open(b, jetlog.Options{Dir: b.TempDir()})
	stock(b, l, n)
	for _, pattern := range []string{"**", "orders.*", "orders.7", "rare"} {
		b.Run(strings.ReplaceAll(pattern, "*", "+"), func(b *testing.B) {
			fs, err := topics.ParseFilters(pattern)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			read := 0
			for b.Loop() {
				for q := (eventlog.Query{Filters: fs, UpTo: n, MaxRecords: 256, MaxBytes: 1 << 20}); q.After < q.UpTo; {
					batch, err := l.Read(b.Context(), q)
					if err != nil {
						b.Fatal(err)
					}
					read += len(batch.Records)
					q.After = batch.Through
				}
			}
			b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "rec/s")
		})
	}
}

// Ten behind costs the same, however much is stored.
func BenchmarkResume(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("stored=%d", n), func(b *testing.B) {
			l := open(b, jetlog.Options{Dir: b.TempDir()})
			stock(b, l, n)
			for _, pattern := range []string{"**", "orders.995"} {
				b.Run(strings.ReplaceAll(pattern, "*", "+"), func(b *testing.B) {
					fs, err := topics.ParseFilters(pattern)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportAllocs()
					q := eventlog.Query{Filters: fs, After: uint64(n) - 10, UpTo: uint64(n), MaxRecords: 256, MaxBytes: 1 << 20}
					for b.Loop() {
						if batch, err := l.Read(b.Context(), q); err != nil || batch.Through != q.UpTo {
							b.Fatal(batch, err)
						}
					}
				})
			}
		})
	}
}

// A start after kill -9 with a million messages stored, each with a key, within
// the window in which keys are remembered.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("stored=%d", n), func(b *testing.B) {
			dir := b.TempDir()
			c := startChild(b, dir, 0)
			c.append(n)
			if got := len(c.stored(b, 0)); got != n {
				b.Fatalf("%d messages are stored", got)
			}
			c.kill()
			c.wait()
			for b.Loop() {
				l, err := jetlog.Open(b.Context(), &jetlog.Options{Dir: dir, Logger: quiet(b)})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if st, err := l.State(b.Context()); err != nil || st.Last != uint64(n) {
					b.Fatal(st, err)
				}
				l.Close()
				b.StartTimer()
			}
		})
	}
}
