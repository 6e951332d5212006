package natslog

import (
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"example.com/tidings/eventlog"
)

// SawRecord has a log believe that it has seen a record.
func (l *Log) SawRecord(seq uint64, mark uint32) {
	l.now.Load().known.add(identity{seq: seq, mark: mark})
	l.suspect()
}

// SawRecordAt is SawRecord for a record that was stored at a time.
func (l *Log) SawRecordAt(seq uint64, t time.Time) {
	l.now.Load().known.add(identity{seq: seq, time: t.UnixNano()})
	l.suspect()
}

// Misremember has a log believe that it has seen another record of a number.
func (l *Log) Misremember(seq uint64) {
	k := l.now.Load().known
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ids[seq%knownRecords].mark++
}

// SawNumber has a log believe that the stream has reached a number.
func (l *Log) SawNumber(seq uint64) { l.now.Load().advance(seq) }

// Abandon ends a log as a process does that is killed.
func (l *Log) Abandon() {
	l.session.Load().lose()
	l.Close()
}

// Look has a log look at its stream at once.
func (l *Log) Look() { l.suspect() }

// CloseConnection ends the connection for good, as the client does that gives up.
func (l *Log) CloseConnection() { l.link.Load().nc.Close() }

// ParseList parses a list of epochs, and returns it as it is written.
func ParseList(value []byte, base string) (epochs eventlog.Timeline, points int, written func() ([]byte, error)) {
	s := parseList(value, base)
	return s.timeline(), len(s.Points), s.bytes
}

// Points returns the numbers of the points that are left of those that were added one by one.
func Points(seqs []uint64) (left []uint64) {
	var s list
	for _, seq := range seqs {
		s.mark(point{Seq: seq, Time: time.Unix(int64(seq), 0)})
	}
	for _, p := range s.Points {
		left = append(left, p.Seq)
	}
	return left
}

// Cuts returns the epochs of a list after its end was lost at the given places.
func Cuts(base string, at []uint64) eventlog.Timeline {
	s := parseList(nil, base)
	for _, at := range at {
		s.cut(at)
	}
	return s.timeline()
}

// ForeignRecord returns the record of a message that another program has stored.
func ForeignRecord(subject, typ, mark string, data []byte) eventlog.Record {
	l := &Log{opts: Options{Logger: slog.New(slog.DiscardHandler)}, names: naming{DefaultStream + "."}}
	header := nats.Header{}
	header.Set(typeHeader, typ)
	header.Set(markHeader, mark)
	return l.record(1, time.Unix(1, 0), subject, header, data)
}
