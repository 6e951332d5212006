package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/window"
	"example.com/tidings/topics"
)

// revokedTopic is the topic of the records that take permissions away. No subscriber gets them.
const revokedTopic = topics.ReservedPrefix + "revoked"

// hidden matches the hub's own records.
var hidden = topics.Reserved("revoked")

// MaxRevoked is how many subjects may be revoked at a time.
const MaxRevoked = 100_000

// ErrTooManyRevoked means that [MaxRevoked] subjects are revoked. Nothing was revoked.
var ErrTooManyRevoked = fmt.Errorf("hub: %d subjects are revoked, and no more can be", MaxRevoked)

// A revocation is the data of a record with revokedTopic.
type revocation struct {
	Subject string    `json:"subject"`
	Before  time.Time `json:"before,omitzero"` // zero: only streams end
	Until   time.Time `json:"until,omitzero"`  // when older credentials have ended by themselves
}

// Disconnect ends the streams of a subject, on all hubs of the log: on this one before it returns.
// It bans nobody: whoever has a credential comes back at once, see Revoke. The error is an
// [*InvalidError], or that of the log: then it may be that only the streams of this hub have ended.
func (h *Hub) Disconnect(ctx context.Context, subject string) error {
	return h.takeAway(ctx, revocation{Subject: subject})
}

// Revoke ends the streams of a subject whose credential was issued at before or earlier, or at a
// time that is unknown, and refuses such credentials until [Options.MaxCredentialAge] has passed.
// It does so on all hubs of the log: on this one before it returns. The log keeps it. The error is
// an [*InvalidError], [ErrTooManyRevoked], or that of the log: then this hub refuses the
// credentials, and goes on trying to store that.
func (h *Hub) Revoke(ctx context.Context, subject string, before time.Time) error {
	if before.IsZero() {
		return invalid("before", "is not a time")
	}
	return h.takeAway(ctx, revocation{subject, before.UTC(), time.Now().Add(h.opts.MaxCredentialAge).UTC()})
}

// Revoked reports whether a subject is revoked, for a credential that was issued at a time, or zero
// for a time that is unknown.
func (h *Hub) Revoked(subject string, issued time.Time) bool {
	return h.revoked.refuses(subject, issued)
}

func (h *Hub) takeAway(ctx context.Context, r revocation) error {
	switch {
	case r.Subject == "":
		return invalid("subject", "is empty")
	case !utf8.ValidString(r.Subject): // JSON would change it
		return invalid("subject", "is not UTF-8")
	}
	if _, err := json.Marshal(r); err != nil {
		return invalid("before", "is not a time that can be stored")
	}
	// This hub does it first: a log that is full or has failed keeps no stream open.
	if !h.revoked.add(r, time.Now()) {
		return ErrTooManyRevoked
	}
	h.streams.Revoke(r.Subject, r.Before.IsZero())
	id, err := h.storeRevoked(ctx, r)
	if err == nil {
		err = h.awaitOwn(ctx, id.Seq)
	}
	return cmp.Or(err, h.streams.Settle(ctx))
}

// awaitOwn waits until the hub has read a record of its own.
func (h *Hub) awaitOwn(ctx context.Context, seq uint64) error {
	open, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.window.Context(), cancel)()
	if h.window.Await(open, seq) {
		return nil
	}
	return cmp.Or(ctx.Err(), eventlog.ErrClosed)
}

// storeRevoked stores revocations, and returns the position of the last one.
func (h *Hub) storeRevoked(ctx context.Context, rs ...revocation) (id eventlog.Position, err error) {
	messages := make([]Message, len(rs))
	for i, r := range rs {
		data, err := json.Marshal(r)
		if err != nil {
			return id, fmt.Errorf("hub: %w", err)
		}
		messages[i] = Message{Topic: revokedTopic, Data: string(data)}
	}
	results, err := h.append(ctx, messages)
	if err != nil {
		return id, err
	}
	for _, a := range results {
		if a.Err != nil {
			return id, a.Err
		}
		id = a.ID
	}
	return id, nil
}

// parseRevocation returns what a record says, or false for a record that is none.
func parseRevocation(topic, data string) (r revocation, ok bool) {
	ok = topic == revokedTopic && json.Unmarshal([]byte(data), &r) == nil && r.Subject != ""
	return r, ok
}

// own is told of the records of the log that are the hub's own, in their order. It does not wait.
func (h *Hub) own(e *window.Entry) {
	if r, ok := parseRevocation(e.Topic, e.Data); ok {
		h.revoked.note(r, noted{seq: e.Seq, stored: e.Time, passed: h.streams.Passed()}, time.Now())
		h.streams.Revoke(r.Subject, r.Before.IsZero())
	}
}

// readRevoked reads what the log has of revocations.
func (h *Hub) readRevoked(ctx context.Context) error {
	state, err := h.log.State(ctx)
	if err != nil {
		return err
	}
	q := eventlog.Query{
		Filters: []topics.Filter{hidden}, After: state.First - 1, UpTo: state.Last, Generation: state.Generation,
		MaxRecords: 1024, MaxBytes: 1 << 20,
	}
	for q.After < q.UpTo {
		b, err := h.log.Read(ctx, q)
		if err != nil {
			return err
		}
		for i := range b.Records {
			rec := &b.Records[i]
			if r, ok := parseRevocation(rec.Topic, rec.Data); ok {
				h.noteRead(r, rec, state.Last)
			}
		}
		q.After = b.Through
	}
	return nil
}

// noteRead notes a revocation that was read from a log whose last record has the given number.
func (h *Hub) noteRead(r revocation, rec *eventlog.Record, last uint64) {
	const usual = 256 // bytes of a record
	at := noted{seq: rec.Seq, stored: rec.Time, passed: -(last - rec.Seq) * usual}
	if h.streams == nil { // New: no stream is there yet
		if !r.Before.IsZero() {
			h.revoked.note(r, at, time.Time{})
		}
		return
	}
	at.passed += h.streams.Passed()
	h.revoked.note(r, at, rec.Time)
	h.streams.Revoke(r.Subject, false) // one that began later goes on
}

// renewed reads the revocations again, when the log was opened anew or the window has passed over
// records. Those that the log has lost are stored again.
func (h *Hub) renewed() {
	if h.renewing.Swap(true) {
		return // it has not begun
	}
	go func() {
		h.keeping.Lock()
		defer h.keeping.Unlock()
		h.renewing.Store(false)
		h.revoked.unplace()
		const pause = 100 * time.Millisecond
		for {
			err := h.readRevoked(h.window.Context())
			if err == nil || errors.Is(err, eventlog.ErrClosed) {
				return
			}
			select {
			case <-h.window.Context().Done():
				return
			case <-time.After(pause):
			}
		}
	}()
}

// keepInterval is how often the hub looks whether retention comes near a revocation.
const keepInterval = time.Second

// keepRevoked stores revocations again before retention removes them, until the hub is closed.
// oldest is as for keepRevokedOnce.
func (h *Hub) keepRevoked(oldest eventlog.Record) {
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-h.window.Context().Done():
			return
		}
		if h.revoked.forget(time.Now()) == 0 {
			continue
		}
		h.keeping.Lock()
		h.keepRevokedOnce(&oldest)
		h.keeping.Unlock()
	}
}

// keepRevokedOnce stores the revocations again that retention comes near. oldest is the oldest
// record that the log retains, as far as that is known.
func (h *Hub) keepRevokedOnce(oldest *eventlog.Record) {
	ctx := h.window.Context()
	state, err := h.log.State(ctx)
	if err != nil {
		return // it is tried again
	}
	if oldest.Seq < state.First || oldest.Seq > state.Last {
		b, err := h.log.Read(ctx, eventlog.Query{
			Filters: topics.MustFilters("**"), After: state.First - 1, UpTo: state.Last, Generation: state.Generation,
			MaxRecords: 1, MaxBytes: 1,
		})
		if err != nil || len(b.Records) == 0 {
			*oldest = eventlog.Record{Time: time.Now()}
		} else {
			*oldest = b.Records[0]
		}
	}
	due := h.revoked.due(time.Now(), oldest.Time, state.First, h.streams.Passed())
	for some := range slices.Chunk(due, pacedFrom) {
		if _, err := h.storeRevoked(ctx, some...); err != nil {
			return
		}
	}
}
