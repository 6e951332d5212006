package segmentlog

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// mountOver mounts an empty disk over a folder until the test ends.
func mountOver(t *testing.T, dir, size string) {
	t.Helper()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("mounting a small disk: %v", err)
	} else if err != nil {
		t.Fatalf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting the small disk: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
}

// rename renames a file or a folder.
func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// entries returns what stands below a folder.
func entries(t *testing.T, dir string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, pattern := range []string{"*", "*/*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			found[name] = true
		}
	}
	return found
}

// A log whose folder is taken away, or the file that it writes to, stores nothing more within
// a second. It leaves alone what is in the folder's place. The time is that of a bubble.
func TestFolderTaken(t *testing.T) {
	const folder, segment = "was removed or replaced while the log was open", "was removed or replaced while the log wrote to it"
	for _, tt := range []struct {
		name string
		take func(t *testing.T, dir string)
		says string
		back func(t *testing.T, dir string) // puts back what was acknowledged, or nil
	}{
		{"removed", func(t *testing.T, dir string) {
			// The log makes files meanwhile, such as those of the index.
			await(t, "the removal", func() bool { return os.RemoveAll(dir) == nil })
		}, folder, nil},
		{"renamed", func(t *testing.T, dir string) { rename(t, dir, dir+".old") }, folder, func(t *testing.T, dir string) { rename(t, dir+".old", dir) }},
		{"replaced by an empty folder", func(t *testing.T, dir string) {
			rename(t, dir, dir+".old")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}, folder, func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil { // which fails if it is not empty
				t.Fatal(err)
			}
			rename(t, dir+".old", dir)
		}},
		{"replaced by a copy", func(t *testing.T, dir string) {
			backup := copyFolder(t, dir)
			rename(t, dir, dir+".old")
			rename(t, backup, dir)
		}, folder, func(t *testing.T, dir string) {
			rename(t, dir, dir+".copy")
			rename(t, dir+".old", dir)
		}},
		{"replaced by a file", func(t *testing.T, dir string) {
			rename(t, dir, dir+".old")
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, folder, func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			rename(t, dir+".old", dir)
		}},
		{"mounted over", func(t *testing.T, dir string) { mountOver(t, dir, "1m") }, folder, nil},
		{"newest segment removed", func(t *testing.T, dir string) {
			if err := os.Remove(newest(t, dir)); err != nil {
				t.Fatal(err)
			}
		}, segment, nil},
		{"newest segment replaced", func(t *testing.T, dir string) {
			name := newest(t, dir)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(name+".x", b, 0o600), os.Rename(name+".x", name)); err != nil {
				t.Fatal(err)
			}
		}, segment, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				opts := Options{Dir: filepath.Join(t.TempDir(), "data"), Logger: quiet(), segmentBytes: 256 << 10}
				if tt.says == segment {
					opts.segmentBytes = 64 << 20 // a new one comes late
				}
				l := opened(t, opts)
				publishMany(t, l, 3000, 300)
				l.indexed(t)
				l.sealing.Wait()
				for _, s := range l.list() { // as after some time without a reader
					s.closeIdle(time.Now().Add(time.Hour))
				}
				var mu sync.Mutex
				want := map[uint64]string{}
				var all sync.WaitGroup
				defer all.Wait()
				for range 4 {
					all.Go(func() {
						for {
							a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: "during"}})[0]
							if a.Err != nil {
								if !errors.Is(a.Err, eventlog.ErrFailed) && !errors.Is(a.Err, errTaken) {
									t.Errorf("Append: %v", a.Err)
								}
								return
							}
							mu.Lock()
							want[a.ID.Seq] = "during"
							mu.Unlock()
							time.Sleep(time.Millisecond) // otherwise no time passes in the bubble
						}
					})
				}
				await(t, "some messages", func() bool { mu.Lock(); defer mu.Unlock(); return len(want) > 20 })
				tt.take(t, opts.Dir)
				start, there := time.Now(), entries(t, opts.Dir)
				select {
				case <-l.Failed():
				case <-time.After(20 * time.Second):
					t.Error("the log does not notice")
				}
				if took := time.Since(start); took > time.Second {
					t.Errorf("that took %v", took)
				}
				if err := l.Err(); !errors.Is(err, eventlog.ErrFailed) || !strings.Contains(err.Error(), tt.says) && tt.name != "removed" || !strings.Contains(err.Error(), opts.Dir) || strings.Contains(err.Error(), "\n") {
					t.Errorf("Err: %v", err)
				}
				all.Wait()
				if a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Key: "k"}})[0]; !errors.Is(a.Err, eventlog.ErrFailed) {
					t.Errorf("later: %+v", a)
				}
				if tt.says == folder && tt.name != "removed" {
					// Nobody is told that what was in the folder is lost.
					b, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters("**"), UpTo: 100, MaxRecords: 10, MaxBytes: 1 << 20})
					if err == nil || b.Hole != 0 {
						t.Errorf("a reader gets %+v, %v", b, err)
					}
				}
				_ = l.Close()
				if tt.says == folder && tt.name != "removed" {
					if now := entries(t, opts.Dir); !maps.Equal(now, there) {
						t.Errorf("the log changes what is in its folder's place: %v, then %v", slices.Sorted(maps.Keys(there)), slices.Sorted(maps.Keys(now)))
					}
				}
				if tt.back != nil {
					tt.back(t, opts.Dir)
					l = opened(t, opts)
					wantAll(t, l, want)
					closeLog(t, l)
				}
			})
		})
	}
}

// Before the log makes a new segment, it looks whether folder and segment are still there: it
// writes to no other folder, and goes on after no segment that was removed.
func TestNewSegmentInAnotherFolder(t *testing.T) {
	for name, take := range map[string]func(t *testing.T, dir string){
		"folder replaced": func(t *testing.T, dir string) {
			rename(t, dir, dir+".old")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"segment removed": func(t *testing.T, dir string) {
			if err := os.Remove(newest(t, dir)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{Dir: filepath.Join(t.TempDir(), "data"), Logger: quiet(), segmentBytes: 64 << 10, watch: time.Hour}
			l := opened(t, opts)
			publishMany(t, l, 700, 200)
			l.indexed(t)
			take(t, opts.Dir)
			there := segmentFiles(t, opts.Dir)
			want := map[uint64]string{}
			if err := fillUntil(t, l, want, 1000); !errors.Is(err, eventlog.ErrFailed) || len(want) > 64 {
				t.Errorf("after %d messages: %v", len(want), err)
			}
			_ = l.Close()
			if now := segmentFiles(t, opts.Dir); !slices.Equal(now, there) {
				t.Errorf("there are %v, and were %v", now, there)
			}
		})
	}
}

// Where the disk cannot tell whether the folder is there, the log goes on.
func TestFolderThatCannotBeLookedAt(t *testing.T) {
	files := &faulty{}
	l := opened(t, Options{files: files, watch: time.Millisecond, segmentBytes: 64 << 10})
	looked := make(chan struct{}, 1)
	files.set(func(call, _ string) error {
		if call != "same" {
			return nil
		}
		select {
		case looked <- struct{}{}:
		default:
		}
		return errDisk
	})
	for range 5 {
		<-looked
		publishMany(t, l, 500, 100)
	}
	if c := read(t, l); len(c.records) != 2500 || len(c.lost) > 0 || l.Err() != nil {
		t.Errorf("%d records, lost: %v; %v", len(c.records), c.lost, l.Err())
	}
	closeLog(t, l)
}
