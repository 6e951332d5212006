package dispatch

import (
	"context"
	"slices"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// hides reports whether filters match records of the hub's own, which no stream gets. A log counts
// them.
func (d *Dispatcher) hides(filters []topics.Filter) bool {
	return topics.MatchAny(filters, d.opts.Hidden.String())
}

// count returns what [eventlog.Log.Count] does, without the hub's own records.
func (d *Dispatcher) count(ctx context.Context, filters []topics.Filter, after uint64) (n, through uint64, err error) {
	for {
		n, through, err = d.log.Count(ctx, filters, after)
		if err != nil || !d.hides(filters) {
			return n, through, err
		}
		own, upTo, err := d.log.Count(ctx, []topics.Filter{d.opts.Hidden}, after)
		if err != nil || upTo == through {
			return n - min(own, n), through, err
		} // otherwise the log has gone on between the two
	}
}

// Back returns what [eventlog.Log.Back] does, without the hub's own records. It looks for how many
// records the log has to count so that n are left.
func (d *Dispatcher) Back(ctx context.Context, filters []topics.Filter, n int, upTo uint64) (after uint64, err error) {
	if !d.hides(filters) {
		return d.log.Back(ctx, filters, n, upTo)
	}
	own := hiddenRecords{log: d.log, filters: []topics.Filter{d.opts.Hidden}, from: upTo}
	enough, least := 0, n // how many are enough, or 0 as long as that is unknown
	for want := n; ; {
		at, err := d.log.Back(ctx, filters, want, upTo)
		if err != nil {
			return 0, err
		}
		hidden, err := own.after(ctx, at)
		switch {
		case err != nil:
			return 0, err
		case at == 0 || want-hidden >= n:
			enough, after = want, at
		default:
			least = want + 1
		}
		switch {
		case enough == 0:
			want = n + 2*hidden
		case least >= enough:
			return after, nil
		default:
			want = (least + enough) / 2
		}
	}
}

// hiddenRecords are those records of the hub's own that have been looked at.
type hiddenRecords struct {
	log     eventlog.Log
	filters []topics.Filter
	from    uint64   // they have all after it
	seqs    []uint64 // ascending
}

// after returns how many there are after a number.
func (h *hiddenRecords) after(ctx context.Context, after uint64) (int, error) {
	var found []uint64
	for q := (eventlog.Query{Filters: h.filters, After: after, UpTo: h.from, MaxRecords: 1024, MaxBytes: 1 << 20}); q.After < q.UpTo; {
		b, err := h.log.Read(ctx, q)
		if err != nil {
			return 0, err
		}
		for i := range b.Records {
			found = append(found, b.Records[i].Seq)
		}
		q.After = b.Through
	}
	h.seqs, h.from = append(found, h.seqs...), min(h.from, after)
	i, _ := slices.BinarySearch(h.seqs, after+1)
	return len(h.seqs) - i, nil
}
