package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// ReadKeys reads a keys file. It refuses a file that others than its owner may read.
func ReadKeys(name string) (Keys, error) {
	b, err := readSecret(name)
	if err != nil {
		return nil, err
	}
	keys, err := ParseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("the keys file %s: %w", name, err)
	}
	return keys, nil
}

// readKeyFile reads a file that only its owner may read, if it has a secret.
func readKeyFile(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil || bytes.Contains(b, []byte("-----BEGIN PUBLIC KEY-----")) {
		return b, err
	}
	return readSecret(name)
}

// readSecret reads a file that only its owner may read. On Windows, whose permissions are
// others, it does not look at them.
func readSecret(name string) ([]byte, error) {
	// To open a pipe would wait for whoever writes to it.
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("others may read the file %s: its mode is %04o, and has to be 0600 (chmod 600 %[1]s)", name, mode)
	}
	if info.Size() > 16<<20 {
		return nil, fmt.Errorf("the file %s has more than 16 MiB", name)
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return nil, err
	}
	return b, nil
}

// AddKey adds a key to a keys file, or makes the file. It renames a new file over the old one,
// so that nobody reads a half. Of two at a time, one waits for the other.
func AddKey(name string, k Key) (err error) {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target // or a rename would replace the link
	}
	unlock, err := lock(name + ".lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	b, err := readSecret(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	keys, err := ParseKeys(b)
	if err != nil {
		return fmt.Errorf("the keys file %s: %w", name, err)
	}
	if _, ok := keys[k.Name]; ok {
		return fmt.Errorf("the keys file %s has a key %s already: give the new one another name", name, k.Name)
	}
	line, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(b, '\n')
	}
	return replace(name, append(append(b, line...), '\n'))
}

// lockWait is how long lock waits.
var lockWait = 5 * time.Second

// lock makes a file that is not there, or waits until whoever has made it removes it.
func lock(name string) (unlock func() error, err error) {
	for until := time.Now().Add(lockWait); ; time.Sleep(10 * time.Millisecond) {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		switch {
		case err == nil:
			return func() error { return os.Remove(name) }, f.Close()
		case !errors.Is(err, fs.ErrExist):
			return nil, err
		case time.Now().After(until):
			return nil, fmt.Errorf("another command is changing the keys file: if that is not so, remove %s", name)
		}
	}
}

// replace writes a file by renaming another one over it. The owner stays the same: the server may
// run as another user than the operator.
func replace(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*") // its mode is 0600
	if err != nil {
		return err
	}
	if info, there := os.Stat(name); there == nil {
		err = chownLike(f, info)
	}
	if err == nil {
		_, err = f.Write(b)
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
