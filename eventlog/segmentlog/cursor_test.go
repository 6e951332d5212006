package segmentlog

import (
	"slices"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
)

// changing is a file that a test changes between reads.
type changing struct {
	b    []byte
	read int // bytes
}

func (c *changing) ReadAt(b []byte, off int64) (int, error) {
	n := copy(b, c.b[min(off, int64(len(c.b))):])
	c.read += n
	return n, nil
}

// A record that a cursor meets while it is erased is read again, wherever it lies in the
// cursor's buffer, and however much of it is erased.
func TestCursorMeetsAHalfErasedRecord(t *testing.T) {
	const salt = 7
	for _, before := range []int{100, 3000, 10_000, firstRead - headerBytes - 1, firstRead - headerBytes - 20} {
		for _, size := range []int{10, 5000, 40_000, 300_000} {
			var whole []byte
			whole = appendFrame(whole, salt, 1, 1, &eventlog.Message{Topic: "t", Data: strings.Repeat("a", before)})
			from := len(whole)
			whole = appendFrame(whole, salt, 2, 2, &eventlog.Message{Topic: "t", Key: "key", Data: strings.Repeat("b", size)})
			end := len(whole)
			whole = appendFrame(whole, salt, 3, 3, &eventlog.Message{Topic: "t", Data: strings.Repeat("c", 100)})
			erased := slices.Clone(whole)
			erase(erased[from:end], salt)
			for _, written := range []int{5, 13, headerBytes, headerBytes + 5, (end - from) / 2, end - from - 1} {
				for _, fromEnd := range []bool{false, true} {
					half := slices.Clone(whole)
					if fromEnd {
						copy(half[end-written:], erased[end-written:end])
					} else {
						copy(half[from:from+written], erased[from:])
					}
					f := &changing{b: half}
					c := newCursor(f, salt, 0, int64(len(half)), func() { f.b = erased })
					var seqs []uint64
					for fr, ok := c.next(); ok; fr, ok = c.next() {
						seqs = append(seqs, fr.seq)
					}
					c.close()
					if !slices.Equal(seqs, []uint64{1, 2, 3}) {
						t.Fatalf("%d bytes before, %d of data, %d written (the last ones: %v): the records are %v", before, size, written, fromEnd, seqs)
					}
				}
			}
		}
	}
}

// A file full of frames that are not its own is not read over and over.
func TestCursorPassesOverForeignFrames(t *testing.T) {
	f := &changing{}
	for seq := range uint64(20_000) {
		f.b = appendFrame(f.b, 1, seq+1, 1, &eventlog.Message{Topic: "t", Data: "data"})
	}
	c := newCursor(f, 2, 0, int64(len(f.b)), func() {})
	defer c.close()
	if fr, ok := c.next(); ok {
		t.Errorf("the record %d has another salt", fr.seq)
	}
	if f.read > 3*len(f.b) {
		t.Errorf("%d bytes are read of %d", f.read, len(f.b))
	}
}
