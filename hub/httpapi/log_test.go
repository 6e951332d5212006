package httpapi_test

import (
	"bytes"
	"errors"
	"log/slog"
	"sync"

	"example.com/tidings/hub/httpapi"
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
