//go:build !linux

package segmentlog

import "os"

// allocate gives a new file its size. Room on the disk is found when it is written.
func allocate(f *os.File, size int64) error { return f.Truncate(size) }

func syncData(f *os.File) error { return f.Sync() }

// bootID tells one run of the machine from the next. 0 means unknown.
func bootID() uint32 { return 0 }
