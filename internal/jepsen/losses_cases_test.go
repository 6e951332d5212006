//go:build unix

package jepsen_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// aBlock returns a block file with records of these lengths. Each second one has headers.
func aBlock(lengths ...int) (content []byte, begins []int) {
	for i, n := range lengths {
		begins = append(begins, len(content))
		record := make([]byte, n)
		binary.LittleEndian.PutUint32(record, uint32(n)|uint32(i%2)<<31)
		content = append(content, record...)
	}
	return content, begins
}

func TestOffsets(t *testing.T) {
	content, begins := aBlock(60, 100, 50, 47)
	if got := offsets(content); !slices.Equal(got, begins) {
		t.Errorf("records begin at %d, want %d", got, begins)
	}
	if got := offsets(content[:len(content)-1]); !slices.Equal(got, begins[:3]) {
		t.Errorf("without the last byte, records begin at %d, want %d", got, begins[:3])
	}
	if got := offsets(make([]byte, 100)); len(got) > 0 {
		t.Errorf("in zeros, records begin at %d", got)
	}
}

// A truncated block ends where a record has begun. A flipped bit is in a record, not in its
// length.
func TestDamage(t *testing.T) {
	whole, begins := aBlock(60, 100, 50, 47)
	for n := range uint64(100) {
		s := &schedule{r: rand.New(rand.NewPCG(n, 0))}
		if rest := truncate(s, whole); !slices.Contains(begins, len(rest)) {
			t.Errorf("seed %d: %d bytes are left", n, len(rest))
		}
		damaged := flip(s, slices.Clone(whole))
		different := 0
		for i := range whole {
			if whole[i] != damaged[i] {
				different++
			}
		}
		if different != 1 || !slices.Equal(offsets(damaged), begins) {
			t.Errorf("seed %d: %d bytes are different, records begin at %d", n, different, offsets(damaged))
		}
	}
}
