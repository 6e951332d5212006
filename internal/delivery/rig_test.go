package delivery_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/internal/delivery"
)

// patience is how long a test waits before it fails as hung.
const patience = time.Minute

// A testFrame is a frame in two forms. The second form is in brackets.
type testFrame struct {
	position uint64
	text     string
	onWire   func() // if not nil, called by Wire
	pins     atomic.Int32
	budget   *testBudget
}

// A testFrame is what a stream holds of it, in any form.
func (f *testFrame) Part(uint8) delivery.Pinner { return f }

func (f *testFrame) Pin() {
	if f.pins.Add(1) == 1 {
		f.budget.Add(len(f.text))
	}
}

func (f *testFrame) Unpin() {
	if f.pins.Add(-1) == 0 {
		f.budget.Give(len(f.text))
	}
}

func (f *testFrame) Pinned() int { return len(f.text) / int(f.pins.Load()) }

// A testBudget counts what streams pin.
type testBudget struct {
	used    atomic.Int64
	limit   int
	refused atomic.Int32
}

func (b *testBudget) Add(n int)  { b.used.Add(int64(n)) }
func (b *testBudget) Give(n int) { b.used.Add(-int64(n)) }
func (b *testBudget) Used() int  { return int(b.used.Load()) }
func (b *testBudget) Limit() int { return b.limit }
func (b *testBudget) Refuse()    { b.refused.Add(1) }

func (f *testFrame) Position() uint64 { return f.position }

func (f *testFrame) Wire(form uint8) []byte {
	if f.onWire != nil {
		f.onWire()
	}
	if form == 1 {
		return []byte("[" + f.text + "]")
	}
	return []byte(f.text)
}

func (f *testFrame) Size() int { return len(f.text) }

// A testFeed is a feed that keeps all frames of each set. rig.append tells it what to append.
// Its fields belong to the shard's goroutine, except for mu and arrived.
type testFeed struct {
	shard   *delivery.Shard
	sets    map[string]*delivery.Set
	history map[string][]delivery.Frame
	last    uint64 // position

	written  func(slot uint32) // if not nil, replaces settle in Written
	resettle func(slot uint32) // if not nil, replaces settle in Resettle
	gone     func(slot uint32, reason delivery.Reason)

	ends map[delivery.Stream]delivery.Reason

	budget *testBudget // for what streams pin

	mu      sync.Mutex
	arrived []func()
	slowly  bool // Advance calls one function of arrived at a time
}

func (f *testFeed) Advance() (more bool) {
	f.mu.Lock()
	arrived := f.arrived
	f.arrived = nil
	if f.slowly && len(arrived) > 1 {
		arrived, f.arrived, more = arrived[:1], arrived[1:], true
	}
	f.mu.Unlock()
	for _, f := range arrived {
		f()
	}
	return more
}

func (f *testFeed) settle(slot uint32) {
	position, set := f.shard.Position(slot), f.shard.SetOf(slot)
	had := f.history[set.Key.(string)]
	if position < set.From() {
		had = slices.DeleteFunc(slices.Clone(had), func(f delivery.Frame) bool {
			return f.Position() <= position || f.Position() > set.From()
		})
		f.shard.Prepend(set, had, position)
	}
	f.shard.Attach(slot, position, position)
}

func (f *testFeed) Resettle(slot uint32) {
	if f.resettle != nil {
		f.resettle(slot)
		return
	}
	f.settle(slot)
}

func (f *testFeed) Written(slot uint32) {
	if f.written != nil {
		f.written(slot)
		return
	}
	f.settle(slot)
}

var keepAlive = rawFrames("k;")

func (f *testFeed) KeepAlive(slot uint32) ([]delivery.Frame, uint64) {
	return keepAlive, f.shard.Position(slot)
}

// Last returns a frame that says why and where a stream ends.
func (f *testFeed) Last(slot uint32, reason delivery.Reason) delivery.Frame {
	return rawFrame(fmt.Sprintf("%s at %d;", reason, f.shard.Position(slot)))
}

func (f *testFeed) Vacated(set *delivery.Set) {
	delete(f.sets, set.Key.(string))
}

func (f *testFeed) Gone(slot uint32, reason delivery.Reason) {
	f.ends[f.shard.Name(slot)] = reason
	if f.gone != nil {
		f.gone(slot, reason)
	}
}

// set returns the set with a name. It must be called on the shard's goroutine.
func (f *testFeed) set(name string) *delivery.Set {
	set := f.sets[name]
	if set == nil {
		set = f.shard.NewSet(name, f.last)
		f.sets[name] = set
	}
	return set
}

// add adds a frame to the set with a name. It must be called on the shard's goroutine.
func (f *testFeed) add(name, text string) *testFrame {
	f.last++
	frame := &testFrame{position: f.last, text: text, budget: f.budget}
	f.history[name] = append(f.history[name], frame)
	if set := f.sets[name]; set != nil {
		f.shard.Append(set, frame)
	}
	return frame
}

// A rig is a group of one shard.
type rig struct {
	*testFeed
	group *delivery.Group
}

// newPortableRig returns a group without sockets. Its streams may pin any number of bytes. When
// it is closed, they pin none.
func newPortableRig(t *testing.T, opts delivery.Options) *rig {
	t.Helper()
	f := &testFeed{sets: map[string]*delivery.Set{}, history: map[string][]delivery.Frame{}, ends: map[delivery.Stream]delivery.Reason{}}
	f.budget = &testBudget{limit: math.MaxInt}
	opts.Shards, opts.Pinned = 1, f.budget
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = patience
	}
	opts.Feed = func(s *delivery.Shard) delivery.Feed {
		f.shard = s
		return f
	}
	group, err := delivery.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
		if n := f.budget.Used(); n != 0 {
			t.Errorf("%d bytes stay pinned", n)
		}
	})
	return &rig{f, group}
}

// do makes the shard's goroutine call f, and waits until f has returned.
func (r *rig) do(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !r.shard.Do(func() { defer close(done); f() }) {
		t.Fatal("the shard is closed")
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the shard does not call the function")
	}
}

// append appends frames to a set, as the source of a feed does.
func (r *rig) append(name string, texts ...string) {
	r.mu.Lock()
	r.arrived = append(r.arrived, func() {
		for _, text := range texts {
			r.add(name, text)
		}
	})
	r.mu.Unlock()
	r.shard.Wake()
}

// rawFrames returns frames that are the same in each form.
func rawFrames(texts ...string) (all []delivery.Frame) {
	for _, text := range texts {
		all = append(all, rawFrame(text))
	}
	return all
}

// A rawFrame is written as it is.
type rawFrame string

func (rawFrame) Position() uint64    { return 0 }
func (p rawFrame) Wire(uint8) []byte { return []byte(p) }
func (p rawFrame) Size() int         { return len(p) }

// ended waits until a stream has ended, and checks the reason.
func (r *rig) ended(t *testing.T, st delivery.Stream, want delivery.Reason) {
	t.Helper()
	eventually(t, fmt.Sprintf("stream %v ends", st), func() (ended bool) {
		r.do(t, func() {
			got, ok := r.ends[st]
			if ended = ok; ok && got != want {
				t.Errorf("stream %v ended as %q, want %q", st, got, want)
			}
		})
		return ended
	})
}

// stats returns the figures of the shard.
func (r *rig) stats() delivery.Stats { return r.group.Stats()[0] }

// eventually waits until a condition is true.
func eventually(t *testing.T, what string, isTrue func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !isTrue() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out before %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
