//go:build !linux && !darwin

package bench

import "time"

// roomForFiles has nothing to raise here.
func roomForFiles(int) error { return nil }

// ownCPU is not known here.
func ownCPU() (time.Duration, bool) { return 0, false }
