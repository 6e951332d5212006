package segmentlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/logclock"
)

// Open opens the log in a folder, and creates the log if there is none. Nil options mean the
// defaults. The caller must close the log.
func Open(_ context.Context, options *Options) (*Log, error) {
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := makeDir(opts.files, filepath.Clean(opts.Dir)); err != nil {
		return nil, fmt.Errorf("the data folder cannot be made: %w", err)
	}
	held, err := lock(opts.Dir)
	if err != nil {
		return nil, err
	}
	l := &Log{opts: opts, lock: held, grown: make(chan struct{}), followed: make(chan struct{}, 1), failing: make(chan struct{})}
	l.files = &ownFolder{opts.files, l}
	l.losses = newLosses(l)
	l.closing, l.close = context.WithCancel(context.Background())
	if err := l.start(); err != nil {
		l.close()
		l.abandon()
		return nil, errors.Join(fmt.Errorf("the log in %q: %w", opts.Dir, err), held.Unlock())
	}
	return l, nil
}

// start reads what the folder has, and starts the goroutines of the log.
func (l *Log) start() error {
	if _, total, err := l.files.free(l.opts.Dir); err == nil && total > 0 && l.opts.Reserve >= total {
		return fmt.Errorf("a reserve of %d bytes leaves nothing of the disk, which has %d", l.opts.Reserve, total)
	}
	id, err := checkFormat(l.files, l.opts.Dir, l.opts.Logger)
	if err != nil {
		return err
	}
	l.id = id
	found, err := l.find()
	l.segments.Store(&found)
	if err != nil {
		return err
	}
	keeper, known, ok, err := openState(l.files, l.opts.Dir, l.opts.Logger)
	if err != nil {
		return err
	}
	l.state = keeper
	if !ok && len(found) > 0 {
		l.opts.Logger.Error("the log's state cannot be read; subscribers are told that messages may be missing")
	}
	copied := known.file != 0 && keeper.f.id() != 0 && known.file != keeper.f.id()
	r, err := l.recover(found, known, ok, copied)
	if err != nil {
		return err
	}
	kept, next := r.segments, r.next
	l.segments.Store(&kept)
	l.first.Store(r.first)
	l.began = r.epoch
	l.last = next - 1 // see beginEpoch
	atLeast := time.Time{}
	if ok {
		atLeast = known.time()
	}
	if n := len(kept); n > 0 {
		last, _ := kept[n-1].extent()
		if t := time.Unix(0, l.nanos(last)); t.After(atLeast) {
			atLeast = t
		}
	}
	l.clock = logclock.New(l.opts.clock, atLeast, func(ahead time.Duration) {
		l.opts.Logger.Warn("the wall clock is far ahead of the log's time; the log follows it at twice the real speed, and at once after a restart", "ahead", ahead.Round(time.Second))
	})
	if err := l.beginEpoch(r.epoch); err != nil {
		return err
	}
	err = keeper.update(func(st *state) {
		st.first, st.acknowledged, st.synced, st.boot = r.first, next-1, next-1, l.opts.bootID()
		st.file = keeper.f.id()
		st.nanos = nanosOf(l.clock.Now())
		st.flags &= stateStale
		if !ok || copied || keeper.half || r.unsynced {
			st.flags = stateStale
		}
		if l.opts.Sync == 0 {
			st.flags |= stateAlways
		}
	})
	if err == nil {
		err = keeper.sync()
	}
	if noRoom(err) {
		l.unsaved, err = true, nil
	}
	if err != nil {
		return err
	}
	l.syncer = &syncer{log: l}
	l.spares = newSpares(l)
	l.retention = &retention{log: l, wake: make(chan struct{}, 1)}
	l.index = newIndex(l, next)
	l.index.stale = !ok || copied || keeper.half || r.lost || known.flags&stateStale != 0
	l.index.removing.marked = l.index.stale || r.unsynced
	l.writer = &writer{log: l, wake: make(chan struct{}, 1), done: make(chan struct{}), seq: next - 1, marked: -1, patience: mostPatience}
	l.retention.measure()
	switch err := l.writer.roll(0); {
	case errors.Is(err, eventlog.ErrFull) && len(kept) == 0:
		// A log always has a segment. This one has no file, and no record.
		empty := newSegment(l.files, l.opts.Dir, next, 0)
		empty.loaded, empty.own = true, true
		l.addSegment(empty)
	case err != nil && !errors.Is(err, eventlog.ErrFull):
		return err
	}
	l.running.Go(l.writer.run)
	l.running.Go(l.retention.run)
	l.running.Go(l.index.run)
	l.running.Go(l.losses.run)
	verification := &verification{log: l, rate: l.opts.verifyRate, segments: kept}
	l.running.Go(verification.run)
	l.running.Go(l.watch)
	if l.opts.Sync > 0 {
		l.running.Go(func() { l.syncer.run(l.opts.Sync) })
	}
	return nil
}

// abandon closes the files of a start that has failed.
func (l *Log) abandon() {
	if l.spares != nil {
		l.spares.close()
	}
	if l.state != nil {
		_ = l.state.close()
	}
	if list := l.segments.Load(); list != nil {
		for _, s := range *list {
			s.shut()
		}
	}
}

// find returns the segments in the folder, ascending. It removes what an earlier process has
// left unfinished.
func (l *Log) find() ([]*segment, error) {
	names, err := l.files.list(l.opts.Dir)
	if err != nil {
		return nil, err
	}
	var found []*segment
	sidecars := map[string]bool{}
	for _, name := range names {
		path := filepath.Join(l.opts.Dir, name)
		switch first, salt, ok := parseSegmentName(name); {
		case ok:
			s := newSegment(l.files, l.opts.Dir, first, salt)
			f, err := l.files.open(path)
			if err == nil {
				s.end, err = f.size()
				err = errors.Join(err, f.Close())
			}
			if tooBusy(err) { // any other error costs the segment's records
				return nil, err
			}
			found = append(found, s)
		case filepath.Ext(name) == sidecarSuffix:
			sidecars[path] = true
		case isSpare(name):
			if err := l.files.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	slices.SortFunc(found, func(a, b *segment) int { return cmp.Compare(a.first, b.first) })
	kept, err := l.distinct(found)
	if err != nil {
		return found, err
	}
	found = kept
	for _, s := range found {
		delete(sidecars, s.sidecar())
	}
	for path := range sidecars { // of segments that are gone
		_ = l.files.remove(path)
	}
	return found, nil
}

// distinct returns one segment for each first number: the one that reaches furthest. It
// removes the others if they are empty, and sets them aside if not. A loss of power may bring
// an empty one back that was removed.
func (l *Log) distinct(found []*segment) (kept []*segment, err error) {
	for _, s := range found {
		n := len(kept)
		if n == 0 || kept[n-1].first < s.first {
			kept = append(kept, s)
			continue
		}
		other := kept[n-1]
		for _, s := range []*segment{other, s} {
			if err := s.load(); err != nil && !errors.Is(err, errUnreadable) {
				return nil, err
			}
		}
		if other.last < s.last {
			kept[n-1], s = s, other
		}
		switch empty, err := s.isEmpty(); {
		case errors.Is(err, errUnreadable): // it stays, until the disk can read it
			continue
		case err != nil:
			return nil, err
		case empty:
			if err := s.drop(); err != nil {
				return nil, err
			}
			continue
		}
		aside, err := s.setAside()
		if err != nil {
			return nil, err
		}
		l.opts.Logger.Error("two segments of the log begin with the same number; one of them was set aside", "file", s.path, "aside", aside, "other", kept[n-1].path)
	}
	return kept, nil
}

// isEmpty reports whether the file of a segment has nothing but zeros.
func (s *segment) isEmpty() (bool, error) {
	f, err := s.acquire()
	if err != nil {
		return false, err
	}
	defer s.release()
	used, err := usedBytes(f)
	return used == 0, err
}

// beginEpoch begins the epoch of this start. If the disk has no room for it, readers get to
// know no number of that epoch before it is saved.
func (l *Log) beginEpoch(first uint64) error {
	known, err := loadEpochs(l.files, l.opts.Dir)
	if err != nil {
		aside, e := setAside(l.files, l.opts.Dir, epochsFile)
		if e != nil {
			return errors.Join(err, e)
		}
		l.opts.Logger.Error("the history of the log's epochs cannot be read; a new one begins, and subscribers that come back get a gap", "error", err, "aside", aside)
		known = nil
	}
	l.epochs = nextEpochs(known, first-1, l.clock.Now())
	l.epoch = l.epochs[len(l.epochs)-1].ID
	err = saveEpochs(l.files, l.opts.Dir, l.epochs)
	if noRoom(err) && len(known) > 0 {
		l.opts.Logger.Warn("the disk is full; messages are refused until there is room", "error", err)
		l.unsaved, l.last = true, first-1
		return nil
	}
	return err
}

// save saves the epoch and the state of this start, if the disk had no room for them. The
// writer calls it before it assigns a number: the next start must know the epoch.
func (l *Log) save() error {
	if !l.unsaved {
		return nil
	}
	if err := saveEpochs(l.files, l.opts.Dir, l.epochs); err != nil {
		return err
	}
	if err := l.state.update(func(*state) {}); err != nil {
		return err
	}
	l.unsaved = false
	return l.state.sync()
}

// Close implements [eventlog.Log]. When it returns nil, everything stored is on the disk. If
// the log could no longer be written, Close returns why. In any case, the folder can be opened
// again.
func (l *Log) Close() error {
	l.closeOnce.Do(func() {
		l.writer.close()
		<-l.writer.done
		l.close()
		l.running.Wait()
		l.closeErr = l.end()
	})
	return l.closeErr
}

// end writes what the next start wants to find, and closes the files.
func (l *Log) end() error {
	err := l.syncer.sync()
	if err != nil {
		err = l.fail(err)
	}
	if w := l.writer; w.seg != nil {
		l.seal(w.seg)
		w.seg.release()
	}
	l.sealing.Wait()
	l.spares.close()
	err = cmp.Or(l.Err(), err)
	if err == nil {
		err = l.state.update(func(st *state) {
			st.synced = st.acknowledged
			st.flags |= stateClean
			st.nanos = nanosOf(l.clock.Now())
		})
		err = errors.Join(err, l.state.sync())
	}
	err = errors.Join(err, l.state.close())
	for _, s := range l.list() {
		s.shut()
	}
	return errors.Join(err, l.lock.Unlock())
}

// shut closes the file once its readers are gone.
func (s *segment) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	if s.users == 0 {
		s.closeFile()
	}
}
