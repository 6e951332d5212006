package bench_test

import (
	"fmt"
	"math"
	"testing"

	"example.com/tidings/internal/bench"
)

func TestMarkerComesBack(t *testing.T) {
	for _, size := range []int{bench.MinPayload, bench.MinPayload + 1, 100, 10_000} {
		for _, want := range []bench.Marker{
			bench.NewMarker(0, 0, 0, 0),
			bench.NewMarker(math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxInt64),
			bench.NewMarker(0x01234567, 0x89abcdef, 0xfedcba98, 0x7654321001234567),
			bench.NewMarker(1, 2, 3, 4),
		} {
			data := bench.NewData(size)
			want.Put(data)
			if got, ok := bench.ParseMarker(data); !ok || got != want || len(data) != size {
				t.Errorf("%q: %+v %v, want %+v", data, got, ok, want)
			}
		}
	}
}

// The text has the documented form.
func TestMarkerText(t *testing.T) {
	data := bench.NewData(60)
	bench.NewMarker(0x0badcafe, 12, 0xa0, 0x1234567890).Put(data)
	var sum, run, topic, seq uint32
	var at int64
	var filler string
	if _, err := fmt.Sscanf(string(data), "%08x %08x %08x %08x %016x%s", &sum, &run, &topic, &seq, &at, &filler); err != nil ||
		run != 0x0badcafe || topic != 12 || seq != 0xa0 || at != 0x1234567890 || filler != "xxxxxxxx" {
		t.Errorf("%q: %v", data, err)
	}
}

// parseMarker notices any changed, missing or added byte.
func TestMarkerNoticesEveryChange(t *testing.T) {
	data := bench.NewData(70)
	bench.NewMarker(7, 1, 42, 1e9).Put(data)
	for i := range data {
		for c := range 256 {
			changed := append([]byte(nil), data...)
			if changed[i] = byte(c); byte(c) == data[i] {
				continue
			}
			if m, ok := bench.ParseMarker(changed); ok {
				t.Errorf("byte %d is %#x: %+v", i, c, m)
			}
		}
		if m, ok := bench.ParseMarker(data[:i]); ok {
			t.Errorf("cut to %d bytes: %+v", i, m)
		}
	}
	if m, ok := bench.ParseMarker(append(data, 'x')); ok {
		t.Errorf("a byte more: %+v", m)
	}
}

// parseMarker returns the marker that Put wrote, and notices a changed byte.
func FuzzMarker(f *testing.F) {
	f.Add(uint32(7), uint32(1), uint32(42), int64(1e9), uint16(0), uint16(3), byte('x'))
	f.Fuzz(func(t *testing.T, run, topic, seq uint32, at int64, more, i uint16, c byte) {
		data := bench.NewData(bench.MinPayload + int(more%100))
		want := bench.NewMarker(run, topic, seq, at)
		want.Put(data)
		if got, ok := bench.ParseMarker(data); !ok || got != want {
			t.Fatalf("%q: %+v %v, want %+v", data, got, ok, want)
		}
		at1 := int(i) % len(data)
		changed := data[at1] != c
		data[at1] = c
		if _, ok := bench.ParseMarker(data); ok == changed {
			t.Errorf("%q: %v after byte %d was changed: %v", data, ok, at1, changed)
		}
	})
}
