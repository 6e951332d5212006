package eventlog

import (
	"crypto/rand"
	"crypto/sha256"
	"slices"
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

	// Cut says that the log had lost its end when it began the epoch, and uses the lost
	// sequence numbers again, from First on. A reader that goes on from the last record before
	// First has missed what was lost. See [Timeline.NextCut].
	Cut bool
}

// The form of an epoch's id: the time in seconds, and random digits.
const (
	epochDigits     = "0123456789abcdefghjkmnpqrstvwxyz"
	epochTimeLen    = 7
	epochRandomLen  = 5
	epochLen        = epochTimeLen + epochRandomLen
	markLen         = 6
	epochBegin      = 1735689600 // 2025-01-01, in Unix time
	epochTimeMax    = 1<<(5*epochTimeLen) - 1
	positionMaxLen  = epochLen + markLen + 1 + 20
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

// NextEpochID is NewEpochID for the epoch that follows last. Its id is greater, even if the clock
// has gone back.
func NextEpochID(last string, t time.Time) string {
	return NewEpochID(time.Unix(after(last, max(epochBegin, t.Unix())), 0))
}

// DerivedEpochID returns an id for the epoch that follows last, which is greater. Whoever calls it
// with the same arguments gets the same id: processes that share a log find the same name for what
// all of them see.
func DerivedEpochID(last, reason string) string {
	id := []byte(NewEpochID(time.Unix(after(last, epochBegin), 0)))
	hash := sha256.Sum256([]byte(last + " " + reason))
	for i := range epochRandomLen {
		id[epochTimeLen+i] = epochDigits[hash[i]&31]
	}
	return string(id)
}

// after returns the first time, in Unix seconds and from begin on, with which an epoch's id is
// greater than last.
func after(last string, begin int64) int64 {
	for end := begin + epochTimeMax; begin < end; {
		middle := begin + (end-begin)/2
		if NewEpochID(time.Unix(middle, 0))[:epochTimeLen] > last[:epochTimeLen] {
			end = middle
		} else {
			begin = middle + 1
		}
	}
	return begin
}

// Knows reports whether a timeline has an epoch.
func (t Timeline) Knows(epoch string) bool {
	return slices.ContainsFunc(t, func(e Epoch) bool { return e.ID == epoch })
}

// IsNewer reports whether an epoch is newer than all of a timeline. Another process may have begun it.
func (t Timeline) IsNewer(epoch string) bool { return epoch > t[len(t)-1].ID }

// A Position is a place in a log: just after the record with the number Seq, which the
// epoch has assigned. Its text is the id of an event, and what a client sends back as
// Last-Event-ID. The zero Position is none.
type Position struct {
	Epoch string
	Seq   uint64

	// Mark is that of the record, see [Record.Mark], or 0. With it, the position proves itself:
	// it is valid if the record with the number Seq has this mark.
	Mark uint32
}

// MaxMark is the greatest mark of a record.
const MaxMark = 1<<(5*markLen) - 1

// String returns the position as the id of an event.
func (p Position) String() string {
	b, _ := p.AppendText(make([]byte, 0, positionMaxLen))
	return string(b)
}

// AppendText implements [encoding.TextAppender]. It never fails.
func (p Position) AppendText(b []byte) ([]byte, error) {
	b = append(b, p.Epoch...)
	if p.Mark != 0 {
		b = AppendMark(b, p.Mark)
	}
	b = append(b, '-')
	return strconv.AppendUint(b, p.Seq, 10), nil
}

// AppendMark appends the text of a mark: 6 digits to the base of 32.
func AppendMark(b []byte, mark uint32) []byte {
	for i := markLen - 1; i >= 0; i-- {
		b = append(b, epochDigits[mark>>(5*i)&31])
	}
	return b
}

// ParseMark parses what [AppendMark] appends, if that is not of the mark 0.
func ParseMark(s string) (mark uint32, ok bool) {
	if len(s) != markLen {
		return 0, false
	}
	for _, digit := range []byte(s) {
		n := strings.IndexByte(epochDigits, digit)
		if n < 0 {
			return 0, false
		}
		mark = mark<<5 | uint32(n)
	}
	return mark, mark != 0
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
	var mark uint32
	if ok && len(epoch) == epochLen+markLen {
		mark, ok = ParseMark(epoch[epochLen:])
		epoch = epoch[:epochLen]
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || len(epoch) != epochLen || strings.Trim(epoch, epochDigits) != "" ||
		digits[0] == '+' || digits[0] == '0' && digits != "0" {
		return Position{}, &PositionError{s}
	}
	return Position{epoch, seq, mark}, nil
}

// A Timeline names sequence numbers by epochs, oldest first. It has at least one.
type Timeline []Epoch

// Position returns the position after the record with a sequence number, without its mark. A
// client that has it has not been told of a cut right after that record.
func (t Timeline) Position(seq uint64) Position {
	for i := len(t) - 1; i > 0; i-- {
		if t[i].First <= seq {
			return Position{Epoch: t[i].ID, Seq: seq}
		}
	}
	return Position{Epoch: t[0].ID, Seq: seq}
}

// ID returns the position after a record, as the id of its event.
func (t Timeline) ID(r Record) Position {
	p := t.Position(r.Seq)
	p.Mark = r.Mark
	return p
}

// NextCut returns the first place, from the one after the record with a sequence number on, where
// the log has lost records whose numbers it has used again: the records up to number at stayed,
// and the epoch named those after it. [Position]{epoch, at} is the position of a client that
// knows of the loss. ok is false if there is no such place.
func (t Timeline) NextCut(seq uint64) (at uint64, epoch string, ok bool) {
	for _, e := range slices.Backward(t) { // a later cut hides those after it
		if !e.Cut || ok && e.First-1 >= at {
			continue
		}
		if e.First <= seq {
			break
		}
		at, epoch, ok = e.First-1, e.ID, true
	}
	return at, epoch, ok
}

// LastCut returns the last place of those that NextCut finds.
func (t Timeline) LastCut() (at uint64, ok bool) {
	for _, e := range slices.Backward(t) {
		if e.Cut {
			return e.First - 1, true
		}
	}
	return 0, false
}

// Resolve returns the sequence number after which a client goes on that has received
// everything up to p. If the client misses something, reason says why: [sse.GapLost] or
// [sse.GapUnknown]. It does not know the mark of the record.
func (t Timeline) Resolve(p Position) (after uint64, reason string) {
	for i, e := range t {
		if e.ID != p.Epoch {
			continue
		}
		after = p.Seq
		if least := e.First; i > 0 && after < least && !(e.Cut && after == least-1) {
			after, reason = least-1, sse.GapUnknown // nobody was given that id
		}
		for _, later := range t[i+1:] {
			if after >= later.First { // the rest of what the epoch assigned did not survive
				after, reason = later.First-1, sse.GapLost
			}
		}
		return after, reason
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
