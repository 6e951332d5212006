package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatch(t *testing.T) { synctest.Test(t, testWatch) }

func testWatch(t *testing.T) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	ctx, cancel := context.WithCancel(t.Context())
	ticks, done := make(chan time.Time), make(chan struct{})
	changes := 0
	go func() {
		defer close(done)
		Watch(ctx, ticks, files, func() { changes++ })
	}()
	look := func(n int) {
		for range n {
			ticks <- time.Time{}
			synctest.Wait()
		}
	}
	write := func(name, text string) {
		t.Helper()
		// A new file, as an editor or a renewal makes it: the time of a file may be coarse.
		if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	want := func(n int) {
		t.Helper()
		look(2)
		if changes != n {
			t.Fatalf("%d changes, want %d", changes, n)
		}
	}
	want(1)
	write(files[0], "1")
	want(2)
	write(files[1], "1")
	want(3)
	want(3)
	write(files[1], "22")
	look(1)
	write(files[1], "1") // it was being written
	want(4)
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	want(5)
	cancel()
	<-done
}
