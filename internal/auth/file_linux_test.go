package auth

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A pipe is refused at once: to open it would wait for somebody who writes to it.
func TestKeysFileIsAPipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeys(name); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("%v", err)
	}
}

// A keys file that cannot be read just now is read later, although it does not change again.
func TestWatchWithoutDescriptors(t *testing.T) { synctest.Test(t, testWatchWithoutDescriptors) }

func testWatchWithoutDescriptors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		t.Helper()
		if err := replace(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"name":"k","sha256":"` + strings.Repeat("0a", 32) + `","subscribe":["a"]}`)
	a, err := New(Options{KeysFile: file, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ticks, done := make(chan time.Time), make(chan struct{})
	narrowed := 0
	go func() {
		defer close(done)
		a.Watch(ctx, ticks, func(names []string) { narrowed += len(names) })
	}()
	look := func() {
		for range 2 {
			ticks <- now
			synctest.Wait()
		}
	}
	look()
	write("")
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := syscall.Rlimit{Cur: 1, Max: limit.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	look()
	look()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if narrowed != 0 || a.Failures() != 1 {
		t.Errorf("without descriptors %d keys end, after %d failures", narrowed, a.Failures())
	}
	look()
	if narrowed != 1 {
		t.Error("the key that is gone goes on")
	}
	cancel()
	<-done
}

// stranger is a file of another user.
type stranger struct{ os.FileInfo }

const strangersID = 12345

func (stranger) Sys() any { return &syscall.Stat_t{Uid: strangersID, Gid: strangersID} }

// A keys file belongs to the same user after a key was added to it: the server may not be root, as
// the operator is. Who cannot keep it so is refused.
func TestAddKeyKeepsTheOwner(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, k, err := NewKey("k")
	if err != nil {
		t.Fatal(err)
	}
	if os.Chown(file, strangersID, strangersID) == nil {
		if err := AddKey(file, k); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if of := info.Sys().(*syscall.Stat_t); of.Uid != strangersID || of.Gid != strangersID || info.Mode().Perm() != 0o600 {
			t.Errorf("the file belongs to %d, %d, with the mode %v", of.Uid, of.Gid, info.Mode())
		}
		return
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := chownLike(f, stranger{info}); err == nil || !strings.Contains(err.Error(), "another owner") {
		t.Errorf("%v", err)
	}
}

// A link that names another file, as a container's secrets are changed, counts. One that names no
// file, a file that others may read, a folder or itself keeps the old keys, as a file does that is
// cut off while it is read.
func TestWatchOfALink(t *testing.T) { synctest.Test(t, testWatchOfALink) }

func testWatchOfALink(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	line := func(name string) string {
		return `{"name":"` + name + `","sha256":"` + strings.Repeat("0a", 32) + `","subscribe":["a"]}` + "\n"
	}
	for name, mode := range map[string]os.FileMode{"one": 0o600, "two": 0o600, "open": 0o644} {
		if err := os.WriteFile(at(name), []byte(line(name)), mode); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target string) {
		t.Helper()
		if err := os.Symlink(target, at("new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(at("new"), at("keys")); err != nil {
			t.Fatal(err)
		}
	}
	link("one")
	a, err := New(Options{KeysFile: at("keys"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ticks, done := make(chan time.Time), make(chan struct{})
	var narrowed []string
	go func() {
		defer close(done)
		a.Watch(ctx, ticks, func(names []string) { narrowed = append(narrowed, names...) })
	}()
	want := func(what, names, ended string) {
		t.Helper()
		for range 3 {
			ticks <- now
			synctest.Wait()
		}
		var have []string
		for _, id := range a.Identities() {
			have = append(have, id.Key)
		}
		if got := strings.Join(have, " "); got != names || strings.Join(narrowed, " ") != ended {
			t.Errorf("%s: there are the keys %q, and %q have ended", what, got, narrowed)
		}
		narrowed = nil
	}
	want("at first", "one", "")
	link("two")
	want("another file", "two", "one")
	for _, target := range []string{"nothing", "open", ".", "keys"} {
		link(target)
		want("a link to "+target, "two", "")
	}
	link("two")
	want("back", "two", "")
	f, err := os.OpenFile(at("two"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(20); err != nil {
		t.Fatal(err)
	}
	want("cut off", "two", "")
	if err := os.WriteFile(at("two"), []byte(line("two")+line("three")), 0o600); err != nil {
		t.Fatal(err)
	}
	want("written again", "three two", "")
	cancel()
	<-done
}
