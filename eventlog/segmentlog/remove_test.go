package segmentlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// inFolder returns the files of a folder that have some text.
func inFolder(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if bytes.Contains(b, []byte(text)) {
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// When Remove returns, the data, type and key are in no file: neither in the folder nor in
// a hard link of a segment, whether the record is in the newest segment or in another one,
// and whether or not the index has it.
func TestRemovedBytesAreGone(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Sync: time.Second, segmentBytes: 256 << 10, Logger: quiet()}
	l := opened(t, opts)
	secrets := []string{"SECRETDATA", "SECRETTYPE", "SECRETKEY"}
	secret := eventlog.Message{Topic: "topic", Type: secrets[1], Key: secrets[2], Data: strings.Repeat(secrets[0], 1000)}
	var seqs []uint64
	hide := func(l *Log, n int) {
		t.Helper()
		for i := range n {
			m := secret
			m.Key += fmt.Sprint(len(seqs), i)
			seqs = append(seqs, publish(t, l, m)...)
		}
	}
	hide(l, 1)
	publishMany(t, l, 70_000, 1)
	hide(l, 2)
	l.indexed(t)
	closeLog(t, l)
	l = opened(t, opts)
	hide(l, 2)
	publishMany(t, l, 3000, 100)
	hide(l, 2)
	backup := t.TempDir()
	for _, name := range segmentFiles(t, opts.Dir) {
		if err := os.Link(name, filepath.Join(backup, filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(inFolder(t, opts.Dir, secrets[0])); n < 3 {
		t.Fatalf("the records are in %d files", n)
	}
	if n, err := l.Remove(t.Context(), seqs); n != len(seqs) || err != nil {
		t.Fatal(n, err)
	}
	gone := func(what string) {
		t.Helper()
		for _, s := range secrets {
			for _, dir := range []string{opts.Dir, backup} {
				if found := inFolder(t, dir, s); len(found) > 0 {
					t.Errorf("%s: %s is in %v", what, s, found)
				}
			}
		}
	}
	gone("when Remove has returned")
	killed := copyFolder(t, opts.Dir)
	closeLog(t, l)
	gone("after a clean end")
	for _, dir := range []string{opts.Dir, killed} {
		l = opened(t, Options{Dir: dir, Logger: quiet()})
		c := read(t, l)
		if n := len(numbers(c.removed)); n != len(seqs) || len(c.lost) > 0 {
			t.Errorf("%d records are told as removed, and as lost %v", n, c.lost)
		}
		for i := range seqs {
			m := secret
			m.Key, m.Data = m.Key+"00", fmt.Sprint("other", i)
			if i == 0 {
				publish(t, l, m) // the key may be used again
			}
		}
		closeLog(t, l)
	}
}

// What is left of lost records is overwritten when Remove gets all numbers that are lost
// there. Those around it stay.
func TestRemoveLost(t *testing.T) {
	const secret = "SECRET"
	for _, where := range []string{"newest", "older", "end of an older one"} {
		t.Run(where, func(t *testing.T) {
			opts := Options{Dir: t.TempDir(), segmentBytes: 256 << 10, verifyRate: 1, Logger: quiet(), files: unsynced{}}
			l := opened(t, opts)
			publishMany(t, l, 100, 100)
			hidden := publish(t, l, eventlog.Message{Topic: "a", Data: secret + "1"}, eventlog.Message{Topic: "a", Data: secret + "2"})
			if where != "end of an older one" {
				publishMany(t, l, 100, 100)
			}
			if where != "newest" {
				closeLog(t, l)
				l = opened(t, opts)
				publishMany(t, l, 100, 100)
			}
			l.indexed(t) // otherwise the index may find out what is lost
			rewrite(t, segmentFiles(t, opts.Dir)[0], func(b []byte) []byte {
				return bytes.ReplaceAll(b, []byte(secret), []byte(strings.ToLower(secret)))
			})
			there := len(intact(t, opts.Dir))
			left := func() (n int) {
				for _, name := range segmentFiles(t, opts.Dir) {
					if b, err := os.ReadFile(name); err != nil || bytes.Contains(b, []byte(strings.ToLower(secret))) {
						n++
					}
				}
				return n
			}
			for _, part := range [][]uint64{hidden[:1], hidden[1:], {hidden[0], hidden[1] + 1_000_000}} {
				if n, err := l.Remove(t.Context(), part); n != 0 || err != nil || left() != 1 {
					t.Fatalf("Remove of %d has removed %d, %v; the rest is in %d files", part, n, err, left())
				}
			}
			if n, err := l.Remove(t.Context(), append([]uint64{1}, hidden...)); n != 1 || err != nil || left() != 0 {
				t.Errorf("Remove has removed %d, %v; the rest is in %d files", n, err, left())
			}
			c := read(t, l)
			if want := []span{{hidden[0], hidden[1]}}; !slices.Equal(c.lost, want) || len(c.records) != there-1 || len(c.removed) != 1 {
				t.Errorf("lost are %v, removed %v, and %d records are there, want %d", c.lost, c.removed, len(c.records), there-1)
			}
			closeLog(t, l)
		})
	}
}

// A reader that meets a record which is being erased never takes it for lost. Read and Tail
// agree on what is there.
func TestReadWhileRecordsAreErased(t *testing.T) {
	l := opened(t, Options{Sync: time.Second, segmentBytes: 512 << 10, Logger: quiet()})
	const n, size = 200, 20_000
	publishMany(t, l, n, size)
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	var rounds atomic.Int64
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				for after := uint64(0); after < n; {
					b, err := l.Read(ctx, eventlog.Query{Filters: topics.MustFilters("**"), After: after, UpTo: n, MaxRecords: 10, MaxBytes: 1 << 20})
					if ctx.Err() != nil {
						return
					}
					if err != nil || b.Reason == sse.GapLost {
						t.Errorf("Read after %d: hole to %d, %s, %v", after, b.Hole, b.Reason, err)
						return
					}
					for _, r := range b.Records {
						if len(r.Data) < size || strings.Trim(r.Data, "0123456789x") != "" {
							t.Errorf("record %d is half erased", r.Seq)
						}
					}
					after = b.Through
				}
				rounds.Add(1)
			}
		})
	}
	for seq := uint64(1); seq <= n; seq++ {
		if seq%3 == 0 {
			continue
		}
		if removed, err := l.Remove(t.Context(), []uint64{seq}); removed != 1 || err != nil {
			t.Fatal(removed, err)
		}
	}
	before := rounds.Load()
	await(t, "another round of the readers", func() bool { return rounds.Load() > before+1 || t.Failed() })
	cancel()
	readers.Wait()
	c := read(t, l)
	tailed := map[uint64]bool{}
	st, _ := l.State(t.Context())
	for records, err := range l.Tail(t.Context(), st.Generation, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			tailed[r.Seq] = true
			if c.records[r.Seq] != r {
				t.Errorf("Tail yields %d, which Read does not", r.Seq)
			}
		}
		if len(tailed) >= len(c.records) {
			break
		}
	}
	closeLog(t, l)
}

// A Remove that finds no room says so. What it has erased by then is gone for readers of all
// kinds, and a later call erases the rest.
func TestRemoveOnAFullDisk(t *testing.T) {
	files := &faulty{}
	opts := Options{Dir: t.TempDir(), files: files, segmentBytes: 64 << 10, Logger: quiet()}
	l := opened(t, opts)
	publishMany(t, l, 300, 1000)
	var seqs []uint64
	for seq := uint64(1); seq <= 300; seq += 10 {
		seqs = append(seqs, seq)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	writes := 0
	files.set(func(call, name string) error {
		if call == "write" && strings.HasSuffix(name, segmentSuffix) {
			if writes++; writes > 10 {
				return syscall.ENOSPC
			}
		}
		return nil
	})
	first, err := l.Remove(t.Context(), seqs)
	if first != 10 || !errors.Is(err, eventlog.ErrFull) || l.Err() != nil {
		t.Fatalf("Remove: %d, %v; the log: %v", first, err, l.Err())
	}
	modelOf(t, l).agrees(t, l, "after the first", rnd)
	files.set(nil)
	if n, err := l.Remove(t.Context(), seqs); n != len(seqs)-10 || err != nil {
		t.Errorf("Remove again: %d, %v", n, err)
	}
	modelOf(t, l).agrees(t, l, "after the second", rnd)
	closeLog(t, l)
	l = opened(t, opts)
	modelOf(t, l).agrees(t, l, "after a start", rnd)
	closeLog(t, l)
}
