//go:build !linux

package segmentlog

import "testing"

// blockIndex skips the test: only Linux mounts a folder that nobody can write.
func blockIndex(t *testing.T, _ string) { t.Skip("needs Linux") }
