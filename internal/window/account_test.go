package window_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/window"
)

// A source is a log of which a window needs no more than this. It holds no records.
type source struct {
	eventlog.Log
	groups chan []eventlog.Record
}

func (s *source) State(context.Context) (eventlog.State, error) {
	return eventlog.State{First: 1, Epochs: eventlog.Timeline{{ID: "E", First: 1}}, Generation: 1}, nil
}

func (s *source) Tail(ctx context.Context, _, _ uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		for {
			select {
			case records := <-s.groups:
				if !yield(records, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// A listener encodes each new entry in some forms.
type listener struct {
	forms  []uint8
	shrunk chan *window.View
}

func (l *listener) Extended(entries []*window.Entry) {
	for _, e := range entries {
		for _, form := range l.forms {
			e.Wire(form)
		}
	}
}
func (l *listener) Renewed(*window.View) {}
func (l *listener) Shrunk(v *window.View) {
	select {
	case l.shrunk <- v:
	default:
	}
}

// follow returns a window that follows a source.
func follow(t *testing.T, l window.Listener, opts window.Options) (*window.Window, *source) {
	t.Helper()
	s := &source{groups: make(chan []eventlog.Record)}
	opts.Logger = slog.New(slog.DiscardHandler)
	w, err := window.New(t.Context(), s, opts)
	if err != nil {
		t.Fatal(err)
	}
	w.Follow(l)
	t.Cleanup(w.Close)
	return w, s
}

// record returns a record whose strings nobody else has.
func record(seq uint64, data string) eventlog.Record {
	return eventlog.Record{Seq: seq, Time: time.Unix(1, 0), Topic: strings.Clone("orders.42.status"), Data: strings.Clone(data)}
}

// heap returns how many bytes the heap has.
func heap() int {
	var m runtime.MemStats
	for range 2 { // the second one empties the pools
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// What a window counts is what it adds to the heap, whatever the messages grow to when they
// are encoded. It stays within its bound.
func TestWindowBytes(t *testing.T) {
	const most = 4 << 20
	both := []uint8{window.Data, window.Envelope}
	for _, size := range []int{10, 1 << 10, 100 << 10} {
		for _, char := range []string{"x", "\n", "\x01"} {
			for _, forms := range [][]uint8{nil, both} {
				if forms == nil && char != "x" {
					continue
				}
				t.Run(fmt.Sprintf("%d × %q, %d forms", size, char, len(forms)), func(t *testing.T) {
					before := heap()
					w, s := follow(t, &listener{forms: forms}, window.Options{MaxEntries: 1 << 20, MaxBytes: most})
					data := strings.Repeat(char, size)
					seq := uint64(0)
					for more := most; more > 0; {
						var group []eventlog.Record
						for range 1 + 1000/size {
							seq++
							group = append(group, record(seq, data))
							more -= size + 256
						}
						s.groups <- group
					}
					s.groups <- nil // what came before is in the window
					for w.Load().Bytes() > most && w.Load().Len() > 1 {
						runtime.Gosched() // the window shrinks after its entries have grown
					}
					var grown, counted, off int
					for range 5 { // the window's goroutine may still hold the view that it has replaced
						grown, counted = heap()-before, w.Load().Bytes()
						if off = 100 * (counted - grown) / grown; off >= -10 && off <= 10 {
							break
						}
					}
					if off < -10 || off > 10 {
						t.Errorf("the heap has grown by %d bytes for %d messages, and the window counts %d: %+d %%", grown, w.Load().Len(), counted, off)
					}
					if counted > most || counted < most/2 && w.Load().Len() > 1 {
						t.Errorf("the window counts %d bytes, and may have %d", counted, most)
					}
					runtime.KeepAlive(w)
				})
			}
		}
	}
}

// Beside a log in memory a window counts what it adds to that.
func TestWindowBytesOnALogInMemory(t *testing.T) {
	measure := func(t *testing.T, withWindow bool) (grown, counted int) {
		before := heap()
		log := eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: 8 << 20})
		defer log.Close()
		var w *window.Window
		if withWindow {
			var err error
			if w, err = window.New(t.Context(), log, window.Options{MaxEntries: 1 << 20, MaxBytes: 64 << 20, Shared: true, Logger: slog.New(slog.DiscardHandler)}); err != nil {
				t.Fatal(err)
			}
			w.Follow(&listener{forms: []uint8{window.Data}})
			defer w.Close()
		}
		for i := range 1 << 14 {
			done := log.Append(t.Context(), []eventlog.Message{{Topic: "a.b.c", Data: strings.Repeat(string('a'+rune(i%26)), 1<<10)}})
			if done[0].Err != nil {
				t.Fatal(done[0].Err)
			}
			if w != nil && i%1024 == 0 {
				w.Await(t.Context(), done[0].ID.Seq)
			}
		}
		if w != nil {
			w.Await(t.Context(), 1<<14)
		}
		grown = heap() - before
		if w != nil {
			counted = w.Load().Bytes()
		}
		runtime.KeepAlive(log)
		return grown, counted
	}
	alone, _ := measure(t, false)
	both, counted := measure(t, true)
	if grown := both - alone; counted*10 < grown*9 || counted*10 > grown*11 {
		t.Errorf("the heap has grown by %d bytes with the log, %d with the window too, which counts %d", alone, both, counted)
	}
}

// A window whose entries grow when they are encoded drops the oldest ones, although none are
// added.
func TestWindowShrinks(t *testing.T) {
	const most = 1 << 20
	l := &listener{shrunk: make(chan *window.View, 1)}
	w, s := follow(t, l, window.Options{MaxEntries: 1 << 20, MaxBytes: most})
	for seq := range uint64(64) {
		s.groups <- []eventlog.Record{record(seq+1, strings.Repeat("\x01", 8<<10))}
	}
	s.groups <- nil
	full := w.Load()
	if full.Len() != 64 {
		t.Fatalf("%d entries are in the window", full.Len())
	}
	for _, e := range full.From(0) {
		e.Wire(window.Envelope)
	}
	<-l.shrunk
	for w.Load().Bytes() > most {
		<-l.shrunk
	}
	if n := w.Load().Len(); n == 0 || n > 32 || w.Load().Last() != 64 {
		t.Errorf("%d entries are left", n)
	}
}

// What a stream holds of an entry counts as pinned once the entry has left the window, and only
// then. Several streams share it.
func TestPinned(t *testing.T) {
	b := budget.New(budget.DefaultBytes)
	w, s := follow(t, &listener{}, window.Options{MaxEntries: 2, MaxBytes: 1 << 20, Pinned: &b.Pinned})
	s.groups <- []eventlog.Record{record(1, strings.Repeat("x", 4<<10))}
	s.groups <- nil
	e := w.Load().From(1)[0]
	part := e.Part(window.Data)
	part.Pin()
	part.Pin()
	if n := b.Pinned.Used(); n != 0 || part.Pinned() != 0 {
		t.Errorf("an entry of the window: %d bytes are pinned", n)
	}
	s.groups <- []eventlog.Record{record(2, ""), record(3, "")}
	s.groups <- nil
	if n := b.Pinned.Used(); n < 4<<10 || n > 5<<10 || part.Pinned() != n/2 {
		t.Errorf("an entry that has left the window: %d bytes are pinned, %d for each stream", n, part.Pinned())
	}
	e.Wire(window.Envelope) // nobody holds this one
	part.Unpin()
	if n := b.Pinned.Used(); n < 4<<10 || n > 5<<10 || part.Pinned() != n {
		t.Errorf("with one stream: %d bytes are pinned, %d for each stream", n, part.Pinned())
	}
	part.Unpin()
	if n := b.Pinned.Used(); n != 0 {
		t.Errorf("%d bytes stay pinned", n)
	}
	if n := w.Load().Bytes(); n > 2<<10 {
		t.Errorf("the window counts %d bytes for two empty messages", n)
	}
}
