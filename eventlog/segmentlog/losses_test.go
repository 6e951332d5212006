package segmentlog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A logbook has log lines as text. It may be used concurrently.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines returns the lines that have some text.
func (l *logbook) lines(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Spans are a set of numbers.
func TestSpans(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var s spans
		set := map[uint64]bool{}
		for range 1 + rnd.IntN(12) {
			h := span{1 + rnd.Uint64N(40), 0}
			h.last = h.first + rnd.Uint64N(5)
			s = s.add(h)
			for n := h.first; n <= h.last; n++ {
				set[n] = true
			}
		}
		all := numbers(s)
		if !slices.IsSorted(all) || len(all) != len(set) || s.count() != uint64(len(set)) {
			t.Fatalf("%v has %d numbers, want %d", s, len(all), len(set))
		}
		for i := 1; i < len(s); i++ {
			if s[i-1].last+1 >= s[i].first {
				t.Fatalf("%v are not joined", s)
			}
		}
		for n := uint64(1); n < 50; n++ {
			next, ok := s.after(n)
			if s.has(span{n, n}) != set[n] || ok && next.last <= n || set[n+1] && (!ok || next.first > n+1) {
				t.Fatalf("%v: %d is in them: %v, after it comes %v", s, n, s.has(span{n, n}), next)
			}
		}
		if part := numbers(s.within(span{10, 20})); !slices.Equal(part, slices.DeleteFunc(all, func(n uint64) bool { return n < 10 || n > 20 })) {
			t.Fatalf("the part of %v is %v", s, part)
		}
	}
}

// damaged returns a folder of 3,000 records in segments, and the numbers that are lost in it.
func damaged(t *testing.T, hurt func(dir string)) (dir string, gone spans) {
	t.Helper()
	dir = t.TempDir()
	l := opened(t, Options{Dir: dir, Sync: time.Second, segmentBytes: 32 << 10, files: unsynced{}})
	for i := range 30 {
		batch := make([]eventlog.Message, 100)
		for k := range batch {
			batch[k] = eventlog.Message{Topic: "often", Data: fmt.Sprint("data ", i, k)}
		}
		batch[0].Topic = "rare"
		publish(t, l, batch...)
	}
	l.indexed(t)
	closeLog(t, l)
	hurt(dir)
	there := intact(t, dir)
	for seq := uint64(1); seq <= 3000; seq++ {
		if !there[seq] {
			gone = gone.add(span{seq, seq})
		}
	}
	return dir, gone
}

// pages clears a page of some segments.
func pages(t *testing.T, dir string, segments ...int) {
	t.Helper()
	names := segmentFiles(t, dir)
	for _, i := range segments {
		rewrite(t, names[i], func(b []byte) []byte { clear(b[8192:12288]); return b })
	}
}

// toldTo returns what a reader of a topic is told as lost.
func toldTo(t *testing.T, l *Log, topic string) (told spans) {
	t.Helper()
	st, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for after := st.First - 1; after < st.Last; {
		b, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters(topic), After: after, UpTo: st.Last, MaxRecords: 100, MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if b.Reason == sse.GapLost {
			told = told.add(span{after + 1, b.Hole})
		}
		after = b.Through
	}
	return told
}

// The verification finds damage that no reader has met. The metric has it, and one line for
// each range is in the log. A later start knows it before it has verified anything, and tells
// each reader, whatever its filter.
func TestVerificationFindsDamage(t *testing.T) {
	for name, hurt := range map[string]func(dir string){
		"pages": func(dir string) { pages(t, dir, 1, 3) },
		"a missing segment": func(dir string) {
			if err := os.Remove(segmentFiles(t, dir)[2]); err != nil {
				t.Fatal(err)
			}
		},
		"missing segments, the first among them": func(dir string) {
			names := segmentFiles(t, dir)
			for _, i := range []int{0, 1, 3} {
				if err := os.Remove(names[i]); err != nil {
					t.Fatal(err)
				}
			}
		},
		"the end of a segment": func(dir string) {
			rewrite(t, segmentFiles(t, dir)[1], func(b []byte) []byte { clear(b[len(b)-500:]); return b })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, gone := damaged(t, hurt)
			book := &logbook{}
			l := opened(t, Options{Dir: dir, Logger: book.logger(), files: unsynced{}})
			l.verified(t)
			if st := l.Stats(); st.Lost != gone.count() || st.Bytes == 0 {
				t.Errorf("the figures are %+v, %d messages are lost", st, gone.count())
			}
			closeLog(t, l)
			var want []string
			for _, h := range gone {
				want = append(want, fmt.Sprintf(" first=%d last=%d file=", h.first, h.last))
			}
			lines := book.lines("messages are lost")
			if len(lines) != len(want) || slices.ContainsFunc(want, func(s string) bool { return len(book.lines(s)) != 1 }) {
				t.Errorf("the log has\n%s\nwant a line for each of %q", strings.Join(lines, ""), want)
			}

			book = &logbook{}
			l = opened(t, Options{Dir: dir, Logger: book.logger(), verifyRate: 1, files: unsynced{}})
			for _, topic := range []string{"none", "rare", "**"} {
				if told := toldTo(t, l, topic); !slices.Equal(told, gone) {
					t.Errorf("a reader of %s is told of %v, lost are %v", topic, told, gone)
				}
			}
			if st := l.Stats(); st.Lost != gone.count() || st.Verified == st.Bytes {
				t.Errorf("after another start, the figures are %+v", st)
			}
			closeLog(t, l)
			if lines := book.lines("lost"); len(lines) > 0 {
				t.Errorf("after another start, the log has\n%s", strings.Join(lines, ""))
			}
		})
	}
}

// The first reader that meets damage learns all of it, and the next start knows it, too.
func TestHolesThatReadersMeetAreKept(t *testing.T) {
	dir, gone := damaged(t, func(dir string) { pages(t, dir, 1) })
	l := opened(t, Options{Dir: dir, verifyRate: 1, files: unsynced{}})
	b, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters("**"), After: gone[0].first - 2, UpTo: gone[0].first, MaxRecords: 10, MaxBytes: 1000})
	if err != nil || len(b.Records) != 1 || b.Through != gone[0].first-1 {
		t.Fatalf("%+v, %v", b, err)
	}
	closeLog(t, l)
	l = opened(t, Options{Dir: dir, verifyRate: 1, files: unsynced{}})
	if told := toldTo(t, l, "none"); !slices.Equal(told, gone) {
		t.Errorf("after another start, a reader is told of %v, lost are %v", told, gone)
	}
	closeLog(t, l)
}

// A hole that is none hides nothing, and the verification takes it out: a page could not be
// read once, or somebody has put an intact file in the place of a damaged one.
func TestHolesEnd(t *testing.T) {
	whole := map[string][]byte{}
	dir, gone := damaged(t, func(dir string) {
		for _, name := range segmentFiles(t, dir) {
			whole[name], _ = os.ReadFile(name)
		}
		pages(t, dir, 1, 2)
	})
	l := opened(t, Options{Dir: dir, Logger: quiet(), files: unsynced{}})
	l.verified(t)
	if n := l.Stats().Lost; n == 0 || n != gone.count() {
		t.Fatalf("%d messages are lost, want %d", n, gone.count())
	}
	closeLog(t, l)
	for name, b := range whole {
		rewrite(t, name, func([]byte) []byte { return b })
	}
	l = opened(t, Options{Dir: dir, verifyRate: 1, files: unsynced{}})
	for _, topic := range []string{"none", "rare", "**"} {
		if told := toldTo(t, l, topic); len(told) > 0 {
			t.Errorf("a reader of %s is told of %v, nothing is lost", topic, told)
		}
	}
	if c := read(t, l); len(c.records) != 3000 {
		t.Errorf("there are %d records", len(c.records))
	}
	closeLog(t, l)
	for _, rate := range []int64{verifyRate, 1} { // the second start has it from the sidecars
		l = opened(t, Options{Dir: dir, verifyRate: rate, files: unsynced{}})
		if rate > 1 {
			l.verified(t)
		}
		if n, _, err := l.Count(t.Context(), topics.MustFilters("**"), 0); n != 3000 || err != nil {
			t.Errorf("Count is %d, %v", n, err)
		}
		if st := l.Stats(); st.Lost != 0 {
			t.Errorf("the figures are %+v", st)
		}
		closeLog(t, l)
	}
}

// The verification reads at its rate, ends with Close, and holds up neither publishers nor
// readers nor retention.
func TestVerificationIsPaced(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, Options{Dir: dir, Sync: time.Second, segmentBytes: 1 << 20, files: unsynced{}})
	publishMany(t, l, 8000, 1000)
	closeLog(t, l)
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		l, err := Open(context.Background(), &Options{Dir: dir, Logger: quiet(), files: unsynced{}})
		if err != nil {
			t.Fatal(err)
		}
		st := l.Stats()
		for st.Verified < st.Bytes {
			time.Sleep(time.Millisecond)
			st = l.Stats()
		}
		took := time.Since(begin)
		if rate := float64(st.Bytes) / took.Seconds(); rate < 0.9*verifyRate || rate > 1.1*verifyRate {
			t.Errorf("%d bytes took %v, which is %.0f bytes a second", st.Bytes, took, rate)
		}
		closeLog(t, l)
	})
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(context.Background(), &Options{Dir: dir, Logger: quiet(), verifyRate: 1, MaxBytes: 4 << 20, MaxAge: -1, files: unsynced{}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // retention, which removes segments
		if c := read(t, l); len(c.lost) > 0 || len(c.records) == 0 {
			t.Errorf("%d records, lost %v", len(c.records), c.lost)
		}
		if st := l.Stats(); st.Bytes > 6<<20 || st.Verified > 512<<10 {
			t.Errorf("the figures are %+v", st)
		}
		begin := time.Now()
		closeLog(t, l)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("Close took %v", took)
		}
	})
}

// However much damage is found, the log has few lines about it, and they count all of it.
func TestLossesMakeFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &logbook{}
		l := &Log{opts: Options{Logger: book.logger()}, files: disk{}}
		l.closing, l.close = context.WithCancel(t.Context())
		l.losses = newLosses(l)
		one, open := newSegment(disk{}, t.TempDir(), 1, 7), newSegment(disk{}, "", 100_001, 8)
		one.loaded, open.loaded = true, true
		l.segments.Store(&[]*segment{one, open})
		go l.losses.run()
		for seq := uint64(1); seq <= 5000; seq++ { // several readers meet them, one after the other
			for range 2 {
				l.noteLost(one, span{seq, seq})
			}
		}
		time.Sleep(2500 * time.Millisecond)
		if lines := book.lines("level=ERROR"); len(lines) != 1 || !strings.Contains(lines[0], " first=1 last=5000 ") || !strings.Contains(lines[0], "tidings log verify") {
			t.Errorf("5,000 in a row give %q", lines)
		}
		book.b.Reset()
		for round := range uint64(2) {
			for seq := 10_000 + round; seq < 20_000; seq += 4 {
				l.noteLost(one, span{seq, seq})
			}
			time.Sleep(2500 * time.Millisecond)
		}
		if n := len(book.lines("level=ERROR")); n != 11 {
			t.Errorf("many ranges give %d lines", n)
		}
		if lines := book.lines("more messages are lost"); len(lines) != 1 || !strings.Contains(lines[0], "ranges=2490 messages=2490 from=10040 to=19996") {
			t.Errorf("the rest is %q", lines)
		}
		time.Sleep(time.Minute)
		if lines := book.lines("more messages are lost"); len(lines) != 2 || !strings.Contains(lines[1], "ranges=2490 messages=4980") {
			t.Errorf("after a minute, the rest is %q", lines)
		}
		if b, err := os.ReadFile(one.sidecar()); err != nil || len(b) < 16*2500 {
			t.Errorf("the sidecar has %d bytes, %v", len(b), err)
		}
		l.close()
		synctest.Wait()
	})
}

// A segment that is missing, or that the file system cannot open, costs its records. The log
// starts, retention passes over it, and readers are told.
func TestSegmentThatCannotBeOpened(t *testing.T) {
	for _, err := range []error{syscall.EIO, os.ErrNotExist} {
		t.Run(err.Error(), func(t *testing.T) {
			dir, _ := damaged(t, func(string) {})
			names := segmentFiles(t, dir)
			files := &faulty{}
			fail := func(call, name string) error {
				if call == "open" && (name == names[0] || name == names[2]) {
					return err
				}
				return nil
			}
			opts := Options{Dir: dir, files: files, MaxBytes: 1 << 20, segmentBytes: 32 << 10, Logger: quiet()}
			if err == syscall.EIO {
				files.set(fail)
			} else if e := os.Remove(names[0]); e != nil {
				t.Fatal(e)
			} else if e := os.Remove(names[2]); e != nil {
				t.Fatal(e)
			}
			l := opened(t, opts)
			l.verified(t)
			var gone spans
			for _, i := range []int{0, 2} {
				first, _, _ := parseSegmentName(filepath.Base(names[i]))
				next, _, _ := parseSegmentName(filepath.Base(names[i+1]))
				gone = gone.add(span{first, next - 1})
			}
			for _, topic := range []string{"none", "**"} {
				if told := toldTo(t, l, topic); !slices.Equal(told, gone) {
					t.Errorf("a reader of %s is told of %v, lost are %v", topic, told, gone)
				}
			}
			if n := l.Stats().Lost; n != gone.count() {
				t.Errorf("%d messages are lost, want %d", n, gone.count())
			}
			list := l.list()
			for _, s := range list[:2] { // and others while the log is open
				if e := os.Remove(s.path); e != nil && err != os.ErrNotExist {
					t.Fatal(e)
				}
				s.closeIdle(time.Now().Add(time.Hour))
				if _, e := s.seqAt(100); e != nil && err == os.ErrNotExist {
					t.Errorf("retention cannot pass over a missing segment: %v", e)
				}
			}
			publishMany(t, l, 3000, 1000)
			await(t, "retention", func() bool { return l.first.Load() > 3000 })
			if n := l.Stats().Lost; n != 0 {
				t.Errorf("%d messages are lost, and all of them have expired", n)
			}
			closeLog(t, l)
		})
	}
}

// Publishing goes on when somebody removes the file that was to be the next segment.
func TestNoSpare(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Sync: time.Second, segmentBytes: 32 << 10, Logger: quiet(), files: unsynced{}}
	l := opened(t, opts)
	for range 20 {
		publishMany(t, l, 10, 1000)
		names, err := filepath.Glob(filepath.Join(opts.Dir, "*"+spareSuffix))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			_ = os.Remove(name) // or it is a segment by now
		}
	}
	if c := read(t, l); len(c.records) != 200 || len(c.lost) > 0 {
		t.Errorf("%d records, lost %v", len(c.records), c.lost)
	}
	closeLog(t, l)
}

// Lost records do not expire before the next one does: readers are told that they are lost,
// also at the beginning of the log.
func TestLostIsNotExpired(t *testing.T) {
	for name, hurt := range map[string]func(dir string){
		"the first page": func(dir string) {
			rewrite(t, segmentFiles(t, dir)[0], func(b []byte) []byte { clear(b[:4096]); return b })
		},
		"the first segments": func(dir string) {
			for _, name := range segmentFiles(t, dir)[:2] {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, gone := damaged(t, hurt)
			var elapsed atomic.Int64
			begin := time.Now()
			clock := func() (time.Time, time.Duration) {
				d := time.Duration(elapsed.Load())
				return begin.Add(d), d
			}
			l := opened(t, Options{Dir: dir, MaxAge: time.Hour, MaxBytes: -1, clock: clock, Logger: quiet(), files: unsynced{}})
			l.verified(t)
			l.retention.use()
			if err := l.retention.expire(); err != nil {
				t.Fatal(err)
			}
			if told := toldTo(t, l, "none"); !slices.Equal(told, gone) {
				t.Errorf("a reader is told of %v, lost are %v", told, gone)
			}
			elapsed.Store(int64(2 * time.Hour))
			if err := l.retention.expire(); err != nil {
				t.Fatal(err)
			}
			if first, lost := l.first.Load(), l.Stats().Lost; first != 3001 || lost != 0 {
				t.Errorf("after two hours the first number is %d, and %d messages are lost", first, lost)
			}
			closeLog(t, l)
		})
	}
}
