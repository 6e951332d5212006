package segmentlog

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// freeBytes returns how many bytes can still be written to the disk that holds dir, and how
// large the disk is.
func freeBytes(dir string) (free, total int64, err error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	var available, size uint64
	if err := windows.GetDiskFreeSpaceEx(name, &available, &size, nil); err != nil {
		return 0, 0, err
	}
	return int64(available), int64(size), nil
}

// fileID returns 0.
func fileID(os.FileInfo) uint64 { return 0 }

// syncDir does nothing: Windows makes the file names in a folder durable by itself.
func syncDir(string) error { return nil }

// tooBusy reports whether an error says that the process or the machine lacks what a call
// needs, or that another program uses the file. It says nothing about the file.
func tooBusy(err error) bool {
	return errors.Is(err, windows.ERROR_TOO_MANY_OPEN_FILES) || errors.Is(err, windows.ERROR_NO_SYSTEM_RESOURCES) ||
		errors.Is(err, windows.ERROR_NOT_ENOUGH_MEMORY) || errors.Is(err, windows.ERROR_SHARING_VIOLATION)
}

// noRoom reports whether an error says that the disk is full.
func noRoom(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
