package segmentlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"slices"
)

// A sidecar holds the table of a segment that gets no more frames, so that a start need not
// read the segment. A missing or damaged one costs a scan. It is written again when holes are
// found.
const sidecarMagic = "tidings sidecar 1\n"

// encodeSidecar returns the bytes of a sidecar, little-endian: the magic, the segment's
// first number and salt, the last number, the end, the marks and the holes, each with their
// number before them, and the CRC32C of all that.
func encodeSidecar(first uint64, salt uint32, t table) []byte {
	le := binary.LittleEndian
	b := []byte(sidecarMagic)
	b = le.AppendUint64(b, first)
	b = le.AppendUint32(b, salt)
	b = le.AppendUint64(b, t.last)
	b = le.AppendUint64(b, uint64(t.end))
	b = le.AppendUint32(b, uint32(len(t.marks)))
	for _, m := range t.marks {
		b = le.AppendUint64(b, m.seq)
		b = le.AppendUint64(b, uint64(m.off))
		b = le.AppendUint64(b, uint64(m.nanos))
	}
	b = le.AppendUint32(b, uint32(len(t.holes)))
	for _, h := range t.holes {
		b = le.AppendUint64(b, h.first)
		b = le.AppendUint64(b, h.last)
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeSidecar is the inverse of encodeSidecar. It returns false for what is damaged, or is
// of another segment.
func decodeSidecar(b []byte, first uint64, salt uint32) (t table, ok bool) {
	le := binary.LittleEndian
	sum := len(b) - 4
	if !bytes.HasPrefix(b, []byte(sidecarMagic)) || sum < len(sidecarMagic)+8+4+8+8+4+4 || le.Uint32(b[sum:]) != crc32.Checksum(b[:sum], castagnoli) {
		return table{}, false
	}
	b = b[len(sidecarMagic):sum]
	take := func() uint64 {
		v := le.Uint64(b)
		b = b[8:]
		return v
	}
	count := func(size int) (int, bool) {
		if len(b) < 4 {
			return 0, false
		}
		n := int(le.Uint32(b))
		b = b[4:]
		return n, n <= len(b)/size
	}
	if take() != first || le.Uint32(b) != salt {
		return table{}, false
	}
	b = b[4:]
	t.last, t.end = take(), int64(take())
	n, ok := count(24)
	if !ok {
		return table{}, false
	}
	t.marks = make([]mark, n)
	for i := range t.marks {
		t.marks[i] = mark{take(), int64(take()), int64(take())}
	}
	if n, ok = count(16); !ok {
		return table{}, false
	}
	for k := range n {
		h := span{take(), take()}
		if h.first == 0 || h.last < h.first || k > 0 && h.first-1 <= t.holes[k-1].last {
			return table{}, false // they ascend, and do not touch
		}
		t.holes = append(t.holes, h)
	}
	return t, len(b) == 0
}

// loadSidecar loads the table from the sidecar, if that fits the segment's file.
func (s *segment) loadSidecar(size int64) bool {
	b, err := s.files.readFile(s.sidecar())
	if err != nil {
		return false
	}
	t, ok := decodeSidecar(b, s.first, s.salt)
	if !ok || t.end != size {
		return false
	}
	s.mu.Lock()
	for _, h := range t.holes {
		s.told = s.told.add(h)
	}
	s.mu.Unlock()
	s.set(t, 0)
	return true
}

// saveSidecar writes the sidecar. It need not reach the disk. A table that lacks what the disk
// could not read is not saved: the next start may be able to.
func (s *segment) saveSidecar() error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	t, loaded := s.table, s.loaded
	t.holes = slices.Clone(t.holes) // it changes in place
	s.mu.Unlock()
	if t.partial || !loaded {
		return nil
	}
	if err := s.files.remove(s.sidecar()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.files.create(s.sidecar(), 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(encodeSidecar(s.first, s.salt, t), 0)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = s.files.remove(s.sidecar()) // a part of it is of no use
	}
	return err
}
