package segmentlog

import (
	"bytes"
	"io"
	"sync"
)

// A cursor goes through the frames of a segment in order, and passes over what is damaged.
// One goroutine uses it.
type cursor struct {
	f      io.ReaderAt
	salt   uint32
	off    int64  // where the next frame begins
	end    int64  // where the frames end
	passed uint64 // the number of the last frame since seek
	again  func() // waits before damaged bytes are read once more
	errs   int    // how often the disk could not read a page

	buf    *[]byte // from buffers
	held   []byte  // the bytes from base on
	base   int64
	step   int   // how many bytes to read at a time
	reread int64 // damage here has been read once more
}

const (
	firstRead = 16 << 10
	mostRead  = 256 << 10
	pageBytes = 4 << 10
)

var buffers = sync.Pool{New: func() any { b := make([]byte, mostRead); return &b }}

func newCursor(f io.ReaderAt, salt uint32, off, end int64, again func()) *cursor {
	return &cursor{f: f, salt: salt, off: off, end: end, again: again, buf: buffers.Get().(*[]byte), step: firstRead, reread: -1}
}

// close gives the buffer back. Frames of the cursor are no longer valid.
func (c *cursor) close() {
	buffers.Put(c.buf)
	c.buf, c.held = nil, nil
}

// seek makes off the place of the next frame.
func (c *cursor) seek(off int64) {
	if off < c.base || off > c.base+int64(len(c.held)) {
		c.step = firstRead
	}
	c.off, c.passed = off, 0
}

// next returns the next intact frame, or false if there is none. What lies between is
// damaged, or empty.
func (c *cursor) next() (frame, bool) {
	for c.off+headerBytes <= c.end {
		head, readable := c.window(headerBytes)
		if !readable {
			// The disk cannot read this page.
			c.errs++
			c.off = (c.off + pageBytes) &^ (pageBytes - 1)
			continue
		}
		blank := allZero(head) // window may put other bytes there
		size, ok := parseHeader(head)
		if ok && c.off+int64(size) <= c.end {
			if raw, readable := c.window(size); !readable {
				c.errs++
			} else if f, ok := parseFrame(raw, c.salt); ok {
				f.off = c.off
				c.off += int64(size)
				c.passed = f.seq
				return f, true
			}
		}
		if c.reread != c.off && !blank {
			// Remove may be writing it.
			c.again()
			c.reread = c.off
			c.refresh(max(size, headerBytes))
			continue
		}
		at := int(c.off - c.base)
		c.off = c.base + int64(findMagic(c.held, at+1))
	}
	return frame{}, false
}

// window returns the next n bytes, which lie before the end, or false if they cannot be
// read.
func (c *cursor) window(n int) ([]byte, bool) {
	at := c.off - c.base
	if at >= 0 && at+int64(n) <= int64(len(c.held)) {
		return c.held[at : at+int64(n)], true
	}
	want := min(int64(max(n, c.step)), c.end-c.off)
	c.step = min(2*c.step, mostRead)
	if want > int64(len(*c.buf)) {
		b := make([]byte, want)
		c.buf = &b
	}
	got, err := c.f.ReadAt((*c.buf)[:want], c.off)
	if got < n && want > int64(n) {
		// Some disks refuse a whole request because of one page of it.
		c.step = pageBytes
		got, err = c.f.ReadAt((*c.buf)[:n], c.off)
	}
	c.base, c.held = c.off, (*c.buf)[:got]
	if got < n && err == nil {
		return nil, false
	}
	return c.held[:min(n, got)], got >= n
}

// refresh reads the next n bytes once more, as far as they are held.
func (c *cursor) refresh(n int) {
	at := int(c.off - c.base)
	part := c.held[at:min(at+n, len(c.held))]
	if got, _ := c.f.ReadAt(part, c.off); got < len(part) {
		c.held = c.held[:at+got]
	}
}

var zeros [pageBytes]byte

func allZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
