package ringbuf_test

import (
	"slices"
	"testing"

	"example.com/tidings/internal/ringbuf"
)

// A sized is an item of so many bytes.
type sized int

func (s sized) Size() int { return int(s) }

func TestRing(t *testing.T) {
	empty := ringbuf.New[sized](5)
	if empty.First() != 5 || empty.Last() != 4 || empty.Len() != 0 || empty.From(0) != nil || empty.Excess(0, 0) != 0 {
		t.Fatalf("an empty ring: %+v", empty)
	}
	r := empty
	for n := range 4 {
		r = r.Push(sized(10 * (n + 1))) // 5 to 8
	}
	for _, tt := range []struct {
		from uint64
		want []sized
	}{
		{0, []sized{10, 20, 30, 40}}, {5, []sized{10, 20, 30, 40}}, {7, []sized{30, 40}}, {8, []sized{40}}, {9, nil},
	} {
		if got := r.From(tt.from); !slices.Equal(got, tt.want) {
			t.Errorf("from %d: %v, want %v", tt.from, got, tt.want)
		}
	}
	for _, tt := range []struct{ items, bytes, want int }{
		{4, 100, 0}, {3, 100, 1}, {4, 99, 1}, {4, 90, 1}, {4, 89, 2}, {1, 100, 3}, {0, 0, 3}, // the newest stays
	} {
		if got := r.Excess(tt.items, tt.bytes); got != tt.want {
			t.Errorf("beyond %d items and %d bytes: %d, want %d", tt.items, tt.bytes, got, tt.want)
		}
	}
	dropped := r.Drop(3)
	if dropped.First() != 8 || dropped.Last() != 8 || !slices.Equal(dropped.From(0), []sized{40}) {
		t.Errorf("after three are dropped: %+v", dropped)
	}
	if r.Len() != 4 || r.First() != 5 {
		t.Errorf("the ring has changed: %+v", r)
	}
}

// A ring that moves on does not keep what was dropped alive, and older values stay whole.
func TestRingMovesOn(t *testing.T) {
	r := ringbuf.New[sized](1)
	for range 3 {
		r = r.Push(1 << 10)
	}
	old := r
	for range 1000 {
		r = r.Push(1 << 10).Drop(1)
		if r.Len() != 3 {
			t.Fatalf("%d items", r.Len())
		}
	}
	if r.First() != 1001 || r.Last() != 1003 {
		t.Errorf("%d to %d", r.First(), r.Last())
	}
	if old.First() != 1 || old.Len() != 3 || old.From(0)[2] != 1<<10 {
		t.Errorf("an older value: %+v", old)
	}
	if c := cap(r.From(0)); c > 200 {
		t.Errorf("the array of three items has room for %d", c)
	}
}
