package natslog

import (
	"errors"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// markHeader has the mark of a record that Tidings has stored.
const markHeader = "Tidings-Mark"

// maxForeign is how much data a record of another program may have. A NATS server takes no
// larger message, whatever its settings.
const maxForeign = 64 << 20

// revokedTopic is the one topic of the hub's own records.
var revokedTopic = topics.Reserved("revoked").String()

// record returns the record of a stored message. Any program may have stored it: what cannot be
// an event of Tidings is returned as an invalid record.
func (l *Log) record(seq uint64, t time.Time, subject string, header nats.Header, data []byte) eventlog.Record {
	r := eventlog.Record{Seq: seq, Time: t.UTC(), Topic: l.names.topic(subject)}
	var own bool
	if r.Mark, own = eventlog.ParseMark(header.Get(markHeader)); !own {
		r.Mark = markOf(r.Time)
	}
	typ := decodeType(header.Get(typeHeader))
	if why := invalid(r.Topic, typ, len(data)); why != "" {
		r.Invalid = true
		l.foreign.warn(l, seq, r.Topic, why)
		return r
	}
	r.Type, r.Data = typ, string(data)
	if !own && !utf8.ValidString(r.Data) {
		r.Data = string([]rune(r.Data)) // with U+FFFD for each byte that is invalid
	}
	return r
}

// invalid returns why a stored message cannot be sent as an event, or "".
func invalid(topic, typ string, size int) string {
	err := topics.Check(topic)
	switch {
	case errors.Is(err, topics.ErrReserved) && topic != revokedTopic:
		return "its topic is reserved"
	case err != nil && topic != revokedTopic:
		return "its subject is not a topic"
	case len(typ) > eventlog.MaxTypeBytes:
		return "its type is too long"
	case !utf8.ValidString(typ):
		return "its type is not UTF-8"
	case strings.ContainsAny(typ, "\r\n\x00"):
		return "its type has a line end or a NUL"
	case strings.HasPrefix(typ, topics.ReservedPrefix):
		return "its type is reserved"
	case size > maxForeign:
		return "it is too large"
	}
	return ""
}

// markOf returns the mark of a record that has none: a hash of its time, which no two records
// with one number have in common.
func markOf(t time.Time) uint32 {
	n := uint64(t.UnixNano()) * 0x9e3779b97f4a7c15 // Fibonacci hashing
	return max(1, uint32(n>>34)&eventlog.MaxMark)
}

// foreign logs invalid records, at most once a minute. Methods may be called concurrently.
type foreign struct {
	mu      sync.Mutex
	last    time.Time
	highest uint64 // of the records that were counted
	more    int    // since the last warning
}

const foreignInterval = time.Minute

func (f *foreign) warn(l *Log, seq uint64, topic, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq <= f.highest {
		return // it was read again
	}
	f.highest = seq
	if time.Since(f.last) < foreignInterval {
		f.more++
		return
	}
	l.opts.Logger.Warn("another program has stored a message that is no event of Tidings; streams get a gap instead",
		"number", seq, "subject", l.names.subject(topic), "why", why, "more", f.more)
	f.last, f.more = time.Now(), 0
}
