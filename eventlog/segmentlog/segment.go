package segmentlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A segment is a file of frames with ascending numbers. Its methods may be called
// concurrently.
type segment struct {
	files fileSystem
	path  string
	first uint64 // no frame has a smaller number
	salt  uint32

	erasing sync.RWMutex // held to write while a frame is erased

	loading sync.Mutex // held while the file is scanned
	saving  sync.Mutex // held while the sidecar is written

	mu       sync.Mutex
	f        file
	users    int
	idle     time.Time // since when it has no user
	gone     bool      // retention has removed it
	loaded   bool      // the table is known
	scans    int       // how many times the table was made from the frames
	own      bool      // this process has written it
	verified int64     // the verification has read the bytes up to here
	told     spans     // the holes that were logged, by this process or an earlier one
	table
}

// A mark is the place of a frame. There is one for each markBytes.
type mark struct {
	seq   uint64
	off   int64
	nanos int64
}

const markBytes = 8 << 10

// Segment files are called by their first number and their salt, in hexadecimal digits.
const (
	segmentSuffix = ".seg"
	sidecarSuffix = ".idx"
)

func segmentName(first uint64, salt uint32) string {
	return fmt.Sprintf("%016x-%08x%s", first, salt, segmentSuffix)
}

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (first uint64, salt uint32, ok bool) {
	base, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(base) != 25 || base[16] != '-' {
		return 0, 0, false
	}
	first, err1 := strconv.ParseUint(base[:16], 16, 64)
	s, err2 := strconv.ParseUint(base[17:], 16, 32)
	return first, uint32(s), err1 == nil && err2 == nil && first > 0 && segmentName(first, uint32(s)) == name
}

func newSegment(files fileSystem, dir string, first uint64, salt uint32) *segment {
	return &segment{
		files: files, path: filepath.Join(dir, segmentName(first, salt)), first: first, salt: salt,
		table: table{last: first - 1},
	}
}

var (
	// errGone means that retention has removed a segment.
	errGone = errors.New("segmentlog: the segment was removed")

	// errUnreadable means that the file of a segment is missing, or that the disk cannot open
	// it. Its records are lost, as long as that is so.
	errUnreadable = errors.New("segmentlog: the segment cannot be read")
)

// acquire returns the open file, which stays open until release.
func (s *segment) acquire() (file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil, errGone
	}
	if s.f == nil {
		f, err := s.files.open(s.path)
		switch {
		case err == nil:
		case errors.Is(err, errTaken) || tooBusy(err):
			return nil, err
		default:
			return nil, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		s.f = f
	}
	s.users++
	return s.f, nil
}

func (s *segment) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	s.idle = time.Now()
	if s.users == 0 && s.gone {
		s.closeFile()
	}
}

// closeIdle closes the file if nobody has used it since a time.
func (s *segment) closeIdle(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 && s.idle.Before(since) {
		s.closeFile()
	}
}

// closeFile closes the file. Callers hold mu.
func (s *segment) closeFile() {
	if s.f != nil {
		_ = s.f.Close() // it has been synced, or is only read
		s.f = nil
	}
}

// drop removes the segment's files. Readers keep the descriptor until they release it.
func (s *segment) drop() error {
	s.mu.Lock()
	s.gone = true
	if s.users == 0 {
		s.closeFile()
	}
	s.mu.Unlock()
	err := s.files.remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if e := s.files.remove(s.sidecar()); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

func (s *segment) sidecar() string { return strings.TrimSuffix(s.path, segmentSuffix) + sidecarSuffix }

// load makes the table known: from the sidecar, or by a scan of the file. With errUnreadable
// it stays unknown, and the next load tries again.
func (s *segment) load() error {
	s.loading.Lock()
	defer s.loading.Unlock()
	if s.isLoaded() {
		return nil
	}
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	size, err := f.size()
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if !s.loadSidecar(size) {
		s.set(s.scan(f, size), 1)
	}
	return nil
}

// loadKept is load, but it does not scan the file.
func (s *segment) loadKept(size int64) {
	s.loading.Lock()
	defer s.loading.Unlock()
	if !s.isLoaded() {
		s.loadSidecar(size)
	}
}

// scan reads the whole file.
func (s *segment) scan(f io.ReaderAt, size int64) table {
	c := newCursor(f, s.salt, 0, size, s.waitErased)
	defer c.close()
	t := table{last: s.first - 1}
	for fr, ok := c.next(); ok; fr, ok = c.next() {
		t.add(fr.seq, fr.off, fr.nanos, len(fr.raw))
	}
	t.partial = c.errs > 0
	return t
}

// A table is what a segment knows of its frames.
type table struct {
	marks []mark // ascending, the first one is that of the first frame
	last  uint64 // the greatest number of a frame, first-1 if there is none
	end   int64  // where the last frame ends
	holes spans  // numbers that have no frame: all those before last, and others that were met

	partial bool // the disk could not read all of the file
}

// add adds a frame. It passes over one whose number does not ascend.
func (t *table) add(seq uint64, off, nanos int64, size int) {
	if seq <= t.last {
		return
	}
	if seq > t.last+1 {
		t.holes = t.holes.add(span{t.last + 1, seq - 1})
	}
	if n := len(t.marks); n == 0 || off-t.marks[n-1].off >= markBytes {
		t.marks = append(t.marks, mark{seq, off, nanos})
	}
	t.last, t.end = seq, off+int64(size)
}

// set sets the table, which is from so many scans. Readers may have noted holes before, which
// the index lacks.
func (s *segment) set(t table, scans int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.holes {
		t.holes = t.holes.add(h)
	}
	s.table, s.loaded, s.scans = t, true, scans
}

func (s *segment) isLoaded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loaded
}

// waitErased returns when no frame is being erased.
func (s *segment) waitErased() {
	s.erasing.RLock()
	defer s.erasing.RUnlock()
}

// extent returns the last number and the end, once the segment is loaded.
func (s *segment) extent() (last uint64, end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.end
}

// extend adds frames that were written: their marks, the last number and the end.
func (s *segment) extend(marks []mark, last uint64, end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks = append(s.marks, marks...)
	s.last, s.end = last, end
}

// before returns the last mark up to a number, or the first one.
func (s *segment) before(seq uint64) (m mark, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].seq > seq })
	if len(s.marks) == 0 {
		return mark{}, false
	}
	return s.marks[max(i-1, 0)], true
}

// hole returns the first hole of the segment that ends after a number.
func (s *segment) hole(after uint64) (span, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holes.after(after)
}
