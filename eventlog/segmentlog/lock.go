package segmentlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
)

// lockFile is locked while a log is open, and holds the process id. Two servers in
// one folder would both acknowledge messages, and give different messages the same
// sequence number.
const lockFile = "lock"

// lock locks a folder. Its error names the process that has the lock.
func lock(dir string) (*flock.Flock, error) {
	name := filepath.Join(dir, lockFile)
	l := flock.New(name, flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("the data folder %q cannot be locked: %w", dir, err)
	case !ok:
		if id := holder(name); id != "" {
			return nil, fmt.Errorf("the data folder %q is in use by another process (pid %s)", dir, id)
		}
		return nil, fmt.Errorf("the data folder %q is in use by another process", dir)
	}
	// Another process's error names this id. The lock does not need it.
	_ = os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
	return l, nil
}

// holder returns the process id in a lock file, if it can be read.
func holder(name string) string {
	data, _ := os.ReadFile(name)
	id := strings.TrimSpace(string(data))
	if _, err := strconv.Atoi(id); err != nil {
		return ""
	}
	return id
}
