//go:build !linux

package server

import "math"

// descriptors returns no limit.
func descriptors() int { return math.MaxInt }
