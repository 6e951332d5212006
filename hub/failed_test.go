package hub_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
)

// A failingLog is a log that fails when the test says so.
type failingLog struct {
	eventlog.Log
	failed chan struct{}
	mu     sync.Mutex
	err    error
}

func (l *failingLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	close(l.failed)
}

func (l *failingLog) Failed() <-chan struct{} { return l.failed }

func (l *failingLog) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *failingLog) Append(ctx context.Context, messages []eventlog.Message) []eventlog.Appended {
	if err := l.Err(); err != nil {
		results := make([]eventlog.Appended, len(messages))
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	return l.Log.Append(ctx, messages)
}

// A hub says that its log has failed, and why. What is stored can be read, and live streams
// go on.
func TestHubOfALogThatFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &failingLog{Log: eventlog.NewMemory(nil), failed: make(chan struct{})}
		h := newHub(t, log, nil)
		ids := publish(t, h, "a:1", "a:2")
		select {
		case <-h.Failed():
			t.Fatal("the hub has failed")
		default:
		}
		if h.Err() != nil || h.Ready(t.Context()) != nil {
			t.Errorf("Err: %v, Ready: %v", h.Err(), h.Ready(t.Context()))
		}
		log.fail(eventlog.ErrFailed)
		<-h.Failed()
		if err := h.Ready(t.Context()); h.Err() != eventlog.ErrFailed || !errors.Is(err, eventlog.ErrFailed) {
			t.Errorf("Err: %v, Ready: %v", h.Err(), err)
		}
		if _, err := h.Publish(t.Context(), hub.Message{Topic: "a"}); !errors.Is(err, eventlog.ErrFailed) {
			t.Errorf("Publish: %v", err)
		}
		if ev, err := h.Event(t.Context(), "a", position(t, ids[0])); err != nil || ev.Data != "1" {
			t.Errorf("Event: %+v, %v", ev, err)
		}
		h.Drain()
		if _, err := h.Publish(t.Context(), hub.Message{Topic: "a"}); !errors.Is(err, eventlog.ErrFailed) {
			t.Errorf("Publish while it drains: %v", err)
		}
	})
}

// The hub of a log that cannot fail for good never says that it has.
func TestHubOfALogThatCannotFail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		h.Drain()
		select {
		case <-h.Failed():
			t.Error("the hub has failed")
		default:
		}
		if err := h.Err(); err != nil {
			t.Error(err)
		}
	})
}
