package jetlog

import (
	"errors"
	"time"

	"example.com/tidings/hub"
)

// How long acknowledgements may still come once the server has failed to write,
// and how often it is tried to open the log anew.
const (
	mendGrace    = 100 * time.Millisecond
	mendInterval = 250 * time.Millisecond
)

// failed has the log opened anew after the server has failed to write. It may be
// called any number of times.
//
// The usual reason is that another program has filled the disk, reserve and all.
// JetStream then acknowledges nothing, and goes on so when there is room again. Until
// there is, what was stored is read from the server as it is, and appending is
// refused.
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
	e.opts.Logger.Error("the log cannot be written; it will be opened anew when there is room on the disk")
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
				e.opts.Logger.Error("the log cannot be opened anew", "error", err)
			}
			continue
		}
		l.core.Store(next)
		close(c.gone)
		e.opts.Logger.Info("the log is opened anew")
		return
	}
}

// errUnwritable says that the log cannot be written for another reason than that
// the disk is full. The log of the program has it.
var errUnwritable = errors.New("jetlog: the log cannot be written")

// unwritable returns why the log cannot be written.
func (e *embedded) unwritable() error {
	if e.room.recovered() {
		return errUnwritable
	}
	return hub.ErrFull
}

// readable reports whether the server still serves what is stored. It stops to
// when it has noticed itself that the disk is full.
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
