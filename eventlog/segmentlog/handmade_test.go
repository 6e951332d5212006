package segmentlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/logclock"
	"example.com/tidings/topics"
)

// What follows makes the files of a log from docs/format.md alone. It uses nothing of the
// package.

// handCRC is the checksum of the page. It goes on from a salt. A salt of 0 makes it the
// plain CRC32C.
func handCRC(salt uint32, b []byte) uint32 {
	register := ^salt
	for _, c := range b {
		register ^= uint32(c)
		for range 8 {
			low := register & 1
			register >>= 1
			if low == 1 {
				register ^= 0x82f63b78 // 1EDC6F41, reflected
			}
		}
	}
	return ^register
}

// handTime is the time of the record 0. That of the record n is n seconds later.
const handTime = 1735689600

func handNanos(seq uint64) int64 { return int64(handTime+seq) * 1e9 }

// handClock is an hour after handTime, and stands.
func handClock() logclock.Source {
	return func() (time.Time, time.Duration) { return time.Unix(handTime+3600, 0), 0 }
}

type handFrame struct {
	seq                   uint64
	flags                 byte
	topic, typ, key, data string
}

func (h handFrame) bytes(salt uint32, nanos int64) []byte {
	b := make([]byte, 32)
	copy(b, "\xffT\xfed")
	binary.LittleEndian.PutUint32(b[8:], uint32(len(h.data)))
	b[12], b[13], b[14], b[15] = h.flags, byte(len(h.topic)), byte(len(h.typ)), byte(len(h.key))
	binary.LittleEndian.PutUint64(b[16:], h.seq)
	binary.LittleEndian.PutUint64(b[24:], uint64(nanos))
	b = append(b, h.topic+h.typ+h.key+h.data...)
	binary.LittleEndian.PutUint32(b[4:], handCRC(salt, b[8:]))
	return b
}

type handState struct {
	serial, first, acknowledged, synced uint64
	nanos                               int64
	boot, flags                         uint32
	inode                               uint64
}

func (h handState) bytes() []byte {
	b := make([]byte, 72)
	copy(b, "tidingst")
	for i, v := range []uint64{h.serial, h.first, h.acknowledged, h.synced, uint64(h.nanos)} {
		binary.LittleEndian.PutUint64(b[8+8*i:], v)
	}
	binary.LittleEndian.PutUint32(b[48:], h.boot)
	binary.LittleEndian.PutUint32(b[52:], h.flags)
	binary.LittleEndian.PutUint64(b[56:], h.inode)
	binary.LittleEndian.PutUint32(b[68:], handCRC(0, b[:68]))
	return b
}

// handBoot is this run of the machine, as the page defines it.
func handBoot() uint32 {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	return max(crc32.ChecksumIEEE([]byte(strings.TrimSuffix(string(id), "\n"))), 1)
}

func handSidecar(first uint64, salt uint32, last uint64, end int64, marks [][3]uint64, holes [][2]uint64) []byte {
	le := binary.LittleEndian
	b := []byte("tidings sidecar 1\n")
	b = le.AppendUint64(b, first)
	b = le.AppendUint32(b, salt)
	b = le.AppendUint64(b, last)
	b = le.AppendUint64(b, uint64(end))
	b = le.AppendUint32(b, uint32(len(marks)))
	for _, m := range marks {
		b = le.AppendUint64(le.AppendUint64(le.AppendUint64(b, m[0]), m[1]), m[2])
	}
	b = le.AppendUint32(b, uint32(len(holes)))
	for _, h := range holes {
		b = le.AppendUint64(le.AppendUint64(b, h[0]), h[1])
	}
	return le.AppendUint32(b, handCRC(0, b))
}

func handFormat(version int, id string) []byte {
	text := fmt.Sprintf("tidings log, format %d, id %s", version, id)
	return fmt.Appendf(nil, "%s, check %08x\n", text, handCRC(0, []byte(text)))
}

func handEpochs(list string) []byte {
	return fmt.Appendf(nil, `{"check":"%08x","epochs":%s}`+"\n", handCRC(0, []byte(list)), list)
}

// A folder is one that a test makes by hand.
type folder struct {
	t   *testing.T
	dir string
}

// newFolder has two epochs, a format, and no record.
func newFolder(t *testing.T) folder {
	f := folder{t, t.TempDir()}
	f.write("format", handFormat(1, "0123456789abcdef"))
	f.write("epochs.json", handEpochs(`[{"id":"0000000aaaaa","first":1},{"id":"0000001bbbbb","first":3}]`))
	return f
}

func (f folder) write(name string, parts ...[]byte) {
	f.t.Helper()
	var content []byte
	for _, p := range parts {
		content = append(content, p...)
	}
	if err := os.WriteFile(filepath.Join(f.dir, name), content, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) remove(name string) {
	f.t.Helper()
	if err := os.RemoveAll(filepath.Join(f.dir, name)); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) read(name string) []byte {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// The salt of every segment that is made by hand.
const handSalt = 0x89abcdef

func handName(first uint64) string { return fmt.Sprintf("%016x-89abcdef.seg", first) }

// segment writes a segment of frames and of other bytes.
func (f folder) segment(first uint64, parts ...any) {
	f.t.Helper()
	f.write(handName(first), handSegment(parts...))
}

func handSegment(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case handFrame:
			b = append(b, p.bytes(handSalt, handNanos(p.seq))...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

// state writes a state, and the one before it.
func (f folder) state(h handState) {
	f.t.Helper()
	b := make([]byte, 1024)
	copy(b[h.serial%2*512:], h.bytes())
	if h.serial--; h.serial > 0 {
		copy(b[h.serial%2*512:], h.bytes())
	}
	f.write("state", b)
}

// closed writes the state of a log that was closed.
func (f folder) closed(first, last uint64) {
	f.t.Helper()
	f.state(handState{serial: 8, first: first, acknowledged: last, synced: last, nanos: handNanos(last), boot: 1, flags: 3})
}

// text returns a plain record.
func text(seq uint64) handFrame {
	return handFrame{seq: seq, topic: "t", data: fmt.Sprintf("data %d", seq)}
}

// listing returns the names and contents of a folder.
func listing(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Name(), string(b))
	}
	return all
}

// readAll returns what a reader of all topics gets, a line for each record and hole.
func readAll(t *testing.T, l *Log, line func(r eventlog.Record) string) (lines []string) {
	t.Helper()
	st, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for q := (eventlog.Query{Filters: topics.MustFilters("**"), After: st.First - 1, UpTo: st.Last, MaxRecords: 1000, MaxBytes: 1 << 20}); q.After < q.UpTo; {
		b, err := l.Read(t.Context(), q)
		if err != nil || b.Through <= q.After {
			t.Fatalf("Read after %d: %+v, %v", q.After, b, err)
		}
		if b.Hole > 0 {
			lines = append(lines, fmt.Sprintf("%d-%d %s", q.After+1, b.Hole, b.Reason))
		}
		for _, r := range b.Records {
			lines = append(lines, line(r))
		}
		q.After = b.Through
	}
	return lines
}
