package eventlog

import (
	"crypto/rand"
	"strconv"
	"strings"
	"time"

	"example.com/tidings/internal/quote"
	"example.com/tidings/sse"
)

// An Epoch is a range of a log's sequence numbers. A log that may have lost its end, by a
// loss of power or a restored backup, begins a new epoch, because it uses sequence numbers
// again: the epoch tells the first use of a number from the second. A log that never loses
// anything has one epoch.
type Epoch struct {
	ID    string // from [NewEpochID]
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

// NewEpochID returns a unique id for an epoch that is opened at t. Ids of later times
// compare as greater strings. A log opens a new epoch whenever it may lack messages that
// it once acknowledged. Its t is after that of all earlier epochs.
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

// A Position is a place in a log: just after the record with the number Seq, which the
// epoch has assigned. Its text is the id of an event, and what a client sends back as
// Last-Event-ID. The zero Position is none.
type Position struct {
	Epoch string
	Seq   uint64
}

// String returns the position as the id of an event.
func (p Position) String() string {
	b, _ := p.AppendText(make([]byte, 0, positionMaxLen))
	return string(b)
}

// AppendText implements [encoding.TextAppender]. It never fails.
func (p Position) AppendText(b []byte) ([]byte, error) {
	b = append(b, p.Epoch...)
	b = append(b, '-')
	return strconv.AppendUint(b, p.Seq, 10), nil
}

// MarshalText implements [encoding.TextMarshaler].
func (p Position) MarshalText() ([]byte, error) {
	return p.AppendText(make([]byte, 0, positionMaxLen))
}

// UnmarshalText implements [encoding.TextUnmarshaler], as [ParsePosition].
func (p *Position) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePosition(string(text))
	return err
}

// A PositionError refuses a text that is not the id of an event. Its Error can be shown to
// the client that sent it.
type PositionError struct{ Text string }

func (e *PositionError) Error() string {
	return quote.Short(e.Text) + " is not an event's id, such as " + positionExample
}

// ParsePosition parses the id of an event. It accepts exactly what [Position.String]
// returns. The error is a [*PositionError].
func ParsePosition(s string) (Position, error) {
	epoch, digits, ok := strings.Cut(s, "-")
	seq, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || len(epoch) != epochLen || strings.Trim(epoch, epochDigits) != "" ||
		digits[0] == '+' || digits[0] == '0' && digits != "0" {
		return Position{}, &PositionError{s}
	}
	return Position{epoch, seq}, nil
}

// A Timeline names sequence numbers by epochs, oldest first. It has at least one.
type Timeline []Epoch

// Position returns the position after the record with a sequence number.
func (t Timeline) Position(seq uint64) Position {
	for i := len(t) - 1; i > 0; i-- {
		if t[i].First <= seq {
			return Position{t[i].ID, seq}
		}
	}
	return Position{t[0].ID, seq}
}

// Resolve returns the sequence number after which a client goes on that has received
// everything up to p. If the client misses something, reason says why: [sse.GapLost] or
// [sse.GapUnknown].
func (t Timeline) Resolve(p Position) (after uint64, reason string) {
	for i, e := range t {
		switch {
		case e.ID != p.Epoch:
			continue
		case i+1 < len(t) && p.Seq >= t[i+1].First:
			return t[i+1].First - 1, sse.GapLost // the rest of what the epoch assigned did not survive
		case i > 0 && p.Seq < e.First:
			return e.First - 1, sse.GapUnknown // nobody was given that id
		}
		return p.Seq, ""
	}
	// The epoch is that of another log, or this log was restored from a backup and does
	// not know it. The client cannot have anything that was stored after the epoch began.
	// This process has opened the newest epoch, which is after all unknown ones.
	for _, e := range t[:len(t)-1] {
		if e.ID > p.Epoch {
			return e.First - 1, sse.GapUnknown
		}
	}
	return t[len(t)-1].First - 1, sse.GapUnknown
}
