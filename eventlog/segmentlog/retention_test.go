package segmentlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// retainedBytes returns the size of what a log retains, and of the newest record that it
// does not.
func retainedBytes(l *Log, sizes map[uint64]int64) (size, next int64) {
	first := l.first.Load()
	for seq, n := range sizes {
		if seq >= first {
			size += n
		}
	}
	return size, sizes[first-1]
}

// MaxBytes is kept exactly: what is retained is not more, and with one record more it would
// be. That holds after each Append, also after a start and after kill -9.
func TestMaxBytesIsExact(t *testing.T) {
	for _, maxBytes := range []int64{1000, 50_000, 300_000} {
		t.Run(fmt.Sprint(maxBytes), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, uint64(maxBytes)))
			opts := Options{Dir: t.TempDir(), Sync: time.Millisecond, MaxBytes: maxBytes, MaxAge: -1, segmentBytes: 20_000, Logger: quiet()}
			l := opened(t, opts)
			sizes := map[uint64]int64{}
			check := func(what string) {
				t.Helper()
				size, next := retainedBytes(l, sizes)
				if size > maxBytes || next > 0 && size+next <= maxBytes {
					t.Fatalf("%s: %d bytes are retained, and the next record has %d", what, size, next)
				}
			}
			for round := range 1500 {
				m := eventlog.Message{Topic: "t", Data: strings.Repeat("x", rnd.IntN(400))}
				if round%100 == 50 {
					m.Data = strings.Repeat("x", 900)
				}
				sizes[publish(t, l, m)[0]] = int64(frameSize(&m))
				check(fmt.Sprintf("after message %d", round))
				if round%300 == 299 {
					if round%600 == 299 {
						l.sealing.Wait() // only the last segment but one may be larger than its records
						dir := copyFolder(t, opts.Dir)
						closeLog(t, l)
						opts.Dir = dir
					} else {
						closeLog(t, l)
					}
					l = opened(t, opts)
					check("after a start")
				}
			}
			large := eventlog.Message{Topic: "t", Data: strings.Repeat("x", int(maxBytes))}
			for _, a := range l.Append(t.Context(), []eventlog.Message{large, large}) {
				if !errors.Is(a.Err, eventlog.ErrTooLarge) {
					t.Errorf("a message that is larger than MaxBytes: %+v", a)
				}
			}
			check("after a message that was refused")
			large.Data = large.Data[:int(maxBytes)-headerBytes-1]
			sizes[publish(t, l, large)[0]] = maxBytes
			check("a message of MaxBytes")
			if st, _ := l.State(t.Context()); st.First != st.Last {
				t.Errorf("beside a message of MaxBytes the log retains %+v", st)
			}
			closeLog(t, l)
		})
	}
}

// MaxBytes is kept exactly while the segments are measured.
func TestMaxBytesWhileMeasuring(t *testing.T) {
	const maxBytes = 20_000
	l := opened(t, Options{Sync: time.Second, MaxBytes: maxBytes, MaxAge: -1, segmentBytes: 20_000, Logger: quiet()})
	ctx, cancel := context.WithCancel(t.Context())
	var measuring sync.WaitGroup
	measuring.Go(func() {
		for ctx.Err() == nil {
			if err := l.retention.expire(); err != nil && !errors.Is(err, errGone) {
				t.Errorf("expire: %v", err)
			}
		}
	})
	sizes := map[uint64]int64{}
	for i := range 1000 {
		m := eventlog.Message{Topic: "t", Data: strings.Repeat("x", i%400)}
		sizes[publish(t, l, m)[0]] = int64(frameSize(&m))
		if size, next := retainedBytes(l, sizes); size > maxBytes || next > 0 && size+next <= maxBytes {
			t.Errorf("after message %d: %d bytes are retained, and the next record has %d", i, size, next)
			break
		}
	}
	cancel()
	measuring.Wait()
	closeLog(t, l)
}

// A reader that stops in the middle keeps neither descriptors nor room on the disk.
func TestSlowReader(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Sync: time.Second, MaxBytes: 200_000, segmentBytes: 20_000, Logger: quiet()}
	l := opened(t, opts)
	publishMany(t, l, 1000, 50)
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	stopped, goOn := make(chan struct{}), make(chan struct{})
	readers.Go(func() {
		first := true
		for range l.Tail(ctx, generation, 0) {
			if first {
				first = false
				close(stopped)
				<-goOn
			}
		}
	})
	<-stopped
	publishMany(t, l, 20_000, 50)
	await(t, "the end of old segments", func() bool {
		size := int64(0)
		names, _ := filepath.Glob(filepath.Join(opts.Dir, "*"))
		for _, name := range names {
			if info, err := os.Stat(name); err == nil && !info.IsDir() {
				size += info.Size()
			}
		}
		return size < 2*opts.MaxBytes
	})
	if n := openIn(t, opts.Dir); n > 60 {
		t.Errorf("%d files are open", n)
	}
	close(goOn)
	cancel()
	readers.Wait()
	closeLog(t, l)
}

// Records that are too old go, by the log's own time, and so do the segments.
func TestMaxAge(t *testing.T) {
	clock := &fakeClock{wall: time.Now()}
	opts := Options{Dir: t.TempDir(), Sync: time.Second, MaxAge: time.Minute, segmentBytes: 20_000, clock: clock.source, Logger: quiet()}
	l := opened(t, opts)
	for step := range 6 {
		publishMany(t, l, 400, 50)
		clock.pass(20 * time.Second)
		if step < 3 {
			continue
		}
		want := uint64(step-2)*400 + 1
		await(t, fmt.Sprint("number ", want), func() bool { return l.first.Load() == want })
	}
	await(t, "the end of old segments", func() bool { return len(segmentFiles(t, opts.Dir)) < 8 })
	closeLog(t, l)
	clock.pass(time.Hour)
	l = opened(t, opts)
	publishMany(t, l, 1, 50)
	await(t, "the end of all other records", func() bool { return l.first.Load() == 6*400+1 })
	closeLog(t, l)
}

// Who opens a log after a long time reads what it had: nothing expires before somebody appends to
// the log or follows it.
func TestNothingExpiresBeforeUse(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, l *Log){
		"append": func(t *testing.T, l *Log) { publishMany(t, l, 1, 50) },
		"tail": func(t *testing.T, l *Log) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			for range l.Tail(ctx, generation, 10) {
				t.Error("there is a new record")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := &fakeClock{wall: time.Now()}
			opts := Options{Dir: t.TempDir(), MaxAge: 160 * time.Millisecond, clock: clock.source, Logger: quiet()} // looked at every 10 ms
			l := opened(t, opts)
			publishMany(t, l, 10, 50)
			closeLog(t, l)
			clock.pass(time.Hour)
			l = opened(t, opts)
			time.Sleep(100 * time.Millisecond)
			if c := read(t, l); c.first != 1 || len(c.records) != 10 {
				t.Errorf("of 10 records %d are left, from %d on", len(c.records), c.first)
			}
			use(t, l)
			await(t, "the end of old records", func() bool { return l.first.Load() == 11 })
			closeLog(t, l)
		})
	}
}
