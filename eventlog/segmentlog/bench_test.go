package segmentlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// written returns how many bytes this process has written to disks, or 0.
func written() int64 {
	b, _ := os.ReadFile("/proc/self/io")
	for line := range bytes.Lines(b) {
		if rest, ok := strings.CutPrefix(string(line), "write_bytes: "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return n
		}
	}
	return 0
}

func BenchmarkAppend(b *testing.B) {
	for _, sync := range []time.Duration{0, time.Second} {
		for _, load := range []struct{ callers, batch, topics int }{{1, 1, 1000}, {64, 1, 1000}, {8, 100, 1000}, {8, 100, 1_000_000}} {
			b.Run(fmt.Sprintf("sync=%v/callers=%d/batch=%d/topics=%d", sync, load.callers, load.batch, load.topics), func(b *testing.B) {
				benchmarkAppend(b, &Options{Dir: b.TempDir(), Sync: sync}, load.callers, load.batch, load.topics)
			})
		}
	}
}

func benchmarkAppend(b *testing.B, opts *Options, callers, batch, topics int) {
	l, err := Open(b.Context(), opts)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	data := strings.Repeat("x", 100)
	before := written()
	var taken, logical atomic.Int64
	var latest sync.Mutex
	var waits []time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			messages := make([]eventlog.Message, batch)
			var own []time.Duration
			for taken.Add(int64(batch)) <= int64(b.N+batch) {
				n := 0
				for i := range messages {
					messages[i] = eventlog.Message{Topic: fmt.Sprintf("bench.%07d", rand.IntN(topics)), Data: data}
					n += len(messages[i].Topic) + len(data)
				}
				start := time.Now()
				for _, a := range l.Append(b.Context(), messages) {
					if a.Err != nil {
						b.Error(a.Err)
						return
					}
				}
				own = append(own, time.Since(start))
				logical.Add(int64(n))
			}
			latest.Lock()
			waits = append(waits, own...)
			latest.Unlock()
		})
	}
	all.Wait()
	b.StopTimer()
	if n := written() - before; n > 0 && logical.Load() > 0 {
		b.ReportMetric(float64(n)/float64(logical.Load()), "written/logical")
	}
	if len(waits) > 0 {
		slices.Sort(waits)
		b.ReportMetric(waits[len(waits)*999/1000].Seconds()*1000, "p99.9-ms")
		b.ReportMetric(waits[len(waits)/2].Seconds()*1000, "p50-ms")
	}
}

func BenchmarkRead(b *testing.B) {
	l, err := Open(b.Context(), &Options{Dir: b.TempDir(), Sync: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	const stored, names = 1_000_000, 100_000
	messages := make([]eventlog.Message, 1000)
	for n := 0; n < stored; n += len(messages) {
		for i := range messages {
			messages[i] = eventlog.Message{Topic: fmt.Sprintf("bench.%07d", rand.IntN(names)), Data: strings.Repeat("x", 100)}
		}
		l.Append(b.Context(), messages)
	}
	for _, c := range []struct {
		name, pattern string
		behind        uint64
	}{{"replay", "**", stored}, {"ten behind", "**", 10}, {"next of a topic", "bench.0000077", stored / 2}, {"ten behind on a topic", "bench.0000077", 10}} {
		b.Run(c.name, func(b *testing.B) {
			filters := topics.MustFilters(c.pattern)
			b.ReportAllocs()
			for b.Loop() {
				after := stored - c.behind
				if c.behind == stored {
					after = rand.Uint64N(stored - 256)
				}
				_, err := l.Read(b.Context(), eventlog.Query{Filters: filters, After: after, UpTo: stored, MaxRecords: 256, MaxBytes: 256 << 10})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
