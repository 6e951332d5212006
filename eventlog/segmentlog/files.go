package segmentlog

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// A fileSystem holds the files of a log, but those of the index. Names are paths.
type fileSystem interface {
	// mkdir makes a folder. Those above it must be there.
	mkdir(name string) error
	// create makes a new file of a size, allocated where the system can do that.
	create(name string, size int64) (file, error)
	open(name string) (file, error)
	readFile(name string) ([]byte, error)
	rename(from, to string) error
	remove(name string) error
	list(dir string) ([]string, error)
	syncDir(dir string) error
	free(dir string) (free, total int64, err error)
	// same reports whether a name is that of a file which this file system has opened.
	same(name string, f file) (bool, error)
}

// A file is open for reading and writing.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	size() (int64, error)
	id() uint64 // tells the file from others of its name, as a copy of it; 0 means unknown
	Truncate(size int64) error
	sync() error // returns when the data is on the disk
}

// disk is the machine's file system.
type disk struct{}

type diskFile struct{ *os.File }

func (disk) mkdir(name string) error { return os.Mkdir(name, 0o700) }

func (disk) create(name string, size int64) (file, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := allocate(f, size); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(name))
	}
	return diskFile{f}, nil
}

func (disk) open(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (disk) readFile(name string) ([]byte, error)           { return os.ReadFile(name) }
func (disk) rename(from, to string) error                   { return os.Rename(from, to) }
func (disk) remove(name string) error                       { return os.Remove(name) }
func (disk) syncDir(dir string) error                       { return syncDir(dir) }
func (disk) free(dir string) (free, total int64, err error) { return freeBytes(dir) }

func (disk) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (disk) same(name string, f file) (bool, error) {
	there, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ESTALE) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	held, err := f.(diskFile).Stat()
	return err == nil && os.SameFile(there, held), err
}

func (f diskFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f diskFile) sync() error { return syncData(f.File) }

func (f diskFile) id() uint64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return fileID(info)
}

// makeDir makes a folder and those above it, as far as they are missing. The names of those
// that it makes are durable when it returns.
func makeDir(files fileSystem, dir string) error {
	err := files.mkdir(dir)
	if above := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && above != dir {
		if err = makeDir(files, above); err == nil {
			err = files.mkdir(dir)
		}
	}
	switch {
	case err == nil:
		return syncName(files, dir)
	case errors.Is(err, fs.ErrExist):
		return nil
	}
	return err
}

// syncName makes the name of a file or a folder durable, where the system lets it.
func syncName(files fileSystem, name string) error {
	err := files.syncDir(filepath.Dir(name))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// replaceFile writes a file so that after a crash at any point it has either the old
// content or the new one, which is on the disk when replaceFile returns.
func replaceFile(files fileSystem, name string, content []byte) error {
	next := name + ".new"
	if err := files.remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := files.create(next, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err := errors.Join(err, f.sync(), f.Close()); err != nil {
		return err
	}
	if err := files.rename(next, name); err != nil {
		return err
	}
	return files.syncDir(filepath.Dir(name))
}
