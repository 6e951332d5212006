package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// lossyBytes is how much a lossyWriter holds that nobody has read yet.
const lossyBytes = 1 << 20

// A lossyWriter writes lines without ever waiting for their reader: a log collector that has
// stopped must not stop the server. Lines for which it has no room are dropped. It says how
// many once the reader goes on. Its methods may be called concurrently.
type lossyWriter struct {
	w io.Writer

	mu      sync.Mutex
	changed sync.Cond // of mu
	lines   [][]byte
	size    int // of lines, and of the one that is being written
	writing bool
	closed  bool
	dropped uint64 // all
	told    uint64 // of them, those that the reader was told of
}

// newLossyWriter returns a writer whose goroutine stays until Close.
func newLossyWriter(w io.Writer) *lossyWriter {
	l := &lossyWriter{w: w}
	l.changed.L = &l.mu
	go l.run()
	return l
}

// Write takes a line.
func (l *lossyWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(line) == 0:
		return 0, nil
	case l.size+len(line) > lossyBytes:
		l.dropped++
		return len(line), nil
	}
	l.lines = append(l.lines, append([]byte(nil), line...))
	l.size += len(line)
	l.changed.Broadcast()
	return len(line), nil
}

// Dropped returns how many lines were dropped.
func (l *lossyWriter) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Flush waits until everything is written, but not longer than the given time.
func (l *lossyWriter) Flush(within time.Duration) {
	late := false
	timer := time.AfterFunc(within, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		late = true
		l.changed.Broadcast()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for !late && (l.writing || len(l.lines) > 0) {
		l.changed.Wait()
	}
}

// Close ends the writer once everything is written. It does not wait for that.
func (l *lossyWriter) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.changed.Broadcast()
}

// run writes the lines, one after the other.
func (l *lossyWriter) run() {
	for line := l.next(); line != nil; line = l.next() {
		_, _ = l.w.Write(line) // a reader that is gone is not missed
		l.wrote(len(line))
	}
}

// next waits for a line. It returns nil if none follows.
func (l *lossyWriter) next() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.lines) == 0 {
		if l.closed {
			return nil
		}
		l.changed.Wait()
	}
	line := l.lines[0]
	l.lines = l.lines[1:]
	l.writing = true
	return line
}

// wrote notes that a line was written.
func (l *lossyWriter) wrote(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = false
	l.size -= n
	if missed := l.dropped - l.told; missed > 0 && len(l.lines) == 0 {
		l.told = l.dropped
		note := fmt.Appendf(nil, "tidings: %d lines of the log were dropped here, because nobody read them\n", missed)
		l.lines = append(l.lines, note)
		l.size += len(note)
	}
	l.changed.Broadcast()
}
