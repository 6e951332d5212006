package segmentlog

import (
	"bytes"
	"errors"
	"hash/crc32"
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives a new file its size, and room on the disk. File systems that cannot do the
// latter only do the former.
func allocate(f *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	var err error
	for range 100 {
		if err = unix.Fallocate(int(f.Fd()), 0, 0, size); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(size)
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
		return nil
	}
}

// bootID tells one run of the machine from the next. 0 means unknown.
func bootID() uint32 {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	return max(crc32.ChecksumIEEE(bytes.TrimSpace(id)), 1)
}
