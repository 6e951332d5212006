//go:build unix

package segmentlog

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

var powerSeed = flag.Uint64("seed", 0, "run TestPowerLoss only with this seed")

// Whenever the power goes, or the process is killed: with Sync 0 each acknowledged message is
// there after the next start. With an interval, those are that were synced, and each other one
// is there or told as lost. No id names two messages, those that only a reader has seen
// included. What was removed stays erased, and keys and the index answer as the messages that
// are there say.
//
// Each seed is a story of several starts. The goroutines of a log are scheduled as it comes, so a
// seed that has failed may need -count=100 to fail again:
//
//	go test ./eventlog/segmentlog -run TestPowerLoss -seed 42
func TestPowerLoss(t *testing.T) {
	if *powerSeed != 0 {
		tellStory(t, *powerSeed)
		return
	}
	rounds := 10
	if raced || testing.Short() {
		rounds = 2
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // the index allocates much each time
	end := time.Now().Add(*soak)
	for round := 0; round < rounds || time.Now().Before(end) && !t.Failed(); round++ {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			for range 100 {
				seed := rand.Uint64N(1e12)
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
					t.Parallel()
					tellStory(t, seed)
				})
			}
		})
	}
}

// A fact is a message that somebody was given an id for: its publisher, or a reader.
type fact struct {
	id       eventlog.Position
	m        eventlog.Message
	acked    bool // its publisher has the id
	safe     bool // it was on the disk
	lost     bool // a start has told so
	removing bool // Remove was called
	removed  bool // and has returned
}

// A story is a log on a machine whose power goes several times.
type story struct {
	t       *testing.T
	rnd     *rand.Rand
	opts    Options
	machine *machine
	mixed   bool // some starts sync otherwise than others
	power   bool // the power has gone since the last check
	start   int

	mu      sync.Mutex
	facts   []*fact
	byID    map[eventlog.Position]*fact
	tried   map[string]eventlog.Message // what was handed to Append, by its data
	named   map[string]eventlog.Position
	refused map[string]bool // the disk had no room
}

func tellStory(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := &story{
		t: t, rnd: rnd, machine: newMachine(rand.New(rand.NewPCG(seed, 2)), t.TempDir()), mixed: rnd.IntN(4) == 0,
		byID: map[eventlog.Position]*fact{}, tried: map[string]eventlog.Message{}, named: map[string]eventlog.Position{}, refused: map[string]bool{},
	}
	s.opts = Options{Dir: s.machine.dir, MaxAge: -1, MaxBytes: []int64{-1, 100_000, 300_000}[rnd.IntN(3)], Reserve: -1, Logger: quiet(), segmentBytes: 64 << 10}
	if rnd.IntN(2) == 0 {
		s.opts.Sync = time.Hour // the story says when
	}
	if rnd.IntN(3) == 0 {
		s.opts.segmentBytes = 16 << 10
	}
	if rnd.IntN(2) == 0 {
		s.machine.begin(bucketSize - 1 - rnd.Uint64N(200)) // soon the first bucket goes to the store
	}
	for s.start = range 1 + rnd.IntN(4) {
		if s.live(); t.Failed() {
			return
		}
	}
	p := newProcess(s.machine, true)
	if l := s.open(p); l != nil {
		s.check(l)
		closeLog(t, l)
	}
}

// begin makes an empty log whose next number is the given one.
func (m *machine) begin(next uint64) {
	m.inodes++
	st := state{serial: 2, first: next, acknowledged: next - 1, synced: next - 1, boot: m.boot, flags: stateClean, file: m.inodes}
	n := &inode{id: m.inodes}
	n.change(edit{b: st.encode()})
	n.change(edit{off: 2 * slotBytes, truncate: true})
	n.sync()
	name := filepath.Join(m.dir, stateFile)
	m.names[name], m.synced[name] = n, n
	m.made, m.named = true, true
}

// open opens the log in a process. It returns nil if the process has died.
func (s *story) open(p *process) *Log {
	opts := s.opts
	opts.files, opts.indexFiles, opts.bootID = p, s.machine.index, func() uint32 { return s.machine.boot }
	l, err := Open(s.t.Context(), &opts)
	p.arm(0)
	switch {
	case err == nil && p.dead():
		_ = l.Close()
	case err == nil:
		return l
	case !p.dead():
		s.t.Fatalf("start %d: %v", s.start, err)
	}
	return nil
}

// live is one start of the log, and its end.
func (s *story) live() {
	p := newProcess(s.machine, s.rnd.IntN(5) > 0)
	if s.mixed {
		s.opts.Sync = time.Duration(s.rnd.IntN(2)) * time.Hour
	}
	defer func() {
		s.machine = p.end()
		s.power = s.power || p.power
	}()
	if s.rnd.IntN(4) == 0 {
		p.arm(1 + s.rnd.IntN(40))
	}
	l := s.open(p)
	if l == nil {
		return
	}
	if s.check(l); s.t.Failed() {
		_ = l.Close()
		return
	}
	if s.rnd.IntN(3) == 0 {
		p.m.mu.Lock()
		p.full = 1 + s.rnd.IntN(30)
		p.m.mu.Unlock()
	}
	p.arm(1 + s.rnd.IntN(200))
	var others sync.WaitGroup
	ctx, cancel := context.WithCancel(s.t.Context())
	others.Go(func() { s.tail(ctx, l) })
	alone := s.rnd.IntN(2) == 0
	if !alone {
		for who := range 1 + s.rnd.IntN(2) {
			rnd := rand.New(rand.NewPCG(s.rnd.Uint64(), 3))
			others.Go(func() {
				for ctx.Err() == nil && s.publish(l, p, who+1, rnd) {
				}
			})
		}
	}
	for range max(s.rnd.IntN(50)-10, 0) { // at times nothing happens
		if !s.act(l, p, alone) {
			break
		}
	}
	s.close(l, p)
	cancel()
	others.Wait()
}

// close closes a log, or not: its process dies before that, or in it.
func (s *story) close(l *Log, p *process) {
	switch s.rnd.IntN(4) {
	case 0:
		p.end()
	case 1:
		p.arm(0)
	default:
		p.arm(1 + s.rnd.IntN(20))
	}
	switch err := l.Close(); {
	case err == nil:
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range s.facts {
			f.safe = true
		}
	case !p.dead():
		s.t.Errorf("Close: %v", err)
	}
}

// act does one thing. It returns false once the process has died.
func (s *story) act(l *Log, p *process, alone bool) bool {
	switch n := s.rnd.IntN(16); {
	case n == 0:
		return s.remove(l, p)
	case n == 1 && alone:
		return s.removeTopic(l, p)
	case n <= 3 && s.opts.Sync > 0:
		return s.sync(l, p)
	default:
		return s.publish(l, p, 0, s.rnd)
	}
}

// sync does what an interval does at its end.
func (s *story) sync(l *Log, p *process) bool {
	s.mu.Lock()
	before := s.facts[:len(s.facts):len(s.facts)]
	s.mu.Unlock()
	if err := l.syncer.sync(); err != nil {
		_ = l.fail(err)
		return s.mayFail(p, "the sync", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range before {
		f.safe = true
	}
	return true
}

// mayFail checks that a call fails only because the process has died.
func (s *story) mayFail(p *process, what string, err error) bool {
	if !p.dead() && !errors.Is(err, eventlog.ErrClosed) {
		s.t.Errorf("start %d: %s: %v", s.start, what, err)
	}
	return false
}

// publish appends some messages.
func (s *story) publish(l *Log, p *process, who int, rnd *rand.Rand) bool {
	batch := make([]eventlog.Message, 1+rnd.IntN(12))
	s.mu.Lock()
	for i := range batch {
		batch[i] = s.message(who, rnd)
	}
	s.mu.Unlock()
	for i, a := range l.Append(s.t.Context(), batch) {
		switch {
		case a.Err == nil && !a.Repeat:
			s.given(a.ID, batch[i], true, s.opts.Sync == 0)
		case errors.Is(a.Err, eventlog.ErrFull):
			s.mu.Lock()
			s.refused[batch[i].Data] = true
			s.mu.Unlock()
		case a.Err == nil:
			s.t.Errorf("start %d: the key of a new message is known: %+v", s.start, a)
		default:
			return s.mayFail(p, "Append", a.Err)
		}
	}
	return true
}

// message returns a message that differs from all others. Callers hold mu.
func (s *story) message(who int, rnd *rand.Rand) eventlog.Message {
	name := fmt.Sprintf("<%d.%d.%d>", s.start, who, len(s.tried))
	size := rnd.IntN(80)
	switch n := rnd.IntN(100); {
	case n == 0:
		size = rnd.IntN(80_000)
	case n < 10:
		size = rnd.IntN(8000)
	case n < 40:
		size = rnd.IntN(600)
	}
	m := eventlog.Message{Topic: fmt.Sprint("t.", rnd.IntN(5)), Type: "typ", Data: name + strings.Repeat("x", size)}
	switch rnd.IntN(40) {
	case 0:
		m.Topic = "rare"
	case 1:
		m.Topic = fmt.Sprint("u.", rnd.IntN(100))
	}
	if rnd.IntN(4) == 0 {
		m.Key = fmt.Sprint("k", len(s.tried)) // which may be used again
	}
	s.tried[m.Data] = m
	return m
}

// given notes that somebody was given an id.
func (s *story) given(id eventlog.Position, m eventlog.Message, acked, safe bool) *fact {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.byID[id]
	if f == nil {
		f = &fact{id: id, m: m}
		s.byID[id] = f
		s.facts = append(s.facts, f)
	}
	f.acked, f.safe = f.acked || acked, f.safe || safe
	if f.m.Data != m.Data {
		s.t.Errorf("start %d: %v is the id of %.40q, and of %.40q", s.start, id, f.m.Data, m.Data)
	}
	if old, ok := s.named[m.Data]; ok && old != id {
		s.t.Errorf("start %d: %.40q has the ids %v and %v", s.start, m.Data, old, id)
	}
	s.named[m.Data] = id
	return f
}

// seen notes that a reader was given a record.
func (s *story) seen(l *Log, r eventlog.Record, safe bool) *fact {
	s.mu.Lock()
	m, tried := s.tried[r.Data]
	refused := s.refused[r.Data]
	s.mu.Unlock()
	if !tried || refused || m.Topic != r.Topic || m.Type != r.Type {
		s.t.Errorf("start %d: a reader gets %d, which is %.40q, refused: %v", s.start, r.Seq, r.Data, refused)
	}
	return s.given(l.epochs.Position(r.Seq), m, false, safe)
}

// tail is a reader that is there all the time.
func (s *story) tail(ctx context.Context, l *Log) {
	for records, err := range l.Tail(ctx, generation, l.lastSeq()) {
		if err != nil {
			return
		}
		for _, r := range records {
			s.seen(l, r, s.opts.Sync == 0)
		}
	}
}

// remove removes some messages.
func (s *story) remove(l *Log, p *process) bool {
	s.mu.Lock()
	var chosen []*fact
	var seqs []uint64
	among := len(s.facts)
	if s.rnd.IntN(2) == 0 {
		among = min(among, 5) // the newest ones
	}
	for range min(len(s.facts), 5) {
		f := s.facts[len(s.facts)-1-s.rnd.IntN(among)]
		if f.acked && l.epochs.Position(f.id.Seq) == f.id {
			f.removing = true
			chosen, seqs = append(chosen, f), append(seqs, f.id.Seq)
		}
	}
	s.mu.Unlock()
	if s.rnd.IntN(4) == 0 {
		p.arm(1 + s.rnd.IntN(10)) // it dies in that, or soon after
	}
	if _, err := l.Remove(s.t.Context(), seqs); errors.Is(err, eventlog.ErrFull) {
		return true // some are erased
	} else if err != nil || p.dead() {
		return s.mayFail(p, "Remove", err)
	}
	s.removed(l, chosen)
	return true
}

// removed notes that messages were removed. Those that had expired were not.
func (s *story) removed(l *Log, facts []*fact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range facts {
		f.removed = f.removed || !f.lost && f.id.Seq >= l.first.Load()
	}
}

// removeTopic removes the messages of a topic. Nobody else publishes.
func (s *story) removeTopic(l *Log, p *process) bool {
	topic, upTo := "rare", l.lastSeq()
	if s.rnd.IntN(4) == 0 {
		topic, upTo = fmt.Sprint("t.", s.rnd.IntN(5)), l.lastSeq()-min(l.lastSeq(), s.rnd.Uint64N(300))
	}
	s.mu.Lock()
	var chosen []*fact
	for _, f := range s.facts {
		if f.m.Topic == topic && f.id.Seq <= upTo && l.epochs.Position(f.id.Seq) == f.id {
			f.removing = true
			chosen = append(chosen, f)
		}
	}
	s.mu.Unlock()
	if _, err := l.RemoveTopic(s.t.Context(), topic, upTo); errors.Is(err, eventlog.ErrFull) {
		return true
	} else if err != nil || p.dead() {
		return s.mayFail(p, "RemoveTopic", err)
	}
	s.removed(l, chosen)
	return true
}
