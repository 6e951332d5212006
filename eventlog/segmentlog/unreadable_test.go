package segmentlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// A page that the disk cannot read costs the records in it and no others, even on a disk that
// refuses each request which touches the page: while the log is open, for a start that
// reads the segment, and for a reader of one topic.
func TestUnreadablePage(t *testing.T) {
	const n = 2000
	dir := t.TempDir()
	l := opened(t, Options{Dir: dir, segmentBytes: 64 << 10, Logger: quiet()})
	publishMany(t, l, n, 100)
	closeLog(t, l)
	names := segmentFiles(t, dir)
	for which, name := range map[string]string{"oldest": names[0], "newest": names[len(names)-1]} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		last := int64(used(b)-1) &^ (pageBytes - 1)
		for _, page := range []int64{0, pageBytes, last / 2 &^ (pageBytes - 1), last} {
			t.Run(fmt.Sprintf("%s segment, page at %d", which, page), func(t *testing.T) {
				hit := framesIn(t, name, page, page+pageBytes)
				for _, start := range []bool{false, true} {
					copied := copyFolder(t, dir)
					bad := filepath.Join(copied, filepath.Base(name))
					files := &faulty{}
					hurt := func() {
						files.mu.Lock()
						defer files.mu.Unlock()
						files.unreadable = func(name string, from, to int64) bool {
							return name == bad && from < page+pageBytes && to > page
						}
					}
					if start { // without sidecars, each segment is read
						for _, s := range segmentFiles(t, copied) {
							_ = os.Remove(strings.TrimSuffix(s, segmentSuffix) + sidecarSuffix)
						}
						hurt()
					}
					l := opened(t, Options{Dir: copied, files: files, Logger: quiet()})
					hurt()
					c := read(t, l)
					missing := map[uint64]bool{}
					for _, seq := range numbers(c.lost) {
						missing[seq] = true
						if !hit[seq] && seq <= n {
							t.Errorf("start %v: %d is lost, which the page does not have", start, seq)
						}
					}
					for seq := range hit {
						if !missing[seq] {
							t.Errorf("start %v: %d is in the page, and not lost", start, seq)
						}
					}
					l.indexed(t)
					for topic := range 7 {
						q := eventlog.Query{Filters: topics.MustFilters(fmt.Sprint("t.", topic)), UpTo: n, MaxRecords: 100, MaxBytes: 1 << 20}
						for q.After < q.UpTo {
							b, err := l.Read(t.Context(), q)
							if err != nil {
								t.Fatal(err)
							}
							for seq := range hit {
								if c := (n - int(seq)) % 7; seq > q.After && seq <= b.Through && seq > b.Hole && (c+1)%7 == topic {
									t.Errorf("start %v: a reader of t.%d passes over %d after %d", start, topic, seq, q.After)
								}
							}
							q.After = b.Through
						}
					}
					if err := l.Err(); err != nil {
						t.Error(err)
					}
					closeLog(t, l)
				}
			})
		}
	}
}

// framesIn returns the numbers of the frames of a segment that have a byte in a range.
func framesIn(t *testing.T, name string, from, to int64) map[uint64]bool {
	t.Helper()
	_, salt, _ := parseSegmentName(filepath.Base(name))
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	found := map[uint64]bool{}
	c := newCursor(f, salt, 0, info.Size(), func() {})
	defer c.close()
	for fr, ok := c.next(); ok; fr, ok = c.next() {
		if fr.off < to && fr.off+int64(len(fr.raw)) > from {
			found[fr.seq] = true
		}
	}
	return found
}

// A segment that cannot be opened does not expire with the time of the next one.
func TestUnreadableSegmentStays(t *testing.T) {
	files := &faulty{}
	l := opened(t, Options{files: files, Logger: quiet(), segmentBytes: 64 << 10})
	publishMany(t, l, 1000, 100)
	l.indexed(t)
	l.sealing.Wait()
	for _, s := range l.list() { // as after some time without a reader
		s.closeIdle(time.Now().Add(time.Hour))
	}
	files.set(fails("open", filepath.Base(l.list()[0].path), errDisk))
	if err := l.retention.expire(); err != nil || l.first.Load() != 1 {
		t.Errorf("the first number is %d, %v", l.first.Load(), err)
	}
	if seq, err := l.At(t.Context(), time.Now().Add(-time.Hour)); seq != 1 || err != nil {
		t.Errorf("At: %d, %v", seq, err)
	}
	c := read(t, l)
	if want := (span{1, l.list()[1].first - 1}); len(c.lost) != 1 || c.lost[0] != want || l.Err() != nil {
		t.Errorf("lost is %v, want %v; %v", c.lost, want, l.Err())
	}
	files.set(nil)
	if c := read(t, l); len(c.records) != 1000 || len(c.lost) > 0 {
		t.Errorf("afterwards there are %d records, lost: %v", len(c.records), c.lost)
	}
	closeLog(t, l)
}

// A start keeps what it cannot read: as soon as the disk can, it is there again.
func TestStartKeepsWhatItCannotRead(t *testing.T) {
	const n = 300
	for _, end := range []string{"kill -9", "clean end", "loss of power"} {
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, whole segment %v", end, whole), func(t *testing.T) {
				dir := t.TempDir()
				l := opened(t, Options{Dir: dir, Logger: quiet(), segmentBytes: 256 << 10})
				publishMany(t, l, n, 100)
				copied := copyFolder(t, dir)
				closeLog(t, l)
				if end != "kill -9" {
					copied = copyFolder(t, dir)
				}
				if end == "loss of power" {
					losePower(t, copied, 10, n)
				}
				name := newest(t, copied)
				_ = os.Remove(strings.TrimSuffix(name, segmentSuffix) + sidecarSuffix)
				b, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				bad := int64(used(b)-1) &^ (pageBytes - 1)
				if whole {
					bad = 0
				}
				files := &faulty{unreadable: func(of string, _, to int64) bool { return of == name && to > bad }}
				l = opened(t, Options{Dir: copied, files: files, Logger: quiet()})
				first := publish(t, l, eventlog.Message{Topic: "a", Data: "new"})[0]
				if c := read(t, l); first <= n || len(c.lost) == 0 || c.records[first].Data != "new" {
					t.Errorf("the first new number is %d, lost: %v", first, c.lost)
				}
				closeLog(t, l)
				l = opened(t, Options{Dir: copied, Logger: quiet()})
				if c := read(t, l); len(c.records) != n+1 {
					t.Errorf("when it can be read, %d records are there, lost: %v", len(c.records), c.lost)
				}
				closeLog(t, l)
			})
		}
	}
}

// Where the index was made while a segment could not be opened, readers of one topic get the
// segment's records all the same, as soon as it can be.
func TestIndexMadeWithoutASegment(t *testing.T) {
	const n = 1000
	dir := t.TempDir()
	l := opened(t, Options{Dir: dir, Logger: quiet(), segmentBytes: 64 << 10})
	messages := make([]eventlog.Message, n) // few of a topic, so that its readers ask the index
	for i := range messages {
		messages[i] = eventlog.Message{Topic: fmt.Sprint("t.", i%50), Data: strings.Repeat("x", 200)}
	}
	publish(t, l, messages[:n/2]...)
	publish(t, l, messages[n/2:]...)
	closeLog(t, l)
	if err := os.RemoveAll(filepath.Join(dir, storePrefix)); err != nil {
		t.Fatal(err)
	}
	files := &faulty{fault: fails("open", filepath.Base(segmentFiles(t, dir)[1]), errDisk)}
	l = opened(t, Options{Dir: dir, Logger: quiet(), files: files})
	l.indexed(t)
	files.set(nil)
	found := 0
	q := eventlog.Query{Filters: topics.MustFilters("t.3"), UpTo: n, MaxRecords: 100, MaxBytes: 1 << 20}
	for q.After < q.UpTo {
		b, err := l.Read(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		found += len(b.Records)
		q.After = b.Through
	}
	if found != n/50 {
		t.Errorf("a reader gets %d records of %d", found, n/50)
	}
	closeLog(t, l)
}

// failAt makes the k-th call fail that reads from the folder. It returns which one that was.
func failAt(files *faulty, k int64) (failed func() string) {
	var mu sync.Mutex
	var n int64
	var last string
	files.set(func(call, name string) error {
		mu.Lock()
		defer mu.Unlock()
		switch call {
		case "read", "open", "readFile", "size":
			// Without these two there is no start.
			if file := filepath.Base(name); file == formatFile || call == "open" && file == stateFile {
				return nil
			}
			if n++; n == k {
				last = call + " of " + filepath.Base(name)
				return errDisk
			}
		}
		return nil
	})
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// One error of reading, whichever, fails no call of a reader, and does not end the log. What
// it has hidden is there again as soon as it can be read.
func TestEachErrorOfReading(t *testing.T) {
	const n = 1500
	dir := t.TempDir()
	l := opened(t, Options{Dir: dir, segmentBytes: 64 << 10, Logger: quiet()})
	publishMany(t, l, n, 100)
	l.indexed(t)
	closeLog(t, l)
	ask := map[string]func(l *Log) error{
		"Read": func(l *Log) error {
			for after := uint64(0); after < n; {
				b, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters("**"), After: after, UpTo: n, MaxRecords: 500, MaxBytes: 1 << 20})
				if err != nil {
					return err
				}
				after = b.Through
			}
			return nil
		},
		"Read of a topic": func(l *Log) error {
			for after := uint64(0); after < n; {
				b, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters("t.3"), After: after, UpTo: n, MaxRecords: 20, MaxBytes: 1 << 20})
				if err != nil {
					return err
				}
				after = b.Through
			}
			return nil
		},
		"Topics": func(l *Log) error { _, err := l.Topics(t.Context(), filterOf("**"), "", 10); return err },
		"Count":  func(l *Log) error { _, _, err := l.Count(t.Context(), topics.MustFilters("**"), 10); return err },
		"Newest": func(l *Log) error { _, _, err := l.Newest(t.Context(), topics.MustFilters("t.*"), 0, n, 5); return err },
		"Back":   func(l *Log) error { _, err := l.Back(t.Context(), topics.MustFilters("t.*"), 700, n); return err },
		"At":     func(l *Log) error { _, err := l.At(t.Context(), time.Now().Add(-time.Second)); return err },
		"retention": func(l *Log) error {
			return l.retention.expire()
		},
	}
	for name, f := range ask {
		t.Run(name, func(t *testing.T) {
			files := &faulty{}
			opts := Options{Dir: copyFolder(t, dir), files: files, Logger: quiet(), MaxBytes: 1 << 30}
			for k := int64(1); ; k++ {
				l := opened(t, opts)
				failed := failAt(files, k)
				err := f(l)
				hit := failed()
				files.set(nil)
				if err != nil {
					t.Errorf("the error of call %d, %s: %v", k, hit, err)
				}
				if err := l.Err(); err != nil {
					t.Fatalf("the error of call %d, %s, ends the log: %v", k, hit, err)
				}
				if c := read(t, l); len(c.records) != n || len(c.lost) > 0 {
					t.Fatalf("after the error of call %d, %s, there are %d records, lost: %v", k, hit, len(c.records), c.lost)
				}
				closeLog(t, l)
				if hit == "" {
					t.Logf("%d calls", k-1)
					return
				}
			}
		})
	}
}

// One error of reading during a start, whichever, fails no start. It costs what cannot be
// read, and only as long as that is so: the start removes nothing because of it.
func TestEachErrorOfReadingAtTheStart(t *testing.T) {
	const n = 600
	dir := t.TempDir()
	l := opened(t, Options{Dir: dir, segmentBytes: 64 << 10, Logger: quiet()})
	publishMany(t, l, n/2, 200)
	closeLog(t, l)
	l = opened(t, Options{Dir: dir, segmentBytes: 64 << 10, Logger: quiet()})
	publishMany(t, l, n/2, 200)
	killed := copyFolder(t, dir)
	closeLog(t, l)
	for name, from := range map[string]string{"after kill -9": killed, "after a clean end": dir} {
		t.Run(name, func(t *testing.T) {
			for k := int64(1); ; k++ {
				files := &faulty{}
				failed := failAt(files, k)
				opts := Options{Dir: copyFolder(t, from), files: files, Logger: quiet()}
				l, err := Open(t.Context(), &opts)
				hit := failed()
				files.set(nil)
				if err != nil {
					t.Fatalf("the error of call %d, %s, fails the start: %v", k, hit, err)
				}
				first := publish(t, l, eventlog.Message{Topic: "a", Data: "new"})[0]
				if first <= n {
					t.Errorf("the error of call %d, %s: the first new number is %d", k, hit, first)
				}
				closeLog(t, l)
				opts.files = nil
				l = opened(t, opts)
				c := read(t, l)
				if len(c.records) != n+1 || len(numbers(c.lost)) > 1 { // one if the state could not be read
					t.Errorf("after the error of call %d, %s, there are %d records, lost: %v", k, hit, len(c.records), c.lost)
				}
				closeLog(t, l)
				if hit == "" {
					t.Logf("%d calls", k-1)
					return
				}
			}
		})
	}
}
