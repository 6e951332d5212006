package segmentlog

import (
	"fmt"

	"example.com/tidings/eventlog"
)

// A failure is why a log stores nothing more.
type failure struct {
	text string // one sentence for the person who runs the program
	err  error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return []error{eventlog.ErrFailed, f.err} }

// Failed implements [eventlog.Failer].
func (l *Log) Failed() <-chan struct{} { return l.failing }

// Err implements [eventlog.Failer].
func (l *Log) Err() error {
	if f := l.failure.Load(); f != nil {
		return f
	}
	return nil
}

// fail ends writing for good, because the disk did not do as it was told: what it has is no
// longer known. fail returns the error of what was under way.
func (l *Log) fail(err error) error {
	l.failFor(&failure{fmt.Sprintf("the disk of the data folder %q has failed: %v; check the disk, then start again", l.opts.Dir, err), err})
	return fmt.Errorf("segmentlog: it is not known what the disk has: %w", err)
}

// failFor ends writing for good, unless that has been done.
func (l *Log) failFor(f *failure) {
	if l.failure.CompareAndSwap(nil, f) {
		l.opts.Logger.Error("the log stores nothing more until the next start; it can be read", "error", f)
		close(l.failing)
	}
}

// broken is fail, but for a disk that has no room. That ends nothing.
func (l *Log) broken(err error) error {
	if noRoom(err) {
		return fmt.Errorf("%w: %w", eventlog.ErrFull, err)
	}
	return l.fail(err)
}
