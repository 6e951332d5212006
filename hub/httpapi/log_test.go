package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/topics"
)

// errSecret is an error of which no client is told.
var errSecret = errors.New("the secret is out")

// logTo returns options with a logger.
func logTo(l *logBuffer) httpapi.Options {
	return httpapi.Options{Logger: slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// A logBuffer holds what was logged; it may be used concurrently.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// A faultyLog is a log that fails when it is told to.
type faultyLog struct {
	mu      sync.Mutex
	reads   error                     // that reading fails with, see failReads
	appends func(m hub.Message) error // nil for what succeeds, see failAppends

	batches atomic.Int64 // read with another filter than the hub's own

	eventlog.Log
	waits bool // Append and Topics wait until their context is done
}

// failReads has reading fail, or no longer if err is nil. The hub itself reads at
// any time.
func (l *faultyLog) failReads(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = err
}

// failAppends has appending a message fail with what f returns, or no longer if f is nil. The hub
// itself appends at any time.
func (l *faultyLog) failAppends(f func(m hub.Message) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appends = f
}

func (l *faultyLog) appendError(m hub.Message) error {
	l.mu.Lock()
	f := l.appends
	l.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(m)
}

func (l *faultyLog) readError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

func (l *faultyLog) Append(ctx context.Context, messages []hub.Message) []eventlog.Appended {
	results := make([]eventlog.Appended, len(messages))
	var stop error
	for i, m := range messages {
		var err error
		switch {
		case stop != nil:
			err = stop
		case l.waits:
			<-ctx.Done()
			err = ctx.Err()
		default:
			err = l.appendError(m)
		}
		if err != nil {
			results[i].Err = err
			if !errors.Is(err, eventlog.ErrKeyConflict) && !errors.Is(err, eventlog.ErrTooLarge) {
				stop = err
			}
			continue
		}
		results[i] = l.Log.Append(ctx, messages[i:i+1])[0]
	}
	return results
}

func (l *faultyLog) Read(ctx context.Context, q eventlog.Query) (eventlog.Batch, error) {
	if q.Filters[0].Exact() {
		l.batches.Add(1)
	}
	return l.Log.Read(ctx, q)
}

func (l *faultyLog) Topics(ctx context.Context, f topics.Filter, after string, limit int) ([]eventlog.TopicInfo, error) {
	if l.waits {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := l.readError(); err != nil {
		return nil, err
	}
	return l.Log.Topics(ctx, f, after, limit)
}

func (l *faultyLog) State(ctx context.Context) (eventlog.State, error) {
	if err := l.readError(); err != nil {
		return eventlog.State{}, err
	}
	return l.Log.State(ctx)
}
