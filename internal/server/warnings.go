package server

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// warnEvery is the shortest time between two warnings of a kind.
const warnEvery = 10 * time.Second

// Warnings are of few kinds, and of one more if a client finds a way to make others.
const (
	mostKinds = 64
	otherKind = "other warnings"
)

// warnings logs what clients do wrong: one warning of a kind within warnEvery, and then how
// many of that kind were left out. Its methods may be called concurrently.
type warnings struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*leftOut // nil after close
}

// A leftOut is a kind of which a warning was logged within warnEvery.
type leftOut struct {
	n     int // warnings since then
	timer *time.Timer
}

func newWarnings(log *slog.Logger) *warnings {
	return &warnings{log: log, kinds: map[string]*leftOut{}}
}

// Write logs a message of net/http. It implements [io.Writer], for a [log.Logger].
func (w *warnings) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	w.add(kindOf(text), text)
	return len(p), nil
}

// warn logs a warning whose kind is its message.
func (w *warnings) warn(message string, args ...any) { w.add(message, message, args...) }

func (w *warnings) add(kind, message string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kinds != nil {
		if w.kinds[kind] == nil && len(w.kinds) >= mostKinds {
			kind = otherKind
		}
		if k := w.kinds[kind]; k != nil {
			k.n++
			return
		}
		w.kinds[kind] = &leftOut{timer: time.AfterFunc(warnEvery, func() { w.sum(kind) })}
	}
	w.log.Warn(message, args...)
}

// sum logs how many warnings of a kind were left out, if any, and goes on leaving them out.
func (w *warnings) sum(kind string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.kinds[kind]
	switch {
	case k == nil:
	case k.n == 0:
		delete(w.kinds, kind)
	default:
		w.tell(kind, k)
		k.n = 0
		k.timer.Reset(warnEvery)
	}
}

func (w *warnings) tell(kind string, k *leftOut) {
	w.log.Warn("more such warnings were left out", "kind", kind, "left_out", k.n)
}

// close logs what was left out. Later warnings are all logged.
func (w *warnings) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for kind, k := range w.kinds {
		k.timer.Stop()
		if k.n > 0 {
			w.tell(kind, k)
		}
	}
	w.kinds = nil
}

// kindOf returns the beginning of a message of net/http, up to the first address or other value.
func kindOf(message string) string {
	words := strings.Fields(message)
	for i, word := range words {
		if i == 8 || word == "from" || strings.ContainsAny(word[:1], "0123456789[\"'(") {
			words = words[:i]
			break
		}
	}
	return strings.Join(words, " ")
}
