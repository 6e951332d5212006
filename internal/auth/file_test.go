package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Keys that are added at the same time are all there.
func TestAddKeyAtOnce(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys")
	var all sync.WaitGroup
	const n = 8
	for i := range n {
		all.Go(func() {
			_, k, err := NewKey(fmt.Sprint("key-", i))
			if err == nil {
				err = AddKey(name, k)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	keys, err := ReadKeys(name)
	if err != nil || len(keys) != n {
		t.Errorf("%d keys are left of %d, %v", len(keys), n, err)
	}
	if left, err := filepath.Glob(name + "*"); err != nil || len(left) != 1 {
		t.Errorf("%q, %v", left, err)
	}
}

// A lock that somebody has left is named.
func TestAddKeyLocked(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	defer func(was time.Duration) { lockWait = was }(lockWait)
	lockWait = 0
	_, k, err := NewKey("k")
	if err != nil {
		t.Fatal(err)
	}
	if err := AddKey(name, k); err == nil || !strings.Contains(err.Error(), name+".lock") {
		t.Errorf("%v", err)
	}
}

// A key is added to the file that a link names, and the link stays.
func TestAddKeyThroughLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "keys"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil && runtime.GOOS == "windows" {
		t.Skip(err) // not everybody may make links there
	} else if err != nil {
		t.Fatal(err)
	}
	_, k, err := NewKey("k")
	if err == nil {
		err = AddKey(link, k)
	}
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
	if keys, err := ReadKeys(file); err != nil || len(keys) != 1 {
		t.Errorf("%v, %v", keys, err)
	}
}

// What is no file is refused.
func TestKeysFileIsADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeys(dir); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("%v", err)
	}
	_, k, err := NewKey("k")
	if err != nil {
		t.Fatal(err)
	}
	if err := AddKey(dir, k); err == nil {
		t.Error("a key is added to a directory")
	}
}
