package hub_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// unclosed is a log that stays open.
type unclosed struct{ eventlog.Log }

func (unclosed) Close() error { return nil }

// knownLater reports whether a hub that starts now refuses a subject.
func knownLater(t *testing.T, log eventlog.Log, subject string) bool {
	t.Helper()
	h, err := hub.New(t.Context(), unclosed{log}, &hub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	return h.Revoked(subject, time.Time{})
}

// Retention by size does not take a revocation away.
func TestRevocationOutlivesRetention(t *testing.T) {
	log := eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: 20 << 8})
	h := newHub(t, log, nil)
	revoke(t, h, "jwt:ada")
	for range 5 {
		publish(t, h, numbered("a", "", 10)...)
		eventually(t, "the record is stored again", func() bool { return knownLater(t, log, "jwt:ada") })
	}
}

// The record of a revocation is stored again before retention reaches it: a hub that starts at any
// time knows it, however unevenly messages come. It is not stored all the time.
func TestRevocationsAreStoredInTime(t *testing.T) {
	const megabyte = 1 << 20
	for name, tt := range map[string]struct {
		log     eventlog.MemoryOptions
		seconds int
		publish func(second int) (messages, bytes int)
		most    uint64 // records of it at a time
	}{
		"by age, quiet":      {eventlog.MemoryOptions{MaxAge: 10 * time.Minute}, 1500, func(int) (int, int) { return 0, 0 }, 20},
		"by age, at the end": {eventlog.MemoryOptions{MaxAge: 10 * time.Minute}, 1500, func(s int) (int, int) { return 10 * (s / 1300), 1 }, 20},
		"by age, at first":   {eventlog.MemoryOptions{MaxAge: 10 * time.Minute}, 1500, func(s int) (int, int) { return max(0, 100-s), 1 }, 20},
		"by size":            {eventlog.MemoryOptions{MaxBytes: 8 * megabyte}, 1000, func(s int) (int, int) { return s % 2, megabyte / 2 }, 20},
		"by size, a burst": {eventlog.MemoryOptions{MaxBytes: 8 * megabyte}, 1000, func(s int) (int, int) {
			if s < 500 {
				return 5, 1
			}
			return s % 7, megabyte / 3
		}, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				log := eventlog.NewMemory(&tt.log)
				h := newHub(t, log, nil)
				publish(t, h, "a:first")
				revoke(t, h, "jwt:ada")
				for s := range tt.seconds {
					n, bytes := tt.publish(s)
					for range n {
						publish(t, h, "a:"+strings.Repeat("x", bytes))
					}
					infos, err := log.Topics(t.Context(), topics.Reserved("revoked"), "", 1)
					if err != nil || len(infos) == 0 || infos[0].Count > tt.most {
						t.Fatalf("after %d seconds: %+v, %v", s, infos, err)
					}
					time.Sleep(time.Second)
				}
				if !knownLater(t, log, "jwt:ada") {
					t.Error("a hub that starts now does not know it")
				}
			})
		})
	}
}

// A hub that starts after a long time has stored again what is revoked when New returns: retention
// may take the old record at once.
func TestRevocationsAreStoredAtTheStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := eventlog.NewMemory(nil)
		first, err := hub.New(t.Context(), unclosed{log}, nil)
		if err != nil {
			t.Fatal(err)
		}
		revoke(t, first, "jwt:ada")
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Hour)
		newHub(t, log, nil)
		infos, err := log.Topics(t.Context(), topics.Reserved("revoked"), "", 1)
		if err != nil || len(infos) == 0 || infos[0].Count != 2 {
			t.Errorf("%+v, %v", infos, err)
		}
	})
}

// A second revocation, of a server whose credentials live less long, does not shorten the first.
func TestRevocationIsNotShortened(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := eventlog.NewMemory(nil)
		h := newHub(t, log, &hub.Options{MaxCredentialAge: 24 * time.Hour})
		other := newHub(t, log, &hub.Options{MaxCredentialAge: time.Minute})
		for _, h := range []*hub.Hub{h, other, h, other} {
			revoke(t, h, "jwt:ada")
		}
		time.Sleep(time.Hour)
		if !h.Revoked("jwt:ada", time.Time{}) || !other.Revoked("jwt:ada", time.Time{}) {
			t.Error("it is over")
		}
		time.Sleep(24 * time.Hour)
		if h.Revoked("jwt:ada", time.Time{}) || other.Revoked("jwt:ada", time.Time{}) {
			t.Error("it is not over when all older credentials have ended")
		}
	})
}

// A fullLog refuses to store as long as full is set.
type fullLog struct {
	eventlog.Log
	full atomic.Pointer[error]
}

func (l *fullLog) Append(ctx context.Context, messages []eventlog.Message) []eventlog.Appended {
	if err := l.full.Load(); err != nil {
		all := make([]eventlog.Appended, len(messages))
		for i := range all {
			all[i].Err = *err
		}
		return all
	}
	return l.Log.Append(ctx, messages)
}

// A log that cannot store a revocation does not keep this hub from obeying it. It is stored later.
func TestRevokeWithoutTheLog(t *testing.T) {
	log := &fullLog{Log: eventlog.NewMemory(nil)}
	h := newHub(t, log, nil)
	ada := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), Subject: "jwt:ada", NoEnd: true})
	publish(t, h, "a:1")
	ada.want(t, "a:1")
	log.full.Store(&eventlog.ErrFull)
	if err := h.Revoke(t.Context(), "jwt:ada", time.Now()); !errors.Is(err, eventlog.ErrFull) {
		t.Errorf("%v", err)
	}
	ada.want(t, "error: "+(&hub.EndError{Reason: hub.EndRevoked}).Error())
	if !h.Revoked("jwt:ada", time.Time{}) {
		t.Error("the hub does not refuse it")
	}
	eve := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), From: hub.FromStart(), Subject: "jwt:eve", NoEnd: true})
	eve.want(t, "a:1")
	if err := h.Disconnect(t.Context(), "jwt:eve"); !errors.Is(err, eventlog.ErrFull) {
		t.Errorf("%v", err)
	}
	eve.want(t, "error: "+(&hub.EndError{Reason: hub.EndRevoked}).Error())
	log.full.Store(nil)
	eventually(t, "it is stored", func() bool { return knownLater(t, log.Log, "jwt:ada") })
}

// A hub that reads its log anew stores what the log has lost, and ends no streams that came after a
// disconnect.
func TestRevocationsWhenTheLogIsOpenedAnew(t *testing.T) {
	bubble(t, testRevocationsWhenTheLogIsOpenedAnew)
}

func testRevocationsWhenTheLogIsOpenedAnew(t *testing.T) {
	log := eventlog.NewMemory(nil)
	h := newHub(t, log, nil)
	publish(t, h, "a:0")
	time.Sleep(10 * time.Hour) // so that retention is far
	revoke(t, h, "jwt:ada")
	if err := h.Disconnect(t.Context(), "jwt:eve"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	eve := subscribe(t, h, hub.Subscription{Filters: topics.MustFilters("a"), Subject: "jwt:eve", NoEnd: true})
	publish(t, h, "a:1")
	eve.want(t, "a:1")
	if err := h.ReadRevoked(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, h, "a:2")
	eve.want(t, "a:2")
	if _, err := log.RemoveTopic(t.Context(), "tidings.revoked", math64); err != nil {
		t.Fatal(err)
	}
	if knownLater(t, log, "jwt:ada") {
		t.Fatal("the log has not lost it")
	}
	if err := h.ReadRevoked(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	if !knownLater(t, log, "jwt:ada") {
		t.Error("it is not stored again")
	}
	publish(t, h, "a:3")
	eve.want(t, "a:3")
}

const math64 = 1 << 62

// A stream that was allowed before its subject was disconnected does not begin after that.
func TestDisconnectOfLateStreams(t *testing.T) {
	h := newHub(t, nil, nil)
	sub := hub.Subscription{Filters: topics.MustFilters("a"), Subject: "key:shop", NoEnd: true}
	allowed := time.Now()
	admitted := subscribe(t, h, sub)
	if err := h.Disconnect(t.Context(), "key:shop"); err != nil {
		t.Fatal(err)
	}
	publish(t, h, "a:1")
	ended := "error: " + (&hub.EndError{Reason: hub.EndRevoked}).Error()
	admitted.want(t, ended)
	late := sub
	late.Authorized = allowed
	subscribe(t, h, late).want(t, ended)
	sub.From = hub.FromStart()
	subscribe(t, h, sub).want(t, "a:1")
}

// A subject is any text in UTF-8. Whatever others write into the log does no harm.
func TestRevokedSubjects(t *testing.T) {
	log := eventlog.NewMemory(nil)
	strangers := []string{"", "null", "{}", "[]", "{", `{"subject":5}`, `{"subject":"jwt:x"}{}`, `{"subject":"","before":"2026-01-01T00:00:00Z"}`,
		`{"subject":"jwt:x","before":"yesterday"}`, `{"subject":"jwt:x","before":"2026-01-01T00:00:00Z"}`, `{"subject":"jwt:x","until":"2126-01-01T00:00:00Z"}`, "\x00"}
	tell := func() {
		for _, data := range strangers {
			log.Append(t.Context(), []eventlog.Message{{Topic: "tidings.revoked", Data: data}, {Topic: "tidings.other", Data: data}, {Topic: "tidings.revoked", Type: "x", Data: data}})
		}
	}
	tell()
	h, other := newHub(t, log, nil), newHub(t, log, nil)
	tell()
	odd := []string{"jwt:<a>&\u2028", `jwt:"\`, "jwt:\x00", "jwt: ", "jwt:ä", "key:-", "x", strings.Repeat("y", 5000)}
	for _, subject := range odd {
		revoke(t, h, subject)
	}
	publish(t, h, "a:1")
	for _, subject := range odd {
		eventually(t, fmt.Sprintf("the other hub knows %.20q", subject), func() bool { return other.Revoked(subject, time.Time{}) })
	}
	if h.Revoked("jwt:x", time.Time{}) || h.Revoked("", time.Time{}) {
		t.Error("a stranger revokes")
	}
	for _, subject := range []string{"", "jwt:\xff"} {
		if err := h.Disconnect(t.Context(), subject); !isInvalid(err) {
			t.Errorf("%q: %v", subject, err)
		}
		if err := h.Revoke(t.Context(), subject, time.Now()); !isInvalid(err) {
			t.Errorf("%q: %v", subject, err)
		}
	}
	for _, before := range []time.Time{{}, time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if err := h.Revoke(t.Context(), "jwt:bob", before); !isInvalid(err) || h.Revoked("jwt:bob", time.Time{}) {
			t.Errorf("%v: %v", before, err)
		}
	}
}

func isInvalid(err error) bool {
	_, ok := errors.AsType[*hub.InvalidError](err)
	return ok
}

// The number of subjects that are revoked has a bound. Nothing is forgotten to keep to it.
func TestTooManyRevoked(t *testing.T) {
	log := eventlog.NewMemory(nil)
	messages := make([]eventlog.Message, hub.MaxRevoked)
	at := time.Now().UTC().Truncate(time.Second)
	for i := range messages {
		messages[i] = eventlog.Message{Topic: "tidings.revoked", Data: fmt.Sprintf(`{"subject":"jwt:%d","before":"%s","until":"%s"}`,
			i, at.Format(time.RFC3339), at.Add(time.Hour).Format(time.RFC3339))}
	}
	log.Append(t.Context(), messages)
	h := newHub(t, log, nil)
	if err := h.Revoke(t.Context(), "jwt:ada", at); !errors.Is(err, hub.ErrTooManyRevoked) || h.Revoked("jwt:ada", at) {
		t.Errorf("%v", err)
	}
	revoke(t, h, "jwt:7")
	if err := h.Disconnect(t.Context(), "jwt:ada"); err != nil {
		t.Error(err)
	}
	if !h.Revoked("jwt:0", at) || !h.Revoked("jwt:99999", at) {
		t.Error("some are forgotten")
	}
}

// A deafLog never tells of new records.
type deafLog struct{ eventlog.Log }

func (l deafLog) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(func([]eventlog.Record, error) bool) { <-ctx.Done() }
}

// A hub that is closed lets nobody wait for its log.
func TestDisconnectWhileClosing(t *testing.T) {
	h := newHub(t, deafLog{eventlog.NewMemory(nil)}, nil)
	done := make(chan error, 1)
	go func() { done <- h.Disconnect(context.Background(), "jwt:ada") }()
	eventually(t, "it is stored", func() bool {
		n, _, err := h.CountOf(t.Context(), topics.Reserved("revoked"))
		return err == nil && n == 1
	})
	h.Close()
	if err := <-done; !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("%v", err)
	}
}
