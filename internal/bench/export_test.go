package bench

import (
	"context"
	"net/http"
	"time"
)

// Names for the tests.

const MarkerSize = markerSize

type (
	Histogram = histogram
	Ledger    = ledger
	Marker    = marker
	Reply     = reply
	Scanner   = scanner
	Flow      = flow
)

var (
	NewData     = newData
	ParseMarker = parseMarker
	NewFlow     = newFlow
	Grouped     = grouped
	Figure      = figure
	SourceOf    = sourceOf
	OneLine     = oneLine
	Pause       = pause
)

func (h *histogram) Add(d time.Duration)              { h.add(d) }
func (h *histogram) Merge(o *histogram)               { h.merge(o) }
func (h *histogram) Quantile(q float64) time.Duration { return h.quantile(q) }
func (h *histogram) Quantiles() Quantiles             { return h.quantiles() }

func NewMarker(run, topic, seq uint32, at int64) Marker { return marker{run, topic, seq, at} }
func (m marker) Put(data []byte)                        { m.put(data) }

// WithSeq returns the marker with another sequence number.
func (m marker) WithSeq(seq uint32) Marker { m.seq = seq; return m }

// Receive returns the name of the verdict.
func (l *ledger) Receive(seq uint64) (string, uint64) {
	v, skipped := l.receive(seq)
	return map[verdict]string{inOrder: "in order", ahead: "ahead", outOfOrder: "out of order", repeated: "repeated"}[v], skipped
}
func (l *ledger) Got() uint64         { return l.got }
func (l *ledger) Has(seq uint64) bool { return l.has(seq) }
func (l *ledger) Holes() int          { return len(l.holes) }

const MaxHoles = maxHoles

func (r *reply) Next(b []byte) (body []byte, n int, err error) { return r.next(b) }
func (r *reply) Response() *http.Response                      { return r.response }
func (r *reply) End() error                                    { return r.end() }

// InTrailer reports whether all data of a chunked body has arrived.
func (r *reply) InTrailer() bool { return r.state >= inTrailer && r.state <= inTrailerEnd }

func NewScanner(limit int) *Scanner                          { return &scanner{limit: limit} }
func (s *scanner) Next(b []byte) (n int, ok bool, err error) { return s.next(b) }
func (s *scanner) Event() (typ, data string)                 { return string(s.typ), string(s.data) }

func (f *flow) Join(topic uint32) bool          { return f.join(topic) }
func (f *flow) Leave(topic uint32, next uint64) { f.leave(topic, next) }
func (f *flow) Publish(publisher int, m uint64) { f.publish(publisher, m) }
func (f *flow) Settle(m uint64)                 { f.settle(m) }
func (f *flow) May(m uint64) bool               { return f.may(m) }
func (f *flow) Owed() int64                     { return f.owed() }
func (f *flow) IsPublished(m uint64) bool       { return f.isPublished(m) }
func (f *flow) Wait(ctx context.Context, publisher int, m uint64) error {
	return f.wait(ctx, publisher, m)
}
