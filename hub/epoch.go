package hub

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"
)

// An Epoch is a stretch of a log's sequence numbers that were assigned by one
// opening of it. A log that may have lost its end, by a loss of power or a
// restored backup, uses sequence numbers again; the epoch tells the first use
// from the second.
type Epoch struct {
	ID    string // of NewEpochID
	First uint64 // the first sequence number that it may assign
}

// The form of an epoch's id: the time in seconds, and random digits.
const (
	epochDigits     = "0123456789abcdefghjkmnpqrstvwxyz"
	epochTimeLen    = 7
	epochRandomLen  = 5
	epochLen        = epochTimeLen + epochRandomLen
	epochBegin      = 1735689600 // 2025-01-01, in Unix time
	epochTimeMax    = 1<<(5*epochTimeLen) - 1
	positionMaxLen  = epochLen + 1 + 20
	positionExample = "0w3k7zq4m8tc-42"
)

// NewEpochID returns the id of an epoch that is opened at t, unlike any other.
// Those of later times compare as greater strings. A log opens a new epoch
// whenever it may not hold all that it once acknowledged, with a t after those of
// its epochs before.
func NewEpochID(t time.Time) string {
	seconds := uint64(min(max(0, t.Unix()-epochBegin), epochTimeMax))
	var random [epochRandomLen]byte
	rand.Read(random[:])
	b := make([]byte, 0, epochLen)
	for i := epochTimeLen - 1; i >= 0; i-- {
		b = append(b, epochDigits[seconds>>(5*i)&31])
	}
	for _, r := range random {
		b = append(b, epochDigits[r&31])
	}
	return string(b)
}

// validEpoch reports whether s has the form of an epoch's id.
func validEpoch(s string) bool {
	return len(s) == epochLen && strings.Trim(s, epochDigits) == ""
}

// A Position is a place in a log: just after the record with the sequence number
// Seq, as an epoch counts it. Its text is the id of an event, and what a client
// sends back as Last-Event-ID.
type Position struct {
	Epoch string
	Seq   uint64
}

// String returns the position as an event's id.
func (p Position) String() string {
	b := make([]byte, 0, positionMaxLen)
	b = append(b, p.Epoch...)
	b = append(b, '-')
	return string(strconv.AppendUint(b, p.Seq, 10))
}

// ParsePosition parses an event's id, strictly: what it accepts is what
// [Position.String] returns.
func ParsePosition(s string) (Position, error) {
	epoch, digits, ok := strings.Cut(s, "-")
	if !ok || !validEpoch(epoch) || digits == "" || digits[0] == '0' && digits != "0" || digits[0] == '+' {
		return Position{}, invalid("id", "%s is not an event's id, such as %s", quote(s), positionExample)
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return Position{}, invalid("id", "%s is not an event's id, such as %s", quote(s), positionExample)
	}
	return Position{epoch, seq}, nil
}

// A timeline names sequence numbers by epochs.
type timeline []Epoch

// position returns the position after the record with a sequence number. It is
// named after the epoch that assigned the number.
func (t timeline) position(seq uint64) Position {
	for i := len(t) - 1; i > 0; i-- {
		if t[i].First <= seq {
			return Position{t[i].ID, seq}
		}
	}
	return Position{t[0].ID, seq}
}

// resolve returns the sequence number after which a client goes on that was
// handed everything up to p, and why it misses something if it does.
func (t timeline) resolve(p Position) (after uint64, reason string) {
	for i, e := range t {
		switch {
		case e.ID != p.Epoch:
			continue
		case i+1 < len(t) && p.Seq >= t[i+1].First:
			return t[i+1].First - 1, GapLost // of what the epoch assigned, the rest did not survive
		case i > 0 && p.Seq < e.First:
			return e.First - 1, GapUnknown // nobody was given that id
		}
		return p.Seq, ""
	}
	// Another log's, or one of which this log knows nothing, as it was restored
	// from a backup: what was stored later the client cannot have. The newest
	// epoch has been opened by ourselves, after all that we do not know of.
	for _, e := range t[:len(t)-1] {
		if e.ID > p.Epoch {
			return e.First - 1, GapUnknown
		}
	}
	return t[len(t)-1].First - 1, GapUnknown
}
