package segmentlog

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/leak"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

var soak = flag.Duration("soak", 0, "repeat the tests that kill the process for this long, and test all damage there is")

// TestMain runs the tests, or is one of the processes that they start.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		flag.Parse()
		os.Exit(play(role))
	}
	leak.Main(m)
}

// closeLog closes a log, which must succeed.
func closeLog(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// quiet returns a logger that drops everything.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A contents is what a reader of all topics gets: records, and holes by their reason.
type contents struct {
	first, last uint64 // of the log's state
	records     map[uint64]eventlog.Record
	lost        []span
	removed     []span
}

// read reads a log from its first record on, and checks that each number is a record or in
// a hole.
func read(t *testing.T, l *Log) contents {
	t.Helper()
	st, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := contents{first: st.First, last: st.Last, records: map[uint64]eventlog.Record{}}
	q := eventlog.Query{Filters: topics.MustFilters("**"), After: st.First - 1, UpTo: st.Last, MaxRecords: 500, MaxBytes: 1 << 20}
	for q.After < q.UpTo {
		b, err := l.Read(t.Context(), q)
		if err != nil {
			t.Fatalf("Read after %d: %v", q.After, err)
		}
		at := q.After
		if b.Hole > 0 {
			h := span{at + 1, b.Hole}
			switch b.Reason {
			case sse.GapLost:
				c.lost = joinSpan(c.lost, h)
			case sse.GapRemoved:
				c.removed = joinSpan(c.removed, h)
			case sse.GapExpired: // meanwhile
			default:
				t.Fatalf("Read after %d gives the reason %q", at, b.Reason)
			}
			at = b.Hole
		}
		for _, r := range b.Records {
			if r.Seq != at+1 {
				t.Fatalf("after %d a reader of all topics gets %d, and no hole", at, r.Seq)
			}
			at = r.Seq
			c.records[r.Seq] = r
		}
		if at != b.Through {
			t.Fatalf("Read after %d reaches through %d, its last record is %d", q.After, b.Through, at)
		}
		q.After = b.Through
	}
	return c
}

func filterOf(pattern string) topics.Filter { return topics.MustFilters(pattern)[0] }

func joinSpan(spans []span, h span) []span {
	if n := len(spans); n > 0 && spans[n-1].last+1 == h.first {
		spans[n-1].last = h.last
		return spans
	}
	return append(spans, h)
}

// numbers returns the numbers in spans.
func numbers(spans []span) []uint64 {
	var all []uint64
	for _, h := range spans {
		for n := h.first; n <= h.last; n++ {
			all = append(all, n)
		}
	}
	return all
}

// publish appends messages, which must be stored. It returns their numbers.
func publish(t *testing.T, l *Log, messages ...eventlog.Message) []uint64 {
	t.Helper()
	var seqs []uint64
	for i, a := range l.Append(t.Context(), messages) {
		if a.Err != nil {
			t.Fatalf("Append of message %d of %d: %v", i, len(messages), a.Err)
		}
		seqs = append(seqs, a.ID.Seq)
	}
	return seqs
}

// publishMany appends n messages on some topics, in groups. Their data has n and a filling.
func publishMany(t *testing.T, l *Log, n, size int) {
	t.Helper()
	filling := strings.Repeat("x", size)
	for n > 0 {
		batch := make([]eventlog.Message, min(n, 200))
		for i := range batch {
			batch[i] = eventlog.Message{Topic: fmt.Sprintf("t.%d", n%7), Data: fmt.Sprint(n, filling)}
			n--
		}
		publish(t, l, batch...)
	}
}

// wantAll checks that a log has these messages, by their numbers, and has lost nothing.
func wantAll(t *testing.T, l *Log, want map[uint64]string) {
	t.Helper()
	c := read(t, l)
	if len(c.lost) > 0 {
		t.Errorf("the log has lost %v", c.lost)
	}
	missing := 0
	for seq, data := range want {
		if c.records[seq].Data != data {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d acknowledged messages are missing", missing, len(want))
	}
}

// fillUntil appends until a message has an error, which it returns. It adds those that
// were stored to want.
func fillUntil(t *testing.T, l *Log, want map[uint64]string, size int) error {
	t.Helper()
	for i := range 200_000 {
		data := fmt.Sprint(i, strings.Repeat("x", size))
		a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: data}})[0]
		if a.Err != nil {
			return a.Err
		}
		want[a.ID.Seq] = data
	}
	t.Fatal("no error comes")
	return nil
}

// appendSoon tries to append until that succeeds.
func appendSoon(t *testing.T, l *Log, want map[uint64]string) {
	t.Helper()
	await(t, "room", func() bool {
		a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: "goes on"}})[0]
		if a.Err == nil {
			want[a.ID.Seq] = "goes on"
		}
		return a.Err == nil
	})
}

// segmentFiles returns the names of the segments in a folder, the oldest first.
func segmentFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// newest returns the file that a log writes to.
func newest(t *testing.T, dir string) string {
	t.Helper()
	names := segmentFiles(t, dir)
	return names[len(names)-1]
}

// copyFolder copies the files of a folder into a new one, as a process finds them that
// starts after kill -9 of the one that has them open.
func copyFolder(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	copyFiles(t, from, to)
	adopt(t, to)
	return to
}

// copyFiles copies the files of a folder into another one. A log may have the folder open.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the log has removed it meanwhile
		}
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(name, from))
		if e.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return errors.Join(err, os.WriteFile(target, b, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// adopt makes a copy of a folder pass for the folder itself.
func adopt(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, stateFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at+stateBytes <= len(b); at += slotBytes {
		if st, ok := decodeState(b[at:][:stateBytes]); ok {
			st.file = fileID(info)
			copy(b[at:], st.encode())
		}
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// openIn returns how many descriptors of this process are files in a folder.
func openIn(t *testing.T, dir string) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lists the descriptors of a process")
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if name, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(name, dir+"/") {
			n++
		}
	}
	return n
}

// unsynced is a file system that brings nothing to the disk, for tests in which the machine
// does not die.
type unsynced struct{ disk }

type unsyncedFile struct{ file }

func (unsyncedFile) sync() error { return nil }

func (unsynced) syncDir(string) error { return nil }

func (u unsynced) same(name string, f file) (bool, error) {
	return u.disk.same(name, f.(unsyncedFile).file)
}

func (u unsynced) create(name string, size int64) (file, error) {
	f, err := u.disk.create(name, size)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

func (u unsynced) open(name string) (file, error) {
	f, err := u.disk.open(name)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

// faulty is a file system whose calls fail when the test says so.
type faulty struct {
	disk

	mu sync.Mutex
	// fault is asked before each call, with the name of the call and of the file. An error
	// of it is that of the call.
	fault func(call, name string) error
	// unreadable, if not nil, reports whether a read of bytes of a file fails.
	unreadable func(name string, from, to int64) bool
	// torn is how many bytes of a write that fails reach the file.
	torn  int
	files []*faultyFile // those that were opened
}

func (f *faulty) set(fault func(call, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *faulty) ask(call, name string) error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(call, name)
}

func (f *faulty) create(name string, size int64) (file, error) {
	if err := f.ask("create", name); err != nil {
		return nil, err
	}
	opened, err := f.disk.create(name, size)
	if err != nil {
		return nil, err
	}
	return f.opened(opened, name), nil
}

func (f *faulty) opened(opened file, name string) file {
	f.mu.Lock()
	defer f.mu.Unlock()
	made := &faultyFile{file: opened, system: f, name: name}
	f.files = append(f.files, made)
	return made
}

func (f *faulty) open(name string) (file, error) {
	if err := f.ask("open", name); err != nil {
		return nil, err
	}
	opened, err := f.disk.open(name)
	if err != nil {
		return nil, err
	}
	return f.opened(opened, name), nil
}

func (f *faulty) rename(from, to string) error {
	if err := f.ask("rename", to); err != nil {
		return err
	}
	f.mu.Lock()
	for _, opened := range f.files {
		if opened.name == from {
			opened.name = to
		}
	}
	f.mu.Unlock()
	return f.disk.rename(from, to)
}

func (f *faulty) remove(name string) error {
	if err := f.ask("remove", name); err != nil {
		return err
	}
	return f.disk.remove(name)
}

func (f *faulty) syncDir(dir string) error {
	if err := f.ask("syncDir", dir); err != nil {
		return err
	}
	return f.disk.syncDir(dir)
}

func (f *faulty) same(name string, opened file) (bool, error) {
	if err := f.ask("same", name); err != nil {
		return false, err
	}
	return f.disk.same(name, opened.(*faultyFile).file)
}

func (f *faulty) readFile(name string) ([]byte, error) {
	if err := f.ask("readFile", name); err != nil {
		return nil, err
	}
	return f.disk.readFile(name)
}

type faultyFile struct {
	file
	system *faulty
	name   string // changes with rename
}

func (f *faultyFile) ask(call string) error {
	f.system.mu.Lock()
	name := f.name
	f.system.mu.Unlock()
	return f.system.ask(call, name)
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.ask("write"); err != nil {
		n, _ := f.file.WriteAt(b[:min(len(b), f.system.torn)], off)
		return n, err
	}
	return f.file.WriteAt(b, off)
}

func (f *faultyFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.ask("read"); err != nil {
		return 0, err
	}
	f.system.mu.Lock()
	fails := f.system.unreadable != nil && f.system.unreadable(f.name, off, off+int64(len(b)))
	f.system.mu.Unlock()
	if fails {
		return 0, errDisk
	}
	return f.file.ReadAt(b, off)
}

func (f *faultyFile) size() (int64, error) {
	if err := f.ask("size"); err != nil {
		return 0, err
	}
	return f.file.size()
}

func (f *faultyFile) sync() error {
	if err := f.ask("sync"); err != nil {
		return err
	}
	return f.file.sync()
}

// fails returns a fault: a call on files whose name contains a part has an error.
func fails(call, part string, err error) func(call, name string) error {
	return func(c, name string) error {
		if c == call && strings.Contains(filepath.Base(name), part) {
			return err
		}
		return nil
	}
}

// errDisk is what a broken disk returns.
var errDisk = errors.New("input/output error")
