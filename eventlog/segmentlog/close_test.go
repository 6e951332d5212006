package segmentlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// Close ends everything, whatever is under way: appenders, with keys and without, readers,
// tails, removers, and the index that is being made again.
func TestCloseUnderWay(t *testing.T) {
	origin := t.TempDir()
	l := opened(t, Options{Dir: origin, Sync: time.Second, segmentBytes: 256 << 10, Logger: quiet()})
	publishMany(t, l, 70_000, 10)
	closeLog(t, l)
	for round := range 4 {
		dir := copyFolder(t, origin)
		if round%2 == 0 {
			if err := os.RemoveAll(filepath.Join(dir, storePrefix)); err != nil {
				t.Fatal(err)
			}
		}
		l := opened(t, Options{Dir: dir, Sync: time.Duration(round%3) * time.Millisecond, segmentBytes: 256 << 10, Logger: quiet()})
		var all sync.WaitGroup
		var running sync.WaitGroup
		stored := make([]uint64, 4)
		run := func(f func(i int) error) {
			running.Add(1)
			all.Go(func() {
				for i := 0; ; i++ {
					err := f(i)
					if i == 0 {
						running.Done()
					}
					if errors.Is(err, eventlog.ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("an error before the end: %v", err)
						return
					}
				}
			})
		}
		for who := range stored {
			run(func(i int) error {
				m := eventlog.Message{Topic: "a", Data: "data"}
				if who == 0 && round >= 2 {
					m.Key = fmt.Sprint(i)
				}
				a := l.Append(context.Background(), []eventlog.Message{m})[0]
				if a.Err == nil {
					stored[who] = max(stored[who], a.ID.Seq)
				}
				return a.Err
			})
		}
		run(func(i int) error {
			_, err := l.Read(context.Background(), eventlog.Query{Filters: topics.MustFilters("t.1"), After: 0, UpTo: 70_000, MaxRecords: 1000, MaxBytes: 1 << 20})
			return err
		})
		run(func(i int) error {
			_, err := l.Topics(context.Background(), filterOf("**"), "", 100)
			return err
		})
		run(func(i int) error {
			_, err := l.Remove(context.Background(), []uint64{uint64(i + 1)})
			return err
		})
		all.Go(func() {
			for _, err := range l.Tail(context.Background(), generation, 0) {
				if err != nil {
					t.Errorf("Tail: %v", err)
				}
			}
		})
		running.Wait()
		closeLog(t, l)
		all.Wait()
		await(t, "the end of all descriptors", func() bool { return openIn(t, dir) == 0 })
		last := uint64(0)
		for _, seq := range stored {
			last = max(last, seq)
		}
		l = opened(t, Options{Dir: dir, Logger: quiet()})
		c := read(t, l)
		if c.last < last || len(c.lost) > 0 {
			t.Errorf("the log ends with %d, and %d was acknowledged; lost is %v", c.last, last, c.lost)
		}
		l.indexed(t)
		if n, _, err := l.Count(t.Context(), topics.MustFilters("t.1", "t.2"), 0); err != nil || n != countTopics(c, "t.1", "t.2") {
			t.Errorf("Count is %d, %v; there are %d", n, err, countTopics(c, "t.1", "t.2"))
		}
		closeLog(t, l)
	}
}

func countTopics(c contents, names ...string) (n uint64) {
	for _, r := range c.records {
		for _, name := range names {
			if r.Topic == name {
				n++
			}
		}
	}
	return n
}

// A folder that another log has open is refused, in this process and in another one; so are
// folders of an older or a newer format. The error is one sentence.
func TestRefused(t *testing.T) {
	refused := func(what, dir, want string) {
		t.Helper()
		l, err := Open(t.Context(), &Options{Dir: dir, Logger: quiet()})
		if err == nil {
			closeLog(t, l)
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the error is %v", what, err)
		}
		if n := openIn(t, dir); err != nil && what != "in use" && n != 0 {
			t.Errorf("%s: %d files are open", what, n)
		}
	}
	old := t.TempDir()
	if err := os.Mkdir(filepath.Join(old, oldLog), 0o700); err != nil {
		t.Fatal(err)
	}
	refused("old", old, "older format")
	if entries, _ := os.ReadDir(old); len(entries) > 2 { // the lock is the other one
		t.Errorf("files are made in the folder of an older log: %v", entries)
	}
	newer := t.TempDir()
	if err := os.WriteFile(filepath.Join(newer, formatFile), encodeFormat(formatVersion+1, "abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("newer", newer, fmt.Sprintf("format %d", formatVersion+1))

	dir := t.TempDir()
	l := opened(t, Options{Dir: dir})
	publish(t, l, eventlog.Message{Topic: "a"})
	refused("in use", dir, fmt.Sprintf("in use by another process (pid %d)", os.Getpid()))
	start := func() (string, error) {
		p := exec.Command(os.Args[0])
		p.Env = append(os.Environ(), roleVariable+"=open", folderVariable+"="+dir)
		out, err := p.CombinedOutput()
		return string(out), err
	}
	if out, err := start(); err == nil || !strings.Contains(out, "in use by another process") {
		t.Errorf("another process: %v, %q", err, out)
	}
	publish(t, l, eventlog.Message{Topic: "a"})
	closeLog(t, l)
	if out, err := start(); err != nil {
		t.Errorf("another process, after the end: %v, %q", err, out)
	}
	l = opened(t, Options{Dir: dir})
	if c := read(t, l); len(c.records) != 2 || len(c.lost) > 0 {
		t.Errorf("%d records, lost: %v", len(c.records), c.lost)
	}
	closeLog(t, l)
}
