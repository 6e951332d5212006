//go:build unix

package segmentlog

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A followed is what a subscriber gets after a number.
type followed struct {
	pattern string
	after   uint64
	records map[uint64]eventlog.Record
	told    map[uint64]string // missing numbers, and why
}

// follow reads the log as a subscriber does that has everything up to a number.
func (s *story) follow(l *Log, pattern string, after uint64) followed {
	f := followed{pattern, after, map[uint64]eventlog.Record{}, map[uint64]string{}}
	q := eventlog.Query{Filters: topics.MustFilters(pattern), After: after, UpTo: l.lastSeq(), MaxRecords: 1 + s.rnd.IntN(300), MaxBytes: 1 << 20}
	for q.After < q.UpTo {
		b, err := l.Read(s.t.Context(), q)
		if err != nil {
			s.t.Fatalf("Read after %d: %v", q.After, err)
		}
		for seq := q.After + 1; seq <= b.Hole; seq++ {
			f.told[seq] = b.Reason
		}
		for _, r := range b.Records {
			f.records[r.Seq] = r
		}
		q.After = b.Through
	}
	return f
}

// check checks a log that was just opened.
func (s *story) check(l *Log) {
	known := s.facts
	c := s.checkRecords(l)
	if err := l.retention.expire(); err != nil { // as it does each second
		s.t.Errorf("start %d: %v", s.start, err)
	}
	s.checkKeys(l, known, c)
	if s.t.Failed() {
		s.t.Logf("start %d, sync %v, first %d, last %d, lost %v, epochs %v", s.start, s.opts.Sync, c.first, c.last, c.lost, l.epochs)
	}
	s.power = false
}

// checkRecords checks what is in a log, and returns it. Nothing expires meanwhile: a loss of
// power may bring records back that had expired, which is seen a second after the start.
func (s *story) checkRecords(l *Log) contents {
	l.retention.mu.Lock()
	defer l.retention.mu.Unlock()
	erased := 0
	for _, f := range s.facts {
		name, _, _ := strings.Cut(f.m.Data, ">")
		if f.removed && f.id.Seq >= l.first.Load() && erased < 10 {
			if erased++; s.machine.holds(name + ">") {
				s.t.Errorf("start %d: %v was removed, and its bytes are there", s.start, f.id)
			}
		}
	}
	st, _ := l.State(s.t.Context())
	found := s.holes(l, st)
	if s.rnd.IntN(2) == 0 {
		l.indexed(s.t)
	}
	// Before a reader of all topics finds what is missing.
	var subscribers []followed
	for _, pattern := range []string{"t.1", "t.*", "rare", "u.*"} {
		after := st.First - 1
		for range 2 {
			subscribers = append(subscribers, s.follow(l, pattern, after))
			after += s.rnd.Uint64N(st.Last - st.First + 2)
		}
	}
	c := read(s.t, l)
	lost, removed := map[uint64]bool{}, map[uint64]bool{}
	for _, seq := range numbers(c.lost) {
		lost[seq] = true
	}
	for _, seq := range numbers(c.removed) {
		removed[seq] = true
	}
	for _, f := range s.facts {
		s.checkFact(l, f, c, lost, removed)
	}
	for _, r := range c.records {
		s.seen(l, r, true) // a start brings everything to the disk
	}
	given := map[uint64][]string{} // the topics of the messages that a number was given to
	for _, f := range s.facts {
		given[f.id.Seq] = append(given[f.id.Seq], f.m.Topic)
	}
	for _, f := range s.facts {
		if seq := f.id.Seq; lost[seq] && !found[seq] && !f.removing { // one that was being erased may be torn
			s.t.Errorf("start %d: %d is lost, which the start has not found out; lost is %v", s.start, seq, c.lost)
		}
	}
	for _, f := range subscribers {
		s.checkFollowed(f, c, lost, given)
	}
	l.indexed(s.t)
	s.checkIndex(l, c)
	return c
}

// holes returns the numbers that are missing, as far as the log knows before anybody reads.
func (s *story) holes(l *Log, st eventlog.State) map[uint64]bool {
	found := map[uint64]bool{}
	for after := st.First - 1; after < st.Last; {
		intact, err := l.intactUpTo(after, st.Last)
		if err != nil {
			s.t.Fatal(err)
		}
		h := l.holeAfter(intact, st.Last)
		for _, seq := range numbers([]span{h}) {
			found[seq] = true
		}
		after = h.last
	}
	return found
}

// checkFact checks what became of a message, and that everybody is told.
func (s *story) checkFact(l *Log, f *fact, c contents, lost, removed map[uint64]bool) {
	after, reason := l.epochs.Resolve(f.id)
	r, there := c.records[f.id.Seq]
	gone := s.power && !f.safe
	wrong := ""
	switch {
	case reason == sse.GapUnknown:
		wrong = "its epoch is unknown"
	case reason != "": // the number may be that of another message
		switch {
		case !f.lost && !gone && !f.removing: // the newest one may be torn, as below
			wrong = "its id is stale"
		case after+1 >= c.first && !lost[after+1]:
			wrong = "its id is stale, and a client that has an earlier one is not told"
		}
		f.lost = true
	case f.id.Seq < c.first:
	case there:
		switch {
		case r.Data != f.m.Data || r.Topic != f.m.Topic || r.Type != f.m.Type:
			wrong = "it is another message now"
		case f.removed:
			wrong = "it was removed, and is there"
		case f.lost:
			wrong = "it was told as lost, and is there"
		}
		f.removing = false // no other start erases it
	case removed[f.id.Seq]:
		if !f.removing {
			wrong = "nobody has removed it"
		}
	case lost[f.id.Seq]:
		if !f.lost && !gone && !f.removing {
			wrong = "it is lost"
		}
		f.lost = true
	default:
		wrong = "it is gone in silence"
	}
	if wrong != "" {
		s.t.Errorf("start %d: %v, %.30q, acknowledged: %v, on the disk: %v, being removed: %v, power: %v: %s", s.start, f.id, f.m.Data, f.acked, f.safe, f.removing, s.power, wrong)
	}
}

// checkFollowed checks what a subscriber has got.
func (s *story) checkFollowed(f followed, c contents, lost map[uint64]bool, given map[uint64][]string) {
	filters := topics.MustFilters(f.pattern)
	for seq, r := range c.records {
		if seq > f.after && topics.MatchAny(filters, r.Topic) && f.records[seq] != r {
			s.t.Errorf("start %d: a subscriber of %s after %d does not get %d", s.start, f.pattern, f.after, seq)
		}
	}
	for seq, r := range f.records {
		if c.records[seq] != r {
			s.t.Errorf("start %d: a subscriber of %s gets %d, which is not there", s.start, f.pattern, seq)
		}
	}
	for seq := range lost {
		// Others may be told of it, or not.
		match := func(topic string) bool { return topics.MatchAny(filters, topic) }
		if seq > f.after && slices.ContainsFunc(given[seq], match) && f.told[seq] == "" {
			s.t.Errorf("start %d: a subscriber of %s after %d does not learn that %d is lost; lost is %v", s.start, f.pattern, f.after, seq, c.lost)
		}
	}
}

// checkIndex checks that the index answers as the records say.
func (s *story) checkIndex(l *Log, c contents) {
	want := map[string]*eventlog.TopicInfo{}
	seqs := slices.Sorted(maps.Keys(c.records))
	for _, seq := range seqs {
		r := c.records[seq]
		if want[r.Topic] == nil {
			want[r.Topic] = &eventlog.TopicInfo{Topic: r.Topic}
		}
		info := want[r.Topic]
		info.Count, info.Last, info.Time = info.Count+1, l.epochs.Position(seq), r.Time
	}
	var all []eventlog.TopicInfo
	var newest []uint64
	for _, name := range slices.Sorted(maps.Keys(want)) {
		all = append(all, *want[name])
		newest = append(newest, want[name].Last.Seq)
	}
	slices.Sort(newest)
	if got, err := l.Topics(s.t.Context(), filterOf("**"), "", 1000); err != nil || !slices.Equal(got, all) {
		s.t.Errorf("start %d: the topics are %v, %v; want %v", s.start, got, err, all)
	}
	for _, pattern := range []string{"**", "t.2", "u.*"} {
		count, last := 0, uint64(0)
		for _, seq := range seqs {
			if filterOf(pattern).Match(c.records[seq].Topic) {
				count, last = count+1, seq
			}
		}
		if n, _, err := l.Count(s.t.Context(), topics.MustFilters(pattern), 0); err != nil || n != uint64(count) {
			s.t.Errorf("start %d: the count of %s is %d, %v; want %d", s.start, pattern, n, err, count)
		}
		if back, err := l.Back(s.t.Context(), topics.MustFilters(pattern), 1, c.last); err != nil || back != last-min(last, 1) {
			s.t.Errorf("start %d: one back of %s is %d, %v; want %d", s.start, pattern, back, err, last-1)
		}
	}
	got, through, err := l.Newest(s.t.Context(), topics.MustFilters("**"), 0, c.last, 1000)
	if err != nil || through != c.last || !slices.Equal(got, newest) {
		s.t.Errorf("start %d: the newest through %d are %v, %v; want %v", s.start, through, got, err, newest)
	}
}

// checkKeys checks that the key of a message that is there counts, and that of another one
// does not.
func (s *story) checkKeys(l *Log, facts []*fact, c contents) {
	left := map[bool]int{true: 8, false: 8}
	for _, i := range s.rnd.Perm(len(facts)) {
		f := facts[i]
		r, there := c.records[f.id.Seq]
		there = there && r.Data == f.m.Data
		if f.m.Key == "" || left[there] == 0 || !there && f.id.Seq < c.first {
			continue
		}
		left[there]--
		other := f.m
		s.mu.Lock()
		other.Data = s.message(0, s.rnd).Data
		s.tried[other.Data] = other
		s.mu.Unlock()
		if !there {
			// Nobody has it, so it is used again.
			a := l.Append(s.t.Context(), []eventlog.Message{other})[0]
			if a.Err != nil || a.Repeat {
				s.t.Errorf("start %d: the key of %v, which is gone: %+v", s.start, f.id, a)
				continue
			}
			f.m.Key = ""
			s.given(a.ID, other, true, s.opts.Sync == 0)
			continue
		}
		if f.id.Seq < l.first.Load() {
			continue // what was stored has made it expire
		}
		a := l.Append(s.t.Context(), []eventlog.Message{f.m, other})
		if a[0] != (eventlog.Appended{ID: f.id, Repeat: true}) || !errors.Is(a[1].Err, eventlog.ErrKeyConflict) {
			s.t.Errorf("start %d: the key of %v: %+v", s.start, f.id, a)
		}
	}
}
