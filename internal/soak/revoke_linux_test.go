package soak_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/eventlog/segmentlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/natstest"
	"example.com/tidings/topics"
)

// Whatever the log is, a hub that opens it later knows who is revoked, and subscribers of
// everything get and count only messages.
func TestRevocationsInEachLog(t *testing.T) {
	for name, open := range eachLog(t, 0) {
		t.Run(name, func(t *testing.T) {
			h := hubOn(t, open)
			for i := range 20 {
				if err := h.Revoke(t.Context(), fmt.Sprint("jwt:", i), time.Now()); err != nil {
					t.Fatal(err)
				}
				if _, err := h.Publish(t.Context(), hub.Message{Topic: "a", Data: fmt.Sprint(i)}); err != nil {
					t.Fatal(err)
				}
			}
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			h = hubOn(t, open)
			for i := range 20 {
				if !h.Revoked(fmt.Sprint("jwt:", i), time.Time{}) {
					t.Errorf("%d is not revoked any more", i)
				}
			}
			for from, n := range map[hub.From]int{hub.FromCount(5): 5, hub.FromCount(20): 20, hub.FromCount(1000): 20, hub.FromStart(): 20, hub.FromLast(): 1} {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				events, err := h.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("**"), From: from})
				if err != nil {
					t.Fatal(err)
				}
				got := 0
				for ev, err := range events {
					if got++; err != nil || ev.Topic != "a" {
						t.Errorf("%+v, %v", ev, err)
					}
					if ev.Data == "19" {
						cancel()
					}
				}
				cancel()
				if got != n {
					t.Errorf("from %+v: %d messages, want %d", from, got, n)
				}
			}
			if list, err := h.Topics(t.Context(), topics.MustFilters("**")[0], "", 10); err != nil || len(list) != 1 {
				t.Errorf("%+v, %v", list, err)
			}
			if page, err := h.History(t.Context(), topics.MustFilters("**"), eventlog.Position{}, 100); err != nil || len(page.Events) != 20 {
				t.Errorf("%d events, %v", len(page.Events), err)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A revocation counts although no server ran for longer than the log retains messages. It is
// stored again before the old record goes.
func TestRevocationOutlivesALongStop(t *testing.T) {
	t.Parallel()
	const retained = 3 * time.Second
	dir := t.TempDir()
	open := func() (eventlog.Log, error) {
		return segmentlog.Open(t.Context(), &segmentlog.Options{Dir: dir, MaxAge: retained, Logger: slog.New(slog.DiscardHandler)})
	}
	h := hubOn(t, open)
	if err := h.Revoke(t.Context(), "jwt:ada", time.Now()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(retained + time.Second/10)
		if h = hubOn(t, open); !h.Revoked("jwt:ada", time.Time{}) {
			t.Fatal("it is forgotten")
		}
	}
}

// A log that has as many topics as it takes still stores who is revoked.
func TestRevokeInALogThatIsFullOfTopics(t *testing.T) {
	for name, open := range eachLog(t, 1) {
		t.Run(name, func(t *testing.T) {
			h := hubOn(t, open)
			if _, err := h.Publish(t.Context(), hub.Message{Topic: "a"}); err != nil {
				t.Fatal(err)
			}
			if err := h.Revoke(t.Context(), "jwt:ada", time.Now()); err != nil {
				t.Error(err)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			if h = hubOn(t, open); !h.Revoked("jwt:ada", time.Time{}) {
				t.Error("it is forgotten")
			}
		})
	}
}

// eachLog returns functions that open a log again and again. 0 topics stand for the default.
func eachLog(t *testing.T, topics int) map[string]func() (eventlog.Log, error) {
	memory := eventlog.NewMemory(&eventlog.MemoryOptions{MaxTopics: topics})
	t.Cleanup(func() { memory.Close() })
	dir, server := t.TempDir(), natstest.Start(t)
	return map[string]func() (eventlog.Log, error){
		"memory": func() (eventlog.Log, error) { return keptLog{memory}, nil },
		"segmentlog": func() (eventlog.Log, error) {
			return segmentlog.Open(t.Context(), &segmentlog.Options{Dir: dir, MaxTopics: topics, Logger: slog.New(slog.DiscardHandler)})
		},
		"natslog": func() (eventlog.Log, error) {
			return natslog.Connect(t.Context(), &natslog.Options{URL: server.URL, MaxTopics: topics, Logger: slog.New(slog.DiscardHandler)})
		},
	}
}

func hubOn(t *testing.T, open func() (eventlog.Log, error)) *hub.Hub {
	t.Helper()
	log, err := open()
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.New(t.Context(), log, &hub.Options{Window: 16, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// What is taken away on one node counts on the others within a second. A busy machine takes longer.
func TestRevokeOnAnotherNode(t *testing.T) {
	server := natstest.Start(t)
	open := func() (eventlog.Log, error) {
		return natslog.Connect(t.Context(), &natslog.Options{URL: server.URL, Logger: slog.New(slog.DiscardHandler)})
	}
	here, there := hubOn(t, open), hubOn(t, open)
	for name, take := range map[string]func() error{
		"jwt:ada": func() error { return here.Disconnect(t.Context(), "jwt:ada") },
		"jwt:eve": func() error { return here.Revoke(t.Context(), "jwt:eve", time.Now()) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		events, err := there.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("a"), Subject: name, NoEnd: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := here.Publish(t.Context(), hub.Message{Topic: "a", Data: name}); err != nil {
			t.Fatal(err)
		}
		var ended error
		var at time.Time
		for _, err := range events {
			if err != nil {
				ended = err
				break
			}
			if at = time.Now(); take() != nil {
				t.Fatal(name)
			}
		}
		if end, ok := errors.AsType[*hub.EndError](ended); !ok || end.Reason != hub.EndRevoked || time.Since(at) > 5*time.Second {
			t.Errorf("%s: after %v, %v", name, time.Since(at), ended)
		}
	}
	eventually(t, "the other node refuses the credential", func() bool { return there.Revoked("jwt:eve", time.Time{}) })
	if there.Revoked("jwt:ada", time.Time{}) {
		t.Error("who is disconnected is banned")
	}
}
