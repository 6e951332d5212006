package stream

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
)

// errGoexit is yielded for a source that called runtime.Goexit, which is not a
// normal way to end.
var errGoexit = errors.New("stream: a source of Merge called runtime.Goexit")

// Merge returns the values of all sources as they come, until all sources have
// ended. The values of one source keep their order. Merge calls and ranges each
// source on a goroutine of its own. A source must therefore not share
// unsynchronized data with the other sources or the consumer. It runs at most
// one value ahead of the consumer.
//
// Each source gets a context that is done when ctx is done, when the consumer
// stops, or when a source fails. A source that waits must return when that
// context is done: Merge waits for all its goroutines before its sequence ends,
// so a source that ignores its context delays the end. A value that a source
// has yielded by then may be dropped.
//
// Merge passes on a gap in one source, and all sources go on. Any other error
// ends all sources and is yielded last. If several sources fail at the same
// time, Merge yields one of the errors. When ctx is done, the sequence ends
// without an error.
//
// If a source panics, Merge panics with the same value on the consumer's
// goroutine, after all sources have ended. If several panic, Merge uses the
// first value. The stack is then the consumer's: a source that wants its own
// stack recorded must recover and log it. A panic of the consumer itself takes
// precedence over a panic of a source. A source that calls runtime.Goexit fails
// with an error that says so.
//
// Merge calls no source before its sequence is ranged. Ranged again, it calls
// the sources again.
func Merge[T any](ctx context.Context, sources ...func(context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if ctx.Err() != nil || len(sources) == 0 {
			return
		}
		m := &merger[T]{items: make(chan item[T])}
		m.run(ctx, sources, yield)
		if m.panicked {
			panic(m.panicValue)
		}
	}
}

// An item is one value or error that a source has yielded.
type item[T any] struct {
	value T
	err   error
}

// A merger is the state of one range over a merged sequence.
type merger[T any] struct {
	items   chan item[T]       // unbuffered, closed by the last source to end
	running atomic.Int64       // sources that have not ended
	done    <-chan struct{}    // closed when the sources must stop
	cancel  context.CancelFunc // closes done

	panicOnce  sync.Once
	panicked   bool // read this and panicValue only when all sources have ended
	panicValue any
}

// run starts the sources and yields the items that they send. It returns when
// nothing more is to be yielded and all sources have ended.
func (m *merger[T]) run(parent context.Context, sources []func(context.Context) iter.Seq2[T, error], yield func(T, error) bool) {
	ctx, cancel := context.WithCancel(parent)
	m.done, m.cancel = ctx.Done(), cancel
	m.running.Store(int64(len(sources)))

	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for _, source := range sources {
		all.Go(func() { m.pump(ctx, source) })
	}

	for it := range m.items {
		if parent.Err() != nil {
			return
		}
		if it.err != nil {
			if !pass(yield, it.err) {
				return
			}
			continue
		}
		if !yield(it.value, nil) {
			return
		}
	}
}

// pump sends the items of source until source ends or fails, or until the
// sources must stop.
func (m *merger[T]) pump(ctx context.Context, source func(context.Context) iter.Seq2[T, error]) {
	returned := false
	defer func() {
		if !returned {
			if v := recover(); v != nil {
				m.panicOnce.Do(func() { m.panicked, m.panicValue = true, v })
				m.cancel()
			} else {
				m.send(item[T]{err: errGoexit})
			}
		}
		if m.running.Add(-1) == 0 {
			close(m.items)
		}
	}()
	for v, err := range source(ctx) {
		if !m.send(item[T]{v, err}) || err != nil && !isGap(err) {
			break
		}
	}
	returned = true
}

// send hands it to the consumer and reports whether the consumer took it. The
// consumer does not take it when the sources must stop.
func (m *merger[T]) send(it item[T]) bool {
	select {
	case m.items <- it:
		return true
	case <-m.done:
		return false
	}
}
