package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"example.com/tidings/eventlog"
)

// cursorDelay is how long after the output the cursor is written at most.
const cursorDelay = 100 * time.Millisecond

// A cursorFile holds the id of the last event whose output was written. It is replaced, so that a
// reader finds the whole id at any time. Its methods may be called concurrently.
type cursorFile struct {
	path string

	mu      sync.Mutex
	id      string
	saved   string
	pending *time.Timer // not nil while the file is to be written
	err     error       // of the last time
}

// openCursor returns the file's cursor, and the id that it holds, or "" if there is no file yet.
func openCursor(path string) (*cursorFile, string, error) {
	if at, err := filepath.EvalSymlinks(path); err == nil {
		path = at // a link stays one
	}
	c := &cursorFile{path: path}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, "", c.tryOut()
	case err != nil:
		return nil, "", fmt.Errorf("--cursor: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if _, err := eventlog.ParsePosition(id); err != nil && id != "" {
		return nil, "", fmt.Errorf("--cursor: %s holds no id of an event; remove the file to begin anew", path)
	}
	c.id, c.saved = id, id
	return c, id, nil
}

// tryOut finds out that the file cannot be written before anything is read.
func (c *cursorFile) tryOut() error {
	f, err := os.CreateTemp(filepath.Dir(c.path), ".tidings-cursor-*")
	if err != nil {
		return fmt.Errorf("--cursor: %w", err)
	}
	f.Close()
	return os.Remove(f.Name())
}

// move notes that everything up to an event was written. It returns the error of a file that could
// not be written. An id that is none of a hub is passed over.
func (c *cursorFile) move(id string) error {
	if _, err := eventlog.ParsePosition(id); err != nil || c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id = id
	if c.pending == nil && c.id != c.saved {
		c.pending = time.AfterFunc(cursorDelay/2, func() { c.save() })
	}
	return c.err
}

// save writes the file now, unless it has the id.
func (c *cursorFile) save() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending != nil {
		c.pending.Stop()
		c.pending = nil
	}
	if c.id == c.saved {
		return c.err
	}
	if c.err = c.replace(); c.err == nil {
		c.saved = c.id
	}
	return c.err
}

// replace writes a new file in place of the old one. Callers hold mu.
func (c *cursorFile) replace() error {
	f, err := os.CreateTemp(filepath.Dir(c.path), ".tidings-cursor-*")
	if err != nil {
		return failure{fmt.Errorf("--cursor: %w", err)}
	}
	_, err = f.WriteString(c.id + "\n")
	if info, statErr := os.Stat(c.path); err == nil && statErr == nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if err == nil {
		err = f.Sync() // or a loss of power may leave an empty file
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), c.path)
	}
	if err != nil {
		os.Remove(f.Name())
		return failure{fmt.Errorf("--cursor: %w", err)}
	}
	return nil
}
