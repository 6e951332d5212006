package jetlog

import (
	"os"

	"golang.org/x/sys/windows"
)

// freeBytes returns how many bytes can still be written to the disk that holds dir.
func freeBytes(dir string) (int64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, &os.PathError{Op: "GetDiskFreeSpaceEx", Path: dir, Err: err}
	}
	return int64(free), nil
}

// syncDir does nothing: Windows itself makes file names durable.
func syncDir(string) error { return nil }
