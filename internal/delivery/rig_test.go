package delivery_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/tidings/internal/delivery"
)

// patience catches hangs.
const patience = 20 * time.Second

// A note is a frame of the tests. Its second form is in brackets.
type note struct {
	position uint64
	text     string
	asked    func() // when it is about to be written
}

func (n *note) Position() uint64 { return n.position }

func (n *note) Wire(form uint8) []byte {
	if n.asked != nil {
		n.asked()
	}
	if form == 1 {
		return []byte("[" + n.text + "]")
	}
	return []byte(n.text)
}

func (n *note) Size() int { return len(n.text) }

// A desk is a feed that has everything it ever had, by set. What it appends it is told by
// append; what it is asked for it notes. Its fields are the shard's goroutine's.
type desk struct {
	shard *delivery.Shard
	sets  map[string]*delivery.Set
	had   map[string][]delivery.Frame
	last  uint64

	written   func(slot uint32) // instead of going on from the set
	resettle  func(slot uint32) // likewise
	gone      func(slot uint32, reason delivery.Reason)
	keepAlive func(slot uint32)

	ends    map[delivery.Stream]delivery.Reason
	vacated int

	mu      sync.Mutex
	arrived []func()
}

func (d *desk) Advance() {
	d.mu.Lock()
	arrived := d.arrived
	d.arrived = nil
	d.mu.Unlock()
	for _, f := range arrived {
		f()
	}
}

func (d *desk) settle(slot uint32) {
	position, set := d.shard.Position(slot), d.shard.SetOf(slot)
	had := d.had[set.Key.(string)]
	if position < set.From() {
		had = slices.DeleteFunc(slices.Clone(had), func(f delivery.Frame) bool {
			return f.Position() <= position || f.Position() > set.From()
		})
		d.shard.Prepend(set, had, position)
	}
	d.shard.Attach(slot, position, position)
}

func (d *desk) Resettle(slot uint32) {
	if d.resettle != nil {
		d.resettle(slot)
		return
	}
	d.settle(slot)
}

func (d *desk) Written(slot uint32) {
	if d.written != nil {
		d.written(slot)
		return
	}
	d.settle(slot)
}

var keepAlive = pieces("k;")

func (d *desk) KeepAlive(slot uint32) ([]delivery.Frame, uint64) {
	if d.keepAlive != nil {
		d.keepAlive(slot)
	}
	return keepAlive, d.shard.Position(slot)
}

func (d *desk) Vacated(set *delivery.Set) {
	d.vacated++
	delete(d.sets, set.Key.(string))
}

func (d *desk) Gone(slot uint32, reason delivery.Reason) {
	d.ends[d.shard.Name(slot)] = reason
	if d.gone != nil {
		d.gone(slot, reason)
	}
}

// set returns the set of a name. It is for the shard's goroutine.
func (d *desk) set(name string) *delivery.Set {
	set := d.sets[name]
	if set == nil {
		set = d.shard.NewSet(name, d.last)
		d.sets[name] = set
	}
	return set
}

// add appends a frame to a set, if there is one. It is for the shard's goroutine.
func (d *desk) add(name, text string) *note {
	d.last++
	n := &note{position: d.last, text: text}
	d.had[name] = append(d.had[name], n)
	if set := d.sets[name]; set != nil {
		d.shard.Append(set, n)
	}
	return n
}

// A rig is a group of one shard.
type rig struct {
	*desk
	group *delivery.Group
}

// newPortableRig returns a group without sockets.
func newPortableRig(t *testing.T, opts delivery.Options) *rig {
	t.Helper()
	d := &desk{sets: map[string]*delivery.Set{}, had: map[string][]delivery.Frame{}, ends: map[delivery.Stream]delivery.Reason{}}
	opts.Shards = 1
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = patience
	}
	opts.Feed = func(s *delivery.Shard) delivery.Feed {
		d.shard = s
		return d
	}
	group, err := delivery.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	closeOnce := sync.OnceFunc(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(closeOnce)
	return &rig{d, group}
}

// do has the shard's goroutine call f, and waits for that.
func (r *rig) do(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !r.shard.Do(func() { defer close(done); f() }) {
		t.Fatal("the shard is closed")
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the shard does not come to it")
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

// pieces returns frames of a stream's own, which have one form.
func pieces(texts ...string) (all []delivery.Frame) {
	for _, text := range texts {
		all = append(all, piece(text))
	}
	return all
}

// A piece is a frame that stands on the wire as it is.
type piece string

func (piece) Position() uint64    { return 0 }
func (p piece) Wire(uint8) []byte { return []byte(p) }
func (p piece) Size() int         { return len(p) }

// ended waits until a stream has ended, and compares why.
func (r *rig) ended(t *testing.T, st delivery.Stream, want delivery.Reason) {
	t.Helper()
	eventually(t, fmt.Sprintf("stream %v has ended", st), func() (ended bool) {
		r.do(t, func() {
			got, ok := r.ends[st]
			if ended = ok; ok && got != want {
				t.Errorf("stream %v has ended as %q, want %q", st, got, want)
			}
		})
		return ended
	})
}

// stats returns the figures of the shard.
func (r *rig) stats() delivery.Stats { return r.group.Stats()[0] }

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to be that %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
