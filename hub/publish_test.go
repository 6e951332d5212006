package hub_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

func TestPublish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{MaxMessage: 1000})
		for _, tt := range []struct {
			rule  string
			m     hub.Message
			err   error  // which the error wraps, or
			field string // that of an InvalidError
		}{
			{"the least", hub.Message{Topic: "a"}, nil, ""},
			{"everything", hub.Message{Topic: "a.b", Type: "a type", Data: "data", Key: "key"}, nil, ""},
			{"as long as allowed", hub.Message{Topic: "a", Type: strings.Repeat("t", 200), Data: strings.Repeat("x", 1000), Key: strings.Repeat("k", 255)}, nil, ""},
			{"data of any characters", hub.Message{Topic: "a", Data: "\x00\r\n\u2028\ufffe🙂"}, nil, ""},
			{"no topic", hub.Message{Data: "x"}, nil, "topic"},
			{"a bad topic", hub.Message{Topic: "a b"}, nil, "topic"},
			{"a filter", hub.Message{Topic: "a.*"}, nil, "topic"},
			{"a reserved topic", hub.Message{Topic: "tidings.a"}, topics.ErrReserved, ""},
			{"a reserved type", hub.Message{Topic: "a", Type: "tidings.gap"}, topics.ErrReserved, ""},
			{"a type with a line end", hub.Message{Topic: "a", Type: "a\nb"}, nil, "type"},
			{"a type with a carriage return", hub.Message{Topic: "a", Type: "a\rb"}, nil, "type"},
			{"a type with a NUL", hub.Message{Topic: "a", Type: "a\x00"}, nil, "type"},
			{"a type that is not UTF-8", hub.Message{Topic: "a", Type: "\xff"}, nil, "type"},
			{"a type that is too long", hub.Message{Topic: "a", Type: strings.Repeat("t", 201)}, nil, "type"},
			{"data that is not UTF-8", hub.Message{Topic: "a", Data: "a\xff"}, nil, "data"},
			{"data that is too long", hub.Message{Topic: "a", Data: strings.Repeat("x", 1001)}, eventlog.ErrTooLarge, ""},
			{"a key that is too long", hub.Message{Topic: "a", Key: strings.Repeat("k", 256)}, nil, "key"},
		} {
			p, err := h.Publish(t.Context(), tt.m)
			invalid, isInvalid := errors.AsType[*hub.InvalidError](err)
			switch {
			case tt.err == nil && tt.field == "":
				if err != nil || p.Topic != tt.m.Topic || p.Repeat || p.ID.Seq == 0 {
					t.Errorf("%s: %+v, %v", tt.rule, p, err)
				}
			case tt.err != nil && !errors.Is(err, tt.err), tt.field != "" && (!isInvalid || invalid.Field != tt.field), p != hub.Published{}:
				t.Errorf("%s: %+v, %v", tt.rule, p, err)
			}
		}
	})
}

// A key makes a message that is published again a repeat, on its topic and for a
// while.
func TestKeys(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("**")})
		first, err := h.Publish(t.Context(), hub.Message{Topic: "a", Data: "1", Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		again, err := h.Publish(t.Context(), hub.Message{Topic: "a", Data: "1", Key: "k"})
		if err != nil || again.ID != first.ID || !again.Repeat {
			t.Errorf("again: %+v, %v; want a repeat of %s", again, err, first.ID)
		}
		if p, err := h.Publish(t.Context(), hub.Message{Topic: "a", Data: "2", Key: "k"}); !errors.Is(err, eventlog.ErrKeyConflict) {
			t.Errorf("other data: %+v, %v", p, err)
		}
		if p, err := h.Publish(t.Context(), hub.Message{Topic: "a", Type: "t", Data: "1", Key: "k"}); !errors.Is(err, eventlog.ErrKeyConflict) {
			t.Errorf("another type: %+v, %v", p, err)
		}
		if p, err := h.Publish(t.Context(), hub.Message{Topic: "b", Data: "2", Key: "k"}); err != nil || p.Repeat {
			t.Errorf("another topic: %+v, %v", p, err)
		}
		time.Sleep(3 * time.Minute)
		if p, err := h.Publish(t.Context(), hub.Message{Topic: "a", Data: "3", Key: "k"}); err != nil || p.Repeat {
			t.Errorf("after the window: %+v, %v", p, err)
		}
		s.want(t, "a:1", "b:2", "a:3")
	})
}

func TestPublishBatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("**")})
		for _, bad := range []hub.Message{{Topic: "a b"}, {Topic: "tidings.x"}, {Topic: "a", Data: "\xff"}} {
			p, err := h.PublishBatch(t.Context(), []hub.Message{{Topic: "a", Data: "never"}, bad, {Topic: "c"}})
			if batch, ok := errors.AsType[*hub.BatchError](err); !ok || batch.Index != 1 || p != nil {
				t.Errorf("%+v: %v, %v", bad, p, err)
			}
		}
		p, err := h.PublishBatch(t.Context(), []hub.Message{
			{Topic: "a", Data: "1", Key: "k"}, {Topic: "b", Data: "2"}, {Topic: "a", Data: "1", Key: "k"}, {Topic: "a", Data: "x", Key: "k"}, {Topic: "c", Data: "3"},
		})
		if err != nil || len(p) != 5 {
			t.Fatalf("%v, %v", p, err)
		}
		if p[0].Err != nil || p[1].Err != nil || p[2].ID != p[0].ID || !p[2].Repeat || !errors.Is(p[3].Err, eventlog.ErrKeyConflict) || p[4].Err != nil {
			t.Errorf("%+v", p)
		}
		s.want(t, "a:1", "b:2", "c:3")
		if p, err := h.PublishBatch(t.Context(), nil); len(p) != 0 || err != nil {
			t.Errorf("an empty batch: %v, %v", p, err)
		}
	})
}

// Draining: streams get what was published and end, and nothing new is taken.
func TestDrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, &hub.Options{Window: 100})
		idle := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		behind := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		var all []string
		for i := range 90 {
			all = append(all, fmt.Sprintf("a:%d", i))
			publish(t, h, all[i])
		}
		idle.want(t, all...)
		waiting := make(chan error)
		go func() {
			_, err, _ := idle.next()
			waiting <- err
		}()
		synctest.Wait()
		h.Drain()
		h.Drain()
		if err := <-waiting; !stopping(err) {
			t.Errorf("a stream that waits ends with %v", err)
		}
		idle.ended(t)
		behind.want(t, all...)
		if _, err, _ := behind.next(); !stopping(err) {
			t.Errorf("then comes %v", err)
		}
		behind.ended(t)
		if _, err := h.Publish(t.Context(), hub.Message{Topic: "a"}); !errors.Is(err, eventlog.ErrClosed) {
			t.Errorf("Publish: %v", err)
		}
		if _, err := h.PublishBatch(t.Context(), []hub.Message{{Topic: "a"}}); !errors.Is(err, eventlog.ErrClosed) {
			t.Errorf("PublishBatch: %v", err)
		}
		if _, err := h.Subscribe(t.Context(), hub.Subscription{Filters: topics.MustFilters("a")}); !errors.Is(err, hub.ErrUnavailable) {
			t.Errorf("Subscribe: %v", err)
		}
	})
}

// stopping reports whether an error says that a hub drains.
func stopping(err error) bool {
	end, ok := errors.AsType[*hub.EndError](err)
	return ok && *end == hub.EndError{Reason: hub.EndStopping}
}

// A sequence that its consumer does not take while the hub closes ends with the same error as
// others, and so does one that begins too late: neither looks like the end of the topic.
func TestSequencesThatCloseCuts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHub(t, nil, nil)
		cut := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		late := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		left := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		publish(t, h, "a:1", "a:2")
		cut.want(t, "a:1")
		left.want(t, "a:1")
		left.cancel()
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		cut.want(t, "a:2", "error: hub: the stream has ended: stopping")
		cut.ended(t)
		late.want(t, "error: hub: the stream has ended: stopping")
		late.ended(t)
		left.ended(t)
	})
}

// What is acknowledged before a hub drains comes before its streams end, even if
// the hub has not seen it when it begins to.
func TestDrainWaitsForWhatIsAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &heldLog{Log: eventlog.NewMemory(nil)}
		h := newHub(t, log, nil)
		s := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a")})
		log.hold()
		publish(t, h, "a:1", "a:2")
		h.Drain()
		time.AfterFunc(400*time.Millisecond, log.release)
		s.want(t, "a:1", "a:2")
		if ev, err, _ := s.next(); !stopping(err) {
			t.Errorf("then comes %v, %v", ev, err)
		}
	})
}

// A log that hangs does not hold up the end.
func TestDrainOfALogThatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := &hangingLog{Log: eventlog.NewMemory(nil), hangs: make(chan struct{})}
		h := newHub(t, log, nil)
		go h.Publish(t.Context(), hub.Message{Topic: "a"})
		synctest.Wait()
		start := time.Now()
		if err := h.Close(); err != nil || time.Since(start) > time.Second {
			t.Errorf("Close: %v after %v", err, time.Since(start))
		}
		close(log.hangs)
	})
}

// A hangingLog stores nothing until it no longer hangs.
type hangingLog struct {
	eventlog.Log
	hangs chan struct{}
}

func (l *hangingLog) Append(ctx context.Context, messages []hub.Message) []eventlog.Appended {
	<-l.hangs
	return l.Log.Append(ctx, messages)
}

// Close closes the log, and again does nothing.
func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := eventlog.NewMemory(nil)
		h := newHub(t, log, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if _, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("a")}); err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := log.State(t.Context()); !errors.Is(err, eventlog.ErrClosed) {
			t.Errorf("the log: %v", err)
		}
		if err := h.Close(); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}
