package hub

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// revocations are the subjects that are revoked. Methods may be called concurrently.
type revocations struct {
	mu       sync.RWMutex
	subjects map[string]noted

	// disconnected says when the streams of a subject ended last, for a while: a stream that was
	// allowed before, and opens only now, ends too.
	disconnected map[string]time.Time
}

// noted is a revocation, with the place of its newest record.
type noted struct {
	revocation
	seq    uint64    // 0 if the log may not have it
	stored time.Time // by the log's clock
	passed uint64    // [dispatch.Dispatcher.Passed] when it was stored
}

// refuses reports whether a subject is refused with a credential.
func (rs *revocations) refuses(subject string, issued time.Time) bool {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	r, ok := rs.subjects[subject]
	return ok && !issued.After(r.Before) && time.Now().Before(r.Until)
}

// ends reports whether a stream may no longer be read that was allowed at a time.
func (rs *revocations) ends(subject string, issued, since time.Time) bool {
	if rs.refuses(subject, issued) {
		return true
	}
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	at, ok := rs.disconnected[subject]
	return ok && since.Before(at)
}

// add notes what the log does not have yet. It returns false if there is no room.
func (rs *revocations) add(r revocation, now time.Time) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if _, there := rs.subjects[r.Subject]; !r.Before.IsZero() && !there && len(rs.subjects) >= MaxRevoked {
		return false
	}
	rs.merge(r, noted{}, now)
	return true
}

// note notes what a record of the log says. If that only ends streams, it ends those that were
// allowed before a time.
func (rs *revocations) note(r revocation, at noted, before time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.merge(r, at, before)
}

func (rs *revocations) merge(r revocation, at noted, before time.Time) {
	if rs.subjects == nil {
		rs.subjects, rs.disconnected = map[string]noted{}, map[string]time.Time{}
	}
	if r.Before.IsZero() {
		if before.After(rs.disconnected[r.Subject]) {
			rs.disconnected[r.Subject] = before
		}
		return
	}
	// A later one may name an earlier time, and must not allow what the first forbids.
	was := rs.subjects[r.Subject]
	if was.Before.After(r.Before) {
		r.Before = was.Before
	}
	if was.Until.After(r.Until) {
		r.Until = was.Until
	}
	if at.seq > was.seq {
		was = at
	}
	was.revocation = r
	rs.subjects[r.Subject] = was
}

// unplace is called when it is unknown which records the log has.
func (rs *revocations) unplace() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for subject, r := range rs.subjects {
		r.seq = 0
		rs.subjects[subject] = r
	}
}

// openingTime is how long a stream may take to open after it was allowed.
const openingTime = 10 * time.Minute

// forget forgets what is over, and returns how many are revoked.
func (rs *revocations) forget(now time.Time) int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for subject, r := range rs.subjects {
		if now.After(r.Until) {
			delete(rs.subjects, subject)
		}
	}
	for subject, at := range rs.disconnected {
		if now.Sub(at) > openingTime {
			delete(rs.disconnected, subject)
		}
	}
	return len(rs.subjects)
}

// A revocation is stored again when this many bytes have come after its record, or more if there
// are many: so that they take up to an eighth of the log.
const (
	keepBytes       = 1 << 20
	revocationBytes = 256
)

// due returns the revocations that are to be stored again, the oldest first: those that the log no
// longer has, and those whose record lies in the older half of the time that the log reaches back,
// or has many bytes after it. Nobody needs to know how the log retains: by time or by size.
func (rs *revocations) due(now, oldest time.Time, first, passed uint64) []revocation {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	mostBytes := int64(max(keepBytes, 8*revocationBytes*len(rs.subjects)))
	var old []noted
	for _, r := range rs.subjects {
		age := now.Sub(r.stored)
		if r.seq < first || age >= keepInterval && age > now.Sub(oldest)/2 || int64(passed-r.passed) > mostBytes {
			old = append(old, r)
		}
	}
	slices.SortFunc(old, func(a, b noted) int { return cmp.Compare(a.seq, b.seq) })
	all := make([]revocation, len(old))
	for i, r := range old {
		all[i] = r.revocation
	}
	return all
}
