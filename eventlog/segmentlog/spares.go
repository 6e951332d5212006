package segmentlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"example.com/tidings/eventlog"
)

// The bounds of a segment's size.
const (
	mostSegment  = 64 << 20
	leastSegment = 64 << 10
)

// Spares makes segment files ahead, so that the writer need not wait for the file system. The
// writer's goroutine uses it, and a goroutine that makes one file at a time.
type spares struct {
	log     *Log
	size    int64 // of a segment, at most
	reserve int64

	made   chan spare // has room for one
	making bool
	failed time.Time // when there was no room
	names  int
	done   sync.WaitGroup
}

// A spare is a file that is not yet a segment, or why there is none.
type spare struct {
	f    file
	name string
	size int64
	err  error
}

const spareSuffix = ".spare"

// newSpares chooses the size of segments: a sixteenth of what is retained. See make for a
// disk with little room.
func newSpares(l *Log) *spares {
	s := &spares{log: l, size: mostSegment, reserve: l.opts.Reserve, made: make(chan spare, 1)}
	if l.opts.MaxBytes > 0 {
		s.size = max(min(s.size, l.opts.MaxBytes/16), leastSegment)
	}
	if s.reserve == 0 {
		s.reserve = DefaultReserve
		if _, total, err := l.files.free(l.opts.Dir); err == nil {
			s.reserve = min(s.reserve, total/8)
		}
	}
	if l.opts.segmentBytes > 0 {
		s.size = l.opts.segmentBytes
	}
	return s
}

// want has a spare made, if there is none.
func (s *spares) want() {
	if s.making {
		return
	}
	s.making = true
	s.names++
	name := filepath.Join(s.log.opts.Dir, fmt.Sprint(s.names)+spareSuffix)
	s.done.Go(func() { s.made <- s.make(name, 0) })
}

// make makes a file for a frame of a size, if the disk has room for it and the reserve. The
// file takes not more than an eighth of what is free, unless the frame does.
func (s *spares) make(name string, frame int64) spare {
	size := s.size
	free, _, err := s.log.files.free(s.log.opts.Dir)
	known := err == nil
	if known && s.log.opts.segmentBytes == 0 {
		size = max(min(size, free/8), leastSegment)
	}
	size = max(size, frame)
	if known && s.reserve > 0 && free < s.reserve+size {
		return spare{name: name, err: eventlog.ErrFull}
	}
	f, err := s.log.files.create(name, size)
	return spare{f, name, size, err}
}

// fullPause is how long the writer does not ask again after there was no room.
const fullPause = 100 * time.Millisecond

// take returns a new segment from a number on, with room for a frame of a size. The caller
// holds its file.
func (s *spares) take(first uint64, size int64) (*segment, file, int64, error) {
	if time.Since(s.failed) < fullPause {
		return nil, nil, 0, eventlog.ErrFull
	}
	s.want()
	made := <-s.made
	s.making = false
	if made.err != nil || made.size < size { // there may be room by now
		s.discard(made)
		made = s.make(made.name, size)
	}
	if made.err != nil {
		if errors.Is(made.err, eventlog.ErrFull) || noRoom(made.err) {
			s.failed = time.Now()
		}
		return nil, nil, 0, made.err
	}
	seg := newSegment(s.log.files, s.log.opts.Dir, first, rand.Uint32())
	err := s.log.files.rename(made.name, seg.path)
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed the spare
		s.discard(made)
		if made = s.make(made.name, max(made.size, size)); made.err != nil {
			return nil, nil, 0, made.err
		}
		err = s.log.files.rename(made.name, seg.path)
	}
	if err == nil {
		made.name = seg.path
		err = s.log.files.syncDir(s.log.opts.Dir)
	}
	seg.loaded, seg.own = true, true
	seg.f, seg.users = made.f, 1
	if err != nil {
		s.discard(made)
		return nil, nil, 0, err
	}
	return seg, made.f, made.size, nil
}

// discard removes a spare. A file that stayed under the name of a segment would hide the
// numbers that the segment before it goes on to assign.
func (s *spares) discard(made spare) {
	if made.f != nil {
		_ = made.f.Close()
		_ = s.log.files.remove(made.name)
	}
}

// close removes what was made ahead.
func (s *spares) close() {
	s.done.Wait()
	select {
	case made := <-s.made:
		s.discard(made)
	default:
	}
}

// isSpare reports whether a file is a spare of an earlier process.
func isSpare(name string) bool { return strings.HasSuffix(name, spareSuffix) }
