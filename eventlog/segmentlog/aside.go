package segmentlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// What a start cannot read, and would otherwise overwrite or remove, is set aside: it gets a
// name that ends with asideMark and a number. Nothing reads it. A later one has a greater
// number.
const asideMark = ".damaged-"

// mostAside is how many files in a folder are set aside. The oldest go first: otherwise
// starts that fail one after the other could fill the disk.
const mostAside = 16

// asideNumber returns the number of a file that was set aside, or 0 if name is not one.
func asideNumber(name string) uint64 {
	base, digits, _ := strings.Cut(name, asideMark)
	_, _, ok := parseSegmentName(base)
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || !ok && base != stateFile && base != epochsFile && base != formatFile {
		return 0
	}
	return n
}

// setAside sets a file of a folder aside, and returns its new name.
func setAside(files fileSystem, dir, name string) (string, error) {
	names, err := files.list(dir)
	if err != nil {
		return "", err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return asideNumber(name) == 0 })
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(asideNumber(a), asideNumber(b)) })
	next := uint64(1)
	if n := len(names); n > 0 {
		next = asideNumber(names[n-1]) + 1
	}
	for ; len(names) >= mostAside; names = names[1:] {
		if err := files.remove(filepath.Join(dir, names[0])); err != nil {
			return "", err
		}
	}
	aside := fmt.Sprint(name, asideMark, next)
	if err := files.rename(filepath.Join(dir, name), filepath.Join(dir, aside)); err != nil {
		return "", err
	}
	return aside, files.syncDir(dir)
}

// setAside sets the segment aside without the zeros at its end, and returns its new name. Nobody
// uses the segment.
func (s *segment) setAside() (string, error) {
	if f, err := s.acquire(); err == nil {
		used, err := usedBytes(f)
		if err == nil {
			err = f.Truncate(used)
		}
		s.release()
		if err != nil {
			return "", err
		}
	}
	s.shut()
	if err := s.files.remove(s.sidecar()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return setAside(s.files, filepath.Dir(s.path), filepath.Base(s.path))
}

// usedBytes returns how many bytes of a file come before the zeros at its end. Bytes that
// cannot be read count as others than 0.
func usedBytes(f file) (int64, error) {
	size, err := f.size()
	if err != nil {
		return 0, err
	}
	b := make([]byte, pageBytes)
	for size > 0 {
		from := (size - 1) &^ (pageBytes - 1)
		n, err := f.ReadAt(b[:size-from], from)
		if err != nil || !allZero(b[:n]) {
			return size, nil
		}
		size = from
	}
	return 0, nil
}
