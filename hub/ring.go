package hub

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"

	"example.com/tidings/internal/delivery"
)

// A ring holds consecutive records, the newest ones of a log. It is a value that
// never changes: push and drop return another, and share what both hold. So
// readers take one, without a lock, and have all the time they like.
type ring struct {
	first uint64 // sequence number of records[0]
	// records has room behind its end that belongs to whoever pushes next: of
	// the values that share it only the newest is pushed to.
	records []*entry
	bytes   int // of records
	dropped int // bytes that records' array still refers to, before its begin
}

// An entry is a record with what is made of it once, for all who want it.
type entry struct {
	Record
	id string // as an event's, in a hub

	// A record that no stream can be sent is invalid. Then before is the position
	// before it.
	invalid bool
	before  string

	once     sync.Once
	envelope string

	frames [delivery.Forms]atomic.Pointer[[]byte] // the event as a chunk of HTTP/1.1, by Format
}

// entryOverhead is what an entry takes beside its strings.
const entryOverhead = 224

func (e *entry) size() int {
	n := len(e.Topic) + len(e.Type) + len(e.Data) + len(e.id) + entryOverhead
	if e.id != "" {
		n += len(e.Data) // of a frame
	}
	return n
}

// entry returns a record with its id.
func (t timeline) entry(rec Record) *entry {
	e := &entry{Record: rec, id: t.position(rec.Seq).String()}
	if strings.ContainsAny(rec.Type, "\r\n") { // see sse.Event.AppendText
		e.invalid, e.before = true, t.position(rec.Seq-1).String()
	}
	return e
}

// event returns the message as subscribers get it.
func (e *entry) event() Event {
	return Event{e.id, e.Topic, e.eventType(), e.Data, e.Time}
}

func (e *entry) eventType() string {
	if e.Type == "" {
		return "message"
	}
	return e.Type
}

// json returns the event as JSON.
func (e *entry) json() string {
	e.once.Do(func() { e.envelope = toJSON(e.event()) })
	return e.envelope
}

// toJSON returns v, which is made of strings, numbers and times, as JSON.
func toJSON(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// last returns the sequence number of the last record, first-1 if there is none.
func (r ring) last() uint64 { return r.first + uint64(len(r.records)) - 1 }

// from returns the records with the given sequence number and greater ones.
func (r ring) from(seq uint64) []*entry {
	switch {
	case seq <= r.first:
		return r.records
	case seq > r.last():
		return nil
	}
	return r.records[seq-r.first:]
}

// push adds a record, whose sequence number is that after the last.
func (r ring) push(rec *entry) ring {
	r.records = append(r.records, rec)
	r.bytes += rec.size()
	return r
}

// drop removes the oldest n records.
func (r ring) drop(n int) ring {
	for _, rec := range r.records[:n] {
		r.bytes -= rec.size()
		r.dropped += rec.size()
	}
	r.records = r.records[n:]
	r.first += uint64(n)
	// The array would keep what was dropped alive until it is full.
	if r.dropped > r.bytes/4+64<<10 {
		r.records = append(make([]*entry, 0, len(r.records)+len(r.records)/4+16), r.records...)
		r.dropped = 0
	}
	return r
}

// excess returns how many of the oldest records are beyond the bounds. The
// newest record never is.
func (r ring) excess(maxRecords, maxBytes int) int {
	n, bytes := 0, r.bytes
	for len(r.records)-n > 1 && (len(r.records)-n > maxRecords || bytes > maxBytes) {
		bytes -= r.records[n].size()
		n++
	}
	return n
}

// A view is what the hub shows its subscribers at one moment: the window of the
// newest records, and the names of positions.
type view struct {
	ring
	timeline timeline
	// A view that is made anew, from the log, begins an era.
	eras []era
}

// An era begins with how far the log then went.
type era struct {
	last uint64
	lost bool // the log has lost its end before, and it is not known where
}

// era returns the number of the view's era.
func (v *view) era() int { return len(v.eras) }

// A viewer holds the current view.
type viewer struct{ p atomic.Pointer[view] }

func (v *viewer) load() *view     { return v.p.Load() }
func (v *viewer) store(next view) { v.p.Store(&next) }
