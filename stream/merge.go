package stream

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
)

// errGoexit is yielded for a source that ended in a way that nobody can have
// meant as its end.
var errGoexit = errors.New("stream: a source of Merge called runtime.Goexit")

// Merge returns the values of all sources as they come, until all have ended.
// The values of one source keep their order. Each source is called and ranged
// on a goroutine of its own, so it must not share what is not safe to share
// with the others or with the consumer, and runs at most one value ahead of
// the consumer.
//
// Each source is given a context, which is done when ctx is done, when the
// consumer stops, and when a source fails. A source that waits must return
// when it is done: Merge waits for all its goroutines before its sequence ends,
// and a source that ignores its context holds it up. A value that a source has
// yielded by then may be dropped.
//
// A gap in one source is passed on, and all go on. Any other error is passed on
// and ends all of them: it is the last that is yielded. Of several at the same
// time, one is. When ctx is done the sequence ends without an error.
//
// A panic in a source is raised again with the same value on the goroutine of
// the consumer, after all sources have ended; of several, the first. The stack
// is then the consumer's: a source that wants its own on record recovers and
// logs it. A panic of the consumer itself comes before that of a source. A
// source that calls runtime.Goexit has failed with an error that says so.
//
// Ranged again, it calls the sources again. Until then none is called.
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

// An item is what a source has yielded.
type item[T any] struct {
	value T
	err   error
}

// A merger is one range over a merged sequence.
type merger[T any] struct {
	items   chan item[T]       // unbuffered, closed by the last source to end
	running atomic.Int64       // sources that have not ended
	done    <-chan struct{}    // closed when the sources are to stop
	cancel  context.CancelFunc // closes done

	panicOnce  sync.Once
	panicked   bool // with panicValue, for reading when all sources have ended
	panicValue any
}

// run starts the sources, yields what they send until there is nothing more to
// yield, and returns when all of them have ended.
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

// pump sends what source yields, until it ends, fails, or is to stop.
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

// send hands it to the consumer and reports whether that took it: it does not
// when the sources are to stop.
func (m *merger[T]) send(it item[T]) bool {
	select {
	case m.items <- it:
		return true
	case <-m.done:
		return false
	}
}
