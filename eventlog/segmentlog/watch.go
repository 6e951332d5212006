package segmentlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// watchInterval is how often the log looks whether its folder is still there.
const watchInterval = 250 * time.Millisecond

// errTaken means that the log's folder, or the file that it writes to, is not there any more.
var errTaken = errors.New("segmentlog: the data folder was taken away")

// watch looks after the folder until the log is closed. Writing goes on without an error when
// somebody removes the files that it goes to, or mounts another file system over them: what is
// stored then is gone after the next start.
func (l *Log) watch() {
	if l.opts.watch < 0 {
		return
	}
	ticker := time.NewTicker(l.opts.watch)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-l.failing:
			return
		case <-l.closing.Done():
			return
		}
		_ = l.ours()
		l.watchWritten()
	}
}

// ours returns an error, and ends writing, if the folder is not the log's any more. The file
// that tells is the state: it is always open. Where the disk cannot tell, the next write does.
func (l *Log) ours() error {
	if l.state == nil || l.opts.watch < 0 {
		return nil
	}
	if same, err := l.opts.files.same(filepath.Join(l.opts.Dir, stateFile), l.state.f); same || err != nil {
		return nil
	}
	l.failFor(&failure{fmt.Sprintf("the data folder %q was removed or replaced while the log was open; put it back, or choose another folder, and start again", l.opts.Dir), errTaken})
	return errTaken
}

// watchWritten looks after the segment that is written.
func (l *Log) watchWritten() {
	s := l.written.Load()
	if s == nil {
		return
	}
	f, err := s.acquire()
	if err != nil {
		return // the log is closing
	}
	defer s.release()
	// A segment that is written no more may have expired meanwhile.
	if same, err := l.opts.files.same(s.path, f); !same && err == nil && l.written.Load() == s {
		_ = l.there(s, f)
	}
}

// there returns an error, and ends writing, if the file of the segment that is written was
// removed.
func (l *Log) there(s *segment, f file) error {
	if err := l.ours(); err != nil || l.opts.watch < 0 {
		return err
	}
	if same, err := l.opts.files.same(s.path, f); same || err != nil {
		return nil
	}
	l.failFor(&failure{fmt.Sprintf("the file %q was removed or replaced while the log wrote to it; put it back if you can, and start again", s.path), errTaken})
	return l.Err()
}

// An ownFolder is the file system of a log. It reads and changes the folder only as long as
// that is the log's: in another folder of this name, a segment would be taken for one of that
// folder's, and a missing one for a loss.
type ownFolder struct {
	fileSystem
	log *Log
}

func (o *ownFolder) create(name string, size int64) (file, error) {
	if err := o.log.ours(); err != nil {
		return nil, err
	}
	return o.fileSystem.create(name, size)
}

func (o *ownFolder) open(name string) (file, error) {
	f, err := o.fileSystem.open(name)
	if taken := o.log.ours(); taken != nil {
		if err == nil {
			_ = f.Close()
		}
		return nil, taken
	}
	return f, err
}

func (o *ownFolder) rename(from, to string) error {
	if err := o.log.ours(); err != nil {
		return err
	}
	return o.fileSystem.rename(from, to)
}

func (o *ownFolder) remove(name string) error {
	if err := o.log.ours(); err != nil {
		return err
	}
	return o.fileSystem.remove(name)
}
