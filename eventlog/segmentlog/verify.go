package segmentlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A Summary is what [Verify] has found in a folder.
type Summary struct {
	Segments    int    // files with records
	First, Last uint64 // the numbers that must be there. Of an empty log, First is Last + 1
	Records     uint64 // those that are intact
	Removed     uint64 // those of them that were erased
	Missing     uint64 // numbers without an intact record
	Bytes       int64  // of the intact records
}

// A Fault is something that is damaged or missing in a folder.
type Fault struct {
	// First and Last are the numbers of the records that are lost. They are 0 if none is.
	First, Last uint64

	// File is the name of the file that is damaged, or that lacks the records. It is empty
	// if no file is there for them.
	File string

	// Problem says what is wrong, for people.
	Problem string
}

// Verify reads every record of the log in a folder and checks it. It calls report for each
// fault, in the order of the numbers, unless report is nil. It returns an error if the
// folder holds no log, or cannot be read.
//
// Verify writes nothing and needs no lock. While a process has the log open, Verify checks
// the records that were acknowledged when it began. It does not check what the log can do
// without: the index and the sidecars.
func Verify(ctx context.Context, dir string, report func(Fault)) (Summary, error) {
	if report == nil {
		report = func(Fault) {}
	}
	v := verifier{ctx: ctx, dir: dir, buf: buffers.Get().(*[]byte)}
	defer buffers.Put(v.buf)
	if err := v.run(report); err != nil {
		return Summary{}, fmt.Errorf("the log in %q: %w", dir, err)
	}
	return v.sum, nil
}

// A verifier is one Verify under way.
type verifier struct {
	ctx context.Context
	dir string
	buf *[]byte

	segments []segmentFile // ascending
	known    bool          // the state could be read
	retained uint64        // the first number that is retained by now
	last     uint64        // the greatest number of a frame
	sum      Summary
	faults   []Fault // of other files than segments
	gaps     []gap
}

// A segmentFile is what the name of a segment says, and what is intact in the file.
type segmentFile struct {
	name  string
	first uint64
	salt  uint32

	records, removed uint64
	bytes            int64
}

// A gap is a range of numbers without a frame, and the part of a segment where they would
// be. seg is -1 if there is no segment for them.
type gap struct {
	span
	seg      int
	from, to int64
	tail     bool // to is the end of the file
}

func (v *verifier) run(report func(Fault)) error {
	if err := v.begin(); err != nil {
		return err
	}
	for i := range v.segments {
		if err := v.verify(v.whole(i)); err != nil {
			return err
		}
	}
	if !v.known {
		v.sum.Last = max(v.last, v.sum.First-1)
	} else if len(v.segments) == 0 {
		v.lack(gap{seg: -1, span: span{v.sum.First, v.sum.Last}})
	}
	// A process may have been erasing what looked damaged.
	for _, pause := range []time.Duration{50 * time.Millisecond, 250 * time.Millisecond, time.Second} {
		gaps := slices.DeleteFunc(v.gaps, func(g gap) bool { return g.last < v.retained })
		if v.gaps = nil; len(gaps) == 0 {
			break
		}
		select {
		case <-time.After(pause):
		case <-v.ctx.Done():
			return v.ctx.Err()
		}
		for _, g := range gaps {
			if err := v.verify(g); err != nil {
				return err
			}
		}
		v.expire()
	}
	for i := range v.segments {
		s := &v.segments[i]
		v.sum.Records, v.sum.Removed, v.sum.Bytes = v.sum.Records+s.records, v.sum.Removed+s.removed, v.sum.Bytes+s.bytes
	}
	for _, f := range v.faults {
		report(f)
	}
	for _, g := range v.gaps {
		if g.last >= v.retained {
			g.first = max(g.first, v.retained)
			v.sum.Missing += g.last - g.first + 1
			report(v.fault(g))
		}
	}
	return nil
}

// begin finds out what must be there. It reads the state before it lists the segments: so
// those have everything that the state speaks of.
func (v *verifier) begin() error {
	format, err := os.ReadFile(filepath.Join(v.dir, formatFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	noFormat := err != nil
	st, err := v.state()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return err
	}
	hasState := false
	for _, e := range entries {
		name := e.Name()
		if first, salt, ok := parseSegmentName(name); ok {
			v.segments = append(v.segments, segmentFile{name: name, first: first, salt: salt})
		}
		hasState = hasState || name == stateFile
		if asideNumber(name) > 0 {
			v.faults = append(v.faults, Fault{File: name, Problem: "a start has set the file aside, because it could not be read; nothing uses it"})
		}
		if name == oldLog {
			return errOldLog
		}
	}
	if noFormat && !hasState && len(v.segments) == 0 {
		return errors.New("the folder holds no log")
	}
	slices.SortStableFunc(v.segments, func(a, b segmentFile) int { return cmp.Compare(a.first, b.first) })
	if err := v.withoutEmpty(); err != nil {
		return err
	}
	if err := v.others(format, noFormat); err != nil {
		return err
	}
	v.sum = Summary{Segments: len(v.segments), First: max(st.first, 1), Last: st.acknowledged}
	if !v.known {
		v.sum.First = 1
		if len(v.segments) > 0 {
			v.sum.First = v.segments[0].first
		}
	}
	v.retained = v.sum.First
	if !v.known {
		return nil
	}
	if len(v.segments) > 0 && v.segments[0].first > v.sum.First {
		first := v.segments[0].first
		if v.expire(); v.retained >= first {
			v.sum.First = min(first, v.sum.Last+1) // retention has removed those before
		} else {
			v.lack(gap{seg: -1, span: span{v.sum.First, min(first-1, v.sum.Last)}})
		}
	}
	return nil
}

// others notes the faults of the files that name the format and the epochs.
func (v *verifier) others(format []byte, missing bool) error {
	switch version, _, ok := decodeFormat(format); {
	case missing:
		v.faults = append(v.faults, Fault{File: formatFile, Problem: "the file is missing"})
	case !ok:
		v.faults = append(v.faults, Fault{File: formatFile, Problem: "the file is damaged"})
	case version > formatVersion:
		return errNewer(version)
	}
	epochs, err := loadEpochs(disk{}, v.dir)
	switch {
	case err != nil:
		v.faults = append(v.faults, Fault{File: epochsFile, Problem: "the file is damaged"})
	case len(epochs) == 0:
		v.faults = append(v.faults, Fault{File: epochsFile, Problem: "the file is missing"})
	}
	return nil
}

// state reads the state, and notes its faults. A process may be writing it.
func (v *verifier) state() (st state, err error) {
	var b []byte
	problem := ""
	for try := range 10 {
		if try > 0 {
			time.Sleep(5 * time.Millisecond)
		}
		b, err = os.ReadFile(filepath.Join(v.dir, stateFile))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			v.faults = append(v.faults, Fault{File: stateFile, Problem: "the file is missing: the newest records may be, too"})
			return state{}, nil
		case err != nil:
			return state{}, err
		}
		st, v.known = decodeState(b)
		switch {
		case wholeSlots(b, st) == 2:
			return st, nil
		case v.known:
			problem = "one of its two slots is damaged: the newest records may be missing"
		default:
			problem = "the file is damaged: the newest records may be missing"
		}
	}
	v.faults = append(v.faults, Fault{File: stateFile, Problem: problem})
	return st, nil
}

// lack notes a gap, if it has a number.
func (v *verifier) lack(g gap) {
	if g.first <= g.last {
		v.gaps = append(v.gaps, g)
	}
}

// whole returns the range of numbers of a segment, as if it had none of them.
func (v *verifier) whole(i int) gap {
	last := uint64(math.MaxUint64)
	if i+1 < len(v.segments) {
		last = v.segments[i+1].first - 1
	}
	if v.known {
		last = min(last, v.sum.Last)
	}
	return gap{span{v.segments[i].first, last}, i, 0, 0, true}
}

// withoutEmpty takes out segments that hide others: those with the same first number and no
// frame. A start removes them.
func (v *verifier) withoutEmpty() error {
	all := v.segments
	v.segments = nil
	for i, s := range all {
		if i > 0 && all[i-1].first == s.first || i+1 < len(all) && all[i+1].first == s.first {
			c, done, err := v.open(s, gap{tail: true})
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			_, some := c.next()
			done()
			if !some {
				continue
			}
		}
		v.segments = append(v.segments, s)
	}
	return nil
}

// open returns a cursor for a part of a segment. The caller must call done.
func (v *verifier) open(s segmentFile, g gap) (c *cursor, done func() error, err error) {
	f, err := os.Open(filepath.Join(v.dir, s.name))
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	end := info.Size()
	if !g.tail {
		end = min(end, g.to)
	}
	return &cursor{f: f, salt: s.salt, off: g.from, end: end, again: func() {}, buf: v.buf, step: mostRead, reread: -1}, f.Close, nil
}

// verify goes through the part of a segment that a gap names, counts the frames, and notes
// the gaps that it really has.
func (v *verifier) verify(g gap) error {
	if g.first > g.last {
		return nil
	}
	if g.seg < 0 {
		v.lack(g)
		return nil
	}
	s := &v.segments[g.seg]
	c, done, err := v.open(*s, g)
	if errors.Is(err, fs.ErrNotExist) {
		if v.expire(); v.retained <= g.first {
			v.lack(g)
			return nil
		}
		// Retention has removed it, and those before.
		for i := range g.seg + 1 {
			v.segments[i].records, v.segments[i].removed, v.segments[i].bytes = 0, 0, 0
		}
		v.sum.First = max(v.sum.First, min(v.retained, g.last+1))
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	end := g.from
	for n := 0; ; n++ {
		if n%1024 == 0 && v.ctx.Err() != nil {
			return v.ctx.Err()
		}
		fr, ok := c.next()
		if !ok || fr.seq > g.last {
			break
		}
		if fr.seq < g.first {
			continue
		}
		v.lack(gap{span{g.first, fr.seq - 1}, g.seg, end, fr.off, false})
		g.first, end = fr.seq+1, fr.off+int64(len(fr.raw))
		v.last = max(v.last, fr.seq)
		if fr.seq >= v.sum.First {
			s.records++
			s.bytes += int64(len(fr.raw))
			if fr.removed() {
				s.removed++
			}
		}
		if fr.seq == math.MaxUint64 {
			return nil
		}
	}
	if g.last < math.MaxUint64 {
		v.lack(gap{g.span, g.seg, end, c.end, g.tail})
	}
	return nil
}

// expire finds out what retention has removed meanwhile.
func (v *verifier) expire() {
	b, err := os.ReadFile(filepath.Join(v.dir, stateFile))
	if st, ok := decodeState(b); err == nil && ok {
		v.retained = max(v.retained, st.first)
	}
}

// fault describes a gap.
func (v *verifier) fault(g gap) Fault {
	if g.seg < 0 {
		return Fault{g.first, g.last, "", "no file has them"}
	}
	f := Fault{First: g.first, Last: g.last, File: v.segments[g.seg].name}
	switch {
	case g.from >= g.to && g.tail:
		f.Problem = fmt.Sprintf("the file ends at byte %d", g.from)
	case g.from >= g.to:
		f.Problem = fmt.Sprintf("they are not there, at byte %d", g.from)
	case g.tail:
		f.Problem = fmt.Sprintf("nothing intact from byte %d on", g.from)
	default:
		f.Problem = fmt.Sprintf("bytes %d to %d are damaged", g.from, g.to-1)
	}
	return f
}
