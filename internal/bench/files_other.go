//go:build !linux && !darwin

package bench

import "time"

// roomForFiles does nothing: this system has no limit to raise.
func roomForFiles(int) error { return nil }

// ownCPU reports false: this system does not tell.
func ownCPU() (time.Duration, bool) { return 0, false }
