package hub_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// A busyLog reads for as long as its gate is closed, or until its context is done.
type busyLog struct {
	eventlog.Log
	gate    chan struct{}
	reading atomic.Int64
}

func (l *busyLog) wait(ctx context.Context) error {
	l.reading.Add(1)
	defer l.reading.Add(-1)
	select {
	case <-l.gate:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *busyLog) Topics(ctx context.Context, f topics.Filter, after string, limit int) ([]eventlog.TopicInfo, error) {
	if err := l.wait(ctx); err != nil {
		return nil, err
	}
	return l.Log.Topics(ctx, f, after, limit)
}

func (l *busyLog) Newest(ctx context.Context, f []topics.Filter, after, upTo uint64, limit int) ([]uint64, uint64, error) {
	if err := l.wait(ctx); err != nil {
		return nil, 0, err
	}
	return l.Log.Newest(ctx, f, after, upTo, limit)
}

// A few expensive reads run at a time, some wait, and others are refused. One that is given up
// makes room. Publishing, and streams that begin now or go on after an id, need no turn.
func TestExpensiveReadsTakeTurns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &busyLog{Log: eventlog.NewMemory(nil), gate: make(chan struct{})}
		h := newHub(t, log, nil)
		all := topics.MustFilters("**")
		ids := publish(t, h, "a:1")
		ctx, giveUp := context.WithCancel(t.Context())
		atOnce := max(1, runtime.GOMAXPROCS(0)/2)
		const waiting = 64
		done := make(chan error, atOnce+waiting)
		list := func() {
			_, err := h.Topics(ctx, all[0], "", 1)
			done <- err
		}
		for range atOnce + waiting {
			go list()
		}
		synctest.Wait()
		if n := int(log.reading.Load()); n != atOnce {
			t.Errorf("%d read at a time, want %d", n, atOnce)
		}
		_, errTopics := h.Topics(t.Context(), all[0], "", 1)
		_, _, errTopic := h.Topic(t.Context(), "a")
		_, errHistory := h.History(t.Context(), all, eventlog.Position{}, 1)
		_, errBefore := h.HistoryBefore(t.Context(), all, eventlog.Position{}, 1)
		_, errEvent := h.Event(t.Context(), "a", position(t, ids[0]))
		for name, err := range map[string]error{"Topics": errTopics, "Topic": errTopic, "History": errHistory, "HistoryBefore": errBefore, "Event": errEvent} {
			if !errors.Is(err, hub.ErrBusy) {
				t.Errorf("%s beyond those that may wait: %v", name, err)
			}
		}
		for _, from := range []string{"last", "5", "2000-01-01T00:00:00Z"} {
			from, err := hub.ParseFrom(from)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Subscribe(t.Context(), hub.Subscription{Filters: all, From: from}); !errors.Is(err, hub.ErrBusy) {
				t.Errorf("Subscribe beyond those that may wait: %v", err)
			}
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", "text/event-stream")
		h.ServeEvents(w, r, hub.Subscription{Filters: all, From: hub.FromLast()})
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "event: tidings.unavailable\n") {
			t.Errorf("an EventSource gets %d %s", w.Code, w.Body)
		}
		publish(t, h, "a:2")
		for _, sub := range []hub.Subscription{{Filters: all}, {Filters: all, From: hub.FromStart()}, {Filters: all, LastEventID: ids[0], Live: true}} {
			ctx, leave := context.WithCancel(t.Context())
			if _, err := h.Subscribe(ctx, sub); err != nil {
				t.Errorf("a stream that needs no turn: %v", err)
			}
			leave()
		}
		giveUp()
		for range atOnce + waiting {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("one that is given up: %v", err)
			}
		}
		close(log.gate)
		if found, err := h.Topics(t.Context(), all[0], "", 1); err != nil || len(found) != 1 {
			t.Errorf("then: %v, %v", found, err)
		}
	})
}
