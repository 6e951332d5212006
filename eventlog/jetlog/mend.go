package jetlog

import (
	"errors"
	"time"

	"example.com/tidings/eventlog"
)

// mendGrace is how long acknowledgements may still arrive after the server has failed to
// write. mendInterval is the time between attempts to reopen the log.
const (
	mendGrace    = 100 * time.Millisecond
	mendInterval = 250 * time.Millisecond
)

// failed reopens the log, in a goroutine of its own, after the server has failed to write.
// It may be called any number of times.
//
// Usually another program has filled the disk, including the reserve. JetStream then
// acknowledges nothing, even after there is room again. Until there is room, the old server
// serves reads, and Append refuses messages.
func (e *embedded) failed(l *Log, c *core) {
	if l.closing.Err() != nil || l.core.Load() != c || !e.mending.CompareAndSwap(false, true) {
		return
	}
	e.menders.Go(func() {
		defer e.mending.Store(false)
		e.mend(l, c)
	})
}

func (e *embedded) mend(l *Log, c *core) {
	e.opts.Logger.Error("the log cannot be written; it reopens when the disk has room")
	if !pause(l, mendGrace) {
		return
	}
	c.pub.fail(e.unwritable())
	for ; ; pause(l, mendInterval) {
		if l.closing.Err() != nil {
			return
		}
		if !e.room.recovered() && e.readable() {
			continue
		}
		e.stop()
		next, err := e.start(l.closing, l)
		if err != nil {
			if l.closing.Err() == nil {
				e.opts.Logger.Error("the log cannot be reopened", "error", err)
			}
			continue
		}
		l.serve(next)
		e.opts.Logger.Info("the log is open again")
		return
	}
}

// errUnwritable means that the log cannot be written although the disk has room. The
// program's log lines give the reason.
var errUnwritable = errors.New("jetlog: the log cannot be written")

// unwritable returns why the log cannot be written.
func (e *embedded) unwritable() error {
	if e.room.recovered() {
		return errUnwritable
	}
	return eventlog.ErrFull
}

// readable reports whether the server still serves reads. The server stops once it notices
// that the disk is full.
func (e *embedded) readable() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.srv != nil && e.srv.JetStreamEnabled()
}

// pause waits, and reports whether the log is still open.
func pause(l *Log, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.closing.Done():
		return false
	}
}
