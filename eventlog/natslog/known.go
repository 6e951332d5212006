package natslog

import (
	"slices"
	"sync"
	"time"

	"example.com/tidings/eventlog"
)

// knownRecords is how many of the newest records a log remembers the identity of. It takes 24
// bytes for each.
const knownRecords = 1 << 16

// An identity tells a record from any other that has had its number.
type identity struct {
	seq  uint64
	time int64  // in Unix nanoseconds, or 0 if the log has only sent the record
	mark uint32 // or 0 if that is not known
}

func identityOf(r eventlog.Record) identity { return identity{r.Seq, r.Time.UnixNano(), r.Mark} }

// is reports whether a record of the same number is the one with the identity.
func (id identity) is(r eventlog.Record) bool {
	return (id.time == 0 || id.time == r.Time.UnixNano()) && (id.mark == 0 || id.mark == r.Mark)
}

// known has the identities of the newest records that a log has seen. Methods may be called
// concurrently.
type known struct {
	mu      sync.Mutex
	ids     []identity // each at its number modulo the length
	highest uint64
}

func newKnown() *known { return &known{ids: make([]identity, knownRecords)} }

// add remembers a record. It returns false if it knows another one with the number: then the
// stream has lost its end, and it keeps what it knows.
func (k *known) add(id identity) (agrees bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := &k.ids[id.seq%knownRecords]
	switch {
	case old.seq > id.seq:
		return true
	case old.seq < id.seq:
		*old = id
		k.highest = max(k.highest, id.seq)
		return true
	}
	if old.time != 0 && id.time != 0 && old.time != id.time || old.mark != 0 && id.mark != 0 && old.mark != id.mark {
		return false
	}
	if old.time == 0 {
		old.time = id.time
	}
	if old.mark == 0 {
		old.mark = id.mark
	}
	return true
}

// addAll remembers records, up to the first that does not agree. It returns what it knows of that one.
func (k *known) addAll(records []eventlog.Record) (other *identity) {
	for _, r := range records {
		if !k.add(identityOf(r)) {
			id := k.at(r.Seq)
			return &id
		}
	}
	return nil
}

// agrees reports whether nothing else is known of records.
func (k *known) agrees(records []eventlog.Record) bool {
	return !slices.ContainsFunc(records, func(r eventlog.Record) bool {
		id := k.at(r.Seq)
		return id.seq == r.Seq && !id.is(r)
	})
}

// at returns what is known at the place of a number.
func (k *known) at(seq uint64) identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ids[seq%knownRecords]
}

// has reports whether all is known of a record, and agrees.
func (k *known) has(r eventlog.Record) bool { return k.at(r.Seq) == identityOf(r) }

// newest returns the identity of the newest record, if any is known.
func (k *known) newest() (identity, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := k.ids[k.highest%knownRecords]
	return id, id.seq == k.highest && id.seq > 0
}

// newestTimed returns the identity of the newest record whose time is known, if there is one.
func (k *known) newestTimed() (identity, bool) {
	for _, id := range slices.Backward(k.sorted()) {
		if id.time != 0 {
			return id, true
		}
	}
	return identity{}, false
}

// sorted returns all identities, in the order of their numbers.
func (k *known) sorted() []identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	ids := make([]identity, 0, min(k.highest, knownRecords))
	for _, id := range k.ids {
		if id.seq > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b identity) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	return ids
}

// until returns what is known of the records up to a number. Records after that are others now.
func (k *known) until(seq uint64) *known {
	next := newKnown()
	for _, id := range k.sorted() {
		if id.seq <= seq {
			next.add(id)
		}
	}
	return next
}

// point returns an identity as a point of the list of epochs.
func (id identity) point() point { return point{id.seq, time.Unix(0, id.time).UTC()} }
