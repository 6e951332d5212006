package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/window"
	"example.com/tidings/topics"
)

// revokedTopic is the topic of the records that take permissions away. No subscriber gets them.
const revokedTopic = topics.ReservedPrefix + "revoked"

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
// It bans nobody: whoever has a credential comes back at once, see Revoke. An error is that of the
// log.
func (h *Hub) Disconnect(ctx context.Context, subject string) error {
	return h.takeAway(ctx, revocation{Subject: subject})
}

// Revoke ends the streams of a subject whose credential was issued at before or earlier, or at a
// time that is unknown, and refuses such credentials until [Options.MaxCredentialAge] has passed.
// It does so on all hubs of the log: on this one before it returns. The log keeps it. The error is
// [ErrTooManyRevoked], or that of the log.
func (h *Hub) Revoke(ctx context.Context, subject string, before time.Time) error {
	if !h.revoked.hasRoom(subject) {
		return ErrTooManyRevoked
	}
	return h.takeAway(ctx, revocation{subject, before.UTC(), time.Now().Add(h.opts.MaxCredentialAge).UTC()})
}

// Revoked reports whether a subject is revoked, for a credential that was issued at a time, or zero
// for a time that is unknown.
func (h *Hub) Revoked(subject string, issued time.Time) bool {
	return h.revoked.refuses(subject, issued)
}

func (h *Hub) takeAway(ctx context.Context, r revocation) error {
	if r.Subject == "" {
		return invalid("subject", "is empty")
	}
	id, err := h.record(ctx, r)
	if err != nil {
		return err
	}
	if !h.window.Await(ctx, id.Seq) {
		return ctx.Err()
	}
	return h.streams.Settle(ctx)
}

// record stores a revocation.
func (h *Hub) record(ctx context.Context, r revocation) (eventlog.Position, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return eventlog.Position{}, fmt.Errorf("hub: %w", err)
	}
	results, err := h.append(ctx, []Message{{Topic: revokedTopic, Data: string(data)}})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return eventlog.Position{}, err
	}
	return results[0].ID, nil
}

// own is told of the records of the log that are the hub's own, in their order. It does not wait.
func (h *Hub) own(e *window.Entry) {
	if r, ok := h.revoked.note(e.Topic, e.Data, e.Seq); ok {
		h.streams.Revoke(r.Subject, r.Before)
	}
}

// readRevoked reads what the log has of revocations.
func (h *Hub) readRevoked(ctx context.Context) error {
	state, err := h.log.State(ctx)
	if err != nil {
		return err
	}
	q := eventlog.Query{
		Filters: []topics.Filter{topics.Reserved("revoked")}, After: state.First - 1, UpTo: state.Last, Generation: state.Generation,
		MaxRecords: 1024, MaxBytes: 1 << 20,
	}
	for q.After < q.UpTo {
		b, err := h.log.Read(ctx, q)
		if err != nil {
			return err
		}
		for i := range b.Records {
			if r, ok := h.revoked.note(b.Records[i].Topic, b.Records[i].Data, b.Records[i].Seq); ok && h.streams != nil {
				h.streams.Revoke(r.Subject, r.Before)
			}
		}
		q.After = b.Through
	}
	return nil
}

// renewed reads the revocations again, when the log was opened anew or the window has passed over
// records.
func (h *Hub) renewed() {
	go func() {
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

// keepRevoked writes revocations again before retention removes them, until the hub is closed.
func (h *Hub) keepRevoked() {
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
		state, err := h.log.State(h.window.Context())
		if err != nil || state.First == 1 {
			continue // nothing has been removed
		}
		for _, r := range h.revoked.before(state.First + (state.Last-state.First)/4) {
			if _, err := h.record(h.window.Context(), r); err != nil {
				break // it is tried again
			}
		}
	}
}

// revocations are the subjects that are revoked. Methods may be called concurrently.
type revocations struct {
	mu       sync.RWMutex
	subjects map[string]noted
}

// noted is a revocation, with the number of its record.
type noted struct {
	revocation
	seq uint64
}

// refuses reports whether a subject is refused with a credential.
func (rs *revocations) refuses(subject string, issued time.Time) bool {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	r, ok := rs.subjects[subject]
	return ok && !issued.After(r.Before) && time.Now().Before(r.Until)
}

// note notes what a record of the log says. ok is false for another record.
func (rs *revocations) note(topic, data string, seq uint64) (r revocation, ok bool) {
	if topic != revokedTopic || json.NewDecoder(strings.NewReader(data)).Decode(&r) != nil || r.Subject == "" {
		return r, false
	}
	if r.Before.IsZero() {
		return r, true
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.subjects == nil {
		rs.subjects = map[string]noted{}
	}
	// A later one may name an earlier time, and must not allow what the first forbids.
	was := rs.subjects[r.Subject]
	if was.Before.After(r.Before) {
		r.Before = was.Before
	}
	if was.Until.After(r.Until) {
		r.Until = was.Until
	}
	rs.subjects[r.Subject] = noted{r, max(was.seq, seq)}
	return r, true
}

func (rs *revocations) hasRoom(subject string) bool {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	_, there := rs.subjects[subject]
	return there || len(rs.subjects) < MaxRevoked
}

// forget forgets what is over, and returns how many are left.
func (rs *revocations) forget(now time.Time) int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for subject, r := range rs.subjects {
		if now.After(r.Until) {
			delete(rs.subjects, subject)
		}
	}
	return len(rs.subjects)
}

// before returns the revocations whose record has a smaller number, the oldest first.
func (rs *revocations) before(seq uint64) []revocation {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	var old []noted
	for _, r := range rs.subjects {
		if r.seq < seq {
			old = append(old, r)
		}
	}
	slices.SortFunc(old, func(a, b noted) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	all := make([]revocation, len(old))
	for i, r := range old {
		all[i] = r.revocation
	}
	return all
}
