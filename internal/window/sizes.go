package window

import (
	"slices"
	"sync"
)

// largestClass is the size of the largest objects that the allocator has classes for. It takes
// whole pages for larger ones.
const (
	largestClass = 32 << 10
	pageBytes    = 8 << 10
)

// sizeClasses returns the sizes of the allocator's classes.
var sizeClasses = sync.OnceValue(func() (sizes []int) {
	for n := 0; n < largestClass; {
		n = cap(slices.Grow([]byte(nil), n+1))
		sizes = append(sizes, n)
	}
	return sizes
})

// smallest is a step of the sizes of small objects. smallSizes has what they take, by (size+smallest-1)/smallest.
const smallest = 8

var smallSizes = sync.OnceValue(func() *[129]uint16 {
	var sizes [129]uint16
	for i := range sizes {
		sizes[i] = uint16(classOf(i * smallest))
	}
	return &sizes
})

// classOf returns the size of the smallest class for an object of n bytes.
func classOf(n int) int {
	sizes := sizeClasses()
	i, _ := slices.BinarySearch(sizes, n)
	return sizes[i]
}

// allocated returns how many bytes the allocator takes for an object of n bytes without
// pointers.
func allocated(n int) int {
	switch {
	case n == 0:
		return 0
	case n > largestClass:
		return (n + pageBytes - 1) &^ (pageBytes - 1)
	}
	if small, i := smallSizes(), (n+smallest-1)/smallest; i < len(small) {
		return int(small[i])
	}
	return classOf(n)
}
