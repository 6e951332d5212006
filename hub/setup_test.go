package hub_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// newHub returns a hub on a log, closed with the test. Nil is a log in memory.
func newHub(t *testing.T, log eventlog.Log, opts *hub.Options) *hub.Hub {
	t.Helper()
	if log == nil {
		log = eventlog.NewMemory(nil)
	}
	o := hub.Options{}
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := hub.New(t.Context(), log, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// publish publishes "topic:data" messages, and returns their ids.
func publish(t *testing.T, h *hub.Hub, messages ...string) []string {
	t.Helper()
	var ids []string
	for _, m := range messages {
		topic, data, _ := strings.Cut(m, ":")
		p, err := h.Publish(context.Background(), hub.Message{Topic: topic, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, p.ID.String())
	}
	return ids
}

// position parses an id.
func position(t *testing.T, id string) eventlog.Position {
	t.Helper()
	p, err := eventlog.ParsePosition(id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// numbered returns n messages "topic:prefix0", "topic:prefix1", …
func numbered(topic, prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s:%s%d", topic, prefix, i)
	}
	return all
}

// A subscriber takes a subscription's sequence one at a time.
type subscriber struct {
	next   func() (hub.Event, error, bool)
	cancel context.CancelFunc
	stop   func()
}

func subscribe(t *testing.T, h *hub.Hub, sub hub.Subscription) *subscriber {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, err := h.Subscribe(ctx, sub)
	if err != nil {
		t.Fatal(err)
	}
	next, stop := iter.Pull2(events)
	s := &subscriber{next, cancel, func() { cancel(); stop() }}
	t.Cleanup(s.stop)
	return s
}

// String returns an event as "topic:data", and a gap as "gap reason missed".
func text(ev hub.Event, err error) string {
	if gap, ok := errors.AsType[*sse.GapError](err); ok {
		return fmt.Sprintf("gap %s %d", gap.Reason, gap.Missed)
	}
	if err != nil {
		return "error: " + err.Error()
	}
	return ev.Topic + ":" + ev.Data
}

// want takes as many items as are wanted, and compares.
func (s *subscriber) want(t *testing.T, want ...string) {
	t.Helper()
	for i, w := range want {
		ev, err, ok := s.next()
		if got := text(ev, err); !ok || got != w {
			t.Fatalf("item %d is %q (%v), want %q", i, got, ok, w)
		}
	}
}

// ended asserts that nothing more comes.
func (s *subscriber) ended(t *testing.T) {
	t.Helper()
	if ev, err, ok := s.next(); ok {
		t.Errorf("after the end comes %q", text(ev, err))
	}
}

// bubble runs a test in a bubble of time.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
