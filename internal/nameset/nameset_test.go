package nameset_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"example.com/tidings/internal/nameset"
)

// A set has the names that were added and not removed, in their order.
func TestSet(t *testing.T) {
	var s nameset.Set
	want := map[string]bool{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		name := fmt.Sprint(r.IntN(5000))
		if i > 15_000 || r.IntN(3) == 0 {
			s.Remove(name)
			delete(want, name)
		} else {
			s.Add(name)
			want[name] = true
		}
		if s.Has(name) != want[name] || s.Len() != len(want) {
			t.Fatalf("after %d steps: %s: %v, %d names", i, name, s.Has(name), s.Len())
		}
	}
	names := slices.Sorted(maps.Keys(want))
	if got := s.After(nil, "", len(names)+1); !slices.Equal(got, names) {
		t.Fatalf("%d names, want %d", len(got), len(names))
	}
	for _, after := range []string{"", "0", "12", "12x", names[len(names)/2], "5", "z"} {
		i, ok := slices.BinarySearch(names, after)
		if ok {
			i++
		}
		want := names[i:min(len(names), i+7)]
		if got := s.After(nil, after, 7); !slices.Equal(got, want) {
			t.Errorf("after %q: %q, want %q", after, got, want)
		}
	}
	for _, name := range names {
		s.Remove(name)
	}
	if got := s.After(nil, "", 1); s.Len() != 0 || len(got) != 0 || s.Has("") {
		t.Errorf("empty: %d, %q", s.Len(), got)
	}
}
