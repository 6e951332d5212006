package segmentlog

import (
	"sort"

	"example.com/tidings/eventlog"
)

// recentBytes bounds the records that are kept in memory for Tail.
const recentBytes = 4 << 20

// recent holds the newest groups of records, so that Tail need not read what was just
// written. Its user holds a lock.
type recent struct {
	groups []recentGroup
	bytes  int
}

type recentGroup struct {
	records []eventlog.Record // never changed in place, may be empty
	first   uint64            // the first number of the group
	last    uint64
	bytes   int
}

// add adds a group.
func (r *recent) add(records []eventlog.Record) {
	g := recentGroup{records: records, first: records[0].Seq, last: records[len(records)-1].Seq}
	for i := range records {
		g.bytes += headerBytes + len(records[i].Topic) + len(records[i].Type) + len(records[i].Data)
	}
	r.groups = append(r.groups, g)
	r.bytes += g.bytes
	drop := 0
	for r.bytes > recentBytes && drop < len(r.groups)-1 {
		r.bytes -= r.groups[drop].bytes
		r.groups[drop].records = nil
		drop++
	}
	r.groups = r.groups[drop:]
}

// after returns the records of the first group that reaches beyond a number, those after it,
// and how far they reach. ok is false if the records are no longer in memory.
func (r *recent) after(seq uint64) (records []eventlog.Record, through uint64, ok bool) {
	i := sort.Search(len(r.groups), func(i int) bool { return r.groups[i].last > seq })
	if i == len(r.groups) || r.groups[i].first > seq+1 {
		return nil, 0, false
	}
	g := r.groups[i]
	skip := sort.Search(len(g.records), func(i int) bool { return g.records[i].Seq > seq })
	return g.records[skip:], g.last, true
}

// remove takes records out.
func (r *recent) remove(seqs map[uint64]bool) {
	for i := range r.groups {
		g := &r.groups[i]
		kept := make([]eventlog.Record, 0, len(g.records))
		for _, rec := range g.records {
			if !seqs[rec.Seq] {
				kept = append(kept, rec)
			}
		}
		g.records = kept
	}
}
