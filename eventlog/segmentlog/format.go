package segmentlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
)

// formatFile names the format of a folder, and its log:
//
//	tidings log, format 1, id 0ksr7z…, check 5f3a…
//
// check is the CRC32C of what stands before its comma, in hexadecimal digits.
const (
	formatFile = "format"
	formatText = "tidings log, format %d, id %s"
)

// formatVersion is the version of the files that this package reads and writes.
const formatVersion = 1

func encodeFormat(version int, id string) []byte {
	text := fmt.Sprintf(formatText, version, id)
	return fmt.Appendf(nil, "%s, check %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

// decodeFormat is the inverse of encodeFormat. It returns false for a damaged file.
func decodeFormat(b []byte) (version int, id string, ok bool) {
	text, _, _ := strings.Cut(string(b), ", check ")
	n, err := fmt.Sscanf(text, formatText, &version, &id)
	return version, id, err == nil && n == 2 && version > 0 && string(encodeFormat(version, id)) == string(b)
}

// oldLog is a name that the folder of an older log has.
const oldLog = "jetstream"

var errOldLog = errors.New("the folder holds a log of an older format, which this version does not read; move the folder away, or choose another one")

func errNewer(version int) error {
	return fmt.Errorf("the folder has format %d, which a newer version has written; this version reads format %d", version, formatVersion)
}

// checkFormat returns the id of the log in a folder, and makes one for a new log. It refuses
// a folder that this package cannot read.
func checkFormat(files fileSystem, dir string, logger *slog.Logger) (id string, err error) {
	names, err := files.list(dir)
	if err != nil {
		return "", err
	}
	if slices.Contains(names, oldLog) {
		return "", errOldLog
	}
	path := filepath.Join(dir, formatFile)
	b, err := files.readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	default:
		version, id, ok := decodeFormat(b)
		switch {
		case ok && version > formatVersion:
			return "", errNewer(version)
		case ok:
			return id, nil
		}
		aside, e := setAside(files, dir, formatFile)
		if e != nil {
			return "", errors.Join(err, e)
		}
		logger.Error("the file that names the format of the log is damaged; it is written anew", "file", path, "aside", aside)
	}
	// Otherwise a loss of power could take the folder of a new log away, with all that it has
	// acknowledged.
	if err := syncName(files, filepath.Clean(dir)); err != nil {
		return "", err
	}
	id = strings.ToLower(rand.Text()[:16])
	return id, replaceFile(files, path, encodeFormat(formatVersion, id))
}
