package segmentlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// smallDisk returns a folder that is a small disk of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	mountOver(t, dir, size)
	return dir
}

// fillDisk fills a disk to its last byte, and returns the file.
func fillDisk(t *testing.T, dir string) (ballast string) {
	t.Helper()
	ballast = filepath.Join(dir, "ballast")
	f, err := os.OpenFile(ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	await(t, "a disk without room", func() bool { // the log may give some back meanwhile
		for block := make([]byte, 1<<20); len(block) > 0; {
			if n, err := f.Write(block); err != nil && n == 0 {
				block = block[:len(block)/2]
			}
		}
		free, _, err := freeBytes(dir)
		if err != nil {
			t.Fatal(err)
		}
		return free == 0
	})
	return ballast
}

// On a real disk that is full, publishers get ErrFull, with a key and without one. Readers
// and the index go on, and publishers as soon as there is room.
func TestFullDisk(t *testing.T) {
	for name, reserve := range map[string]int64{"reserve": 4 << 20, "no reserve": -1} {
		t.Run(name, func(t *testing.T) {
			disk := smallDisk(t, "24m")
			ballast := filepath.Join(disk, "ballast")
			if err := os.WriteFile(ballast, make([]byte, 8<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			opts := Options{Dir: filepath.Join(disk, "data"), Reserve: reserve, Sync: time.Second}
			l := opened(t, opts)
			want := map[uint64]string{}
			if err := fillUntil(t, l, want, 1000); !errors.Is(err, eventlog.ErrFull) {
				t.Fatalf("the error is %v", err)
			}
			if free, _, _ := freeBytes(disk); free < min(reserve, 3<<20) {
				t.Errorf("%d bytes are free, the reserve is an eighth of the disk", free)
			}
			wantAll(t, l, want)
			keyed := eventlog.Message{Topic: "a", Key: "k", Data: strings.Repeat("k", 1<<20)}
			if a := l.Append(t.Context(), []eventlog.Message{keyed})[0]; !errors.Is(a.Err, eventlog.ErrFull) {
				t.Errorf("with a key: %+v", a)
			}
			closeLog(t, l)
			l = opened(t, opts) // also on the full disk
			wantAll(t, l, want)
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			appendSoon(t, l, want)
			if a := l.Append(t.Context(), []eventlog.Message{keyed})[0]; a.Err != nil || a.Repeat {
				t.Errorf("with a key: %+v", a)
			}
			wantAll(t, l, want)
			closeLog(t, l)
		})
	}
}

// A log fills a small disk up to its reserve and not further, whatever the size. It makes use
// of nearly all the rest.
func TestReserveOfASmallDisk(t *testing.T) {
	for _, size := range []int64{16 << 20, 64 << 20, 256 << 20} {
		t.Run(fmt.Sprint(size>>20), func(t *testing.T) {
			if testing.Short() && size > 64<<20 {
				t.Skip("it takes a quarter of a gigabyte of memory")
			}
			disk := smallDisk(t, fmt.Sprint(size))
			opts := Options{Dir: filepath.Join(disk, "data"), Sync: time.Second}
			l := opened(t, opts)
			want := map[uint64]string{}
			if err := fillUntil(t, l, want, 60_000); !errors.Is(err, eventlog.ErrFull) {
				t.Fatalf("the error is %v", err)
			}
			reserve := min(int64(DefaultReserve), size/8)
			free, _, err := freeBytes(disk)
			if err != nil || free < reserve || free > reserve+size/8 {
				t.Errorf("%d bytes are free, and the reserve is %d; %v", free, reserve, err)
			}
			wantAll(t, l, want)
			closeLog(t, l)
		})
	}
}

// Another program fills the disk to the last byte while messages are stored, and again and
// again. Publishers get ErrFull, and go on by themselves as soon as there is room. Nothing is
// lost, neither while the log is open nor after a start on the full disk.
func TestDiskFilledByAnotherProgram(t *testing.T) {
	for _, sync := range []time.Duration{0, 10 * time.Millisecond} {
		t.Run(sync.String(), func(t *testing.T) {
			disk := smallDisk(t, "16m")
			opts := Options{Dir: filepath.Join(disk, "data"), Sync: sync, Logger: quiet()}
			l := opened(t, opts)
			want := map[uint64]string{}
			for round := range 4 {
				for range 100 {
					appendSoon(t, l, want)
				}
				ballast := fillDisk(t, disk)
				if err := fillUntil(t, l, want, 1000); !errors.Is(err, eventlog.ErrFull) {
					t.Fatalf("the error is %v", err)
				}
				wantAll(t, l, want)
				if l.Err() != nil {
					t.Fatal(l.Err())
				}
				if round%2 == 1 {
					closeLog(t, l)
					fillDisk(t, disk) // what the end of the log has given back
					l = opened(t, opts)
					wantAll(t, l, want)
					if a := l.Append(t.Context(), []eventlog.Message{{Topic: "a"}})[0]; !errors.Is(a.Err, eventlog.ErrFull) {
						t.Errorf("on the full disk: %+v", a)
					}
				}
				if err := os.Remove(ballast); err != nil {
					t.Fatal(err)
				}
				appendSoon(t, l, want)
			}
			wantAll(t, l, want)
			closeLog(t, l)
			l = opened(t, opts)
			wantAll(t, l, want)
			closeLog(t, l)
		})
	}
}

// A log starts on a disk without one free byte, also in doubt. It can be read, and refuses
// messages with ErrFull. It gives no id of an epoch that is not on the disk. Publishing goes on
// by itself once there is room.
func TestStartOnAFullDisk(t *testing.T) {
	for _, doubt := range []bool{false, true} {
		t.Run(fmt.Sprint("doubt ", doubt), func(t *testing.T) {
			disk := smallDisk(t, "16m")
			opts := Options{Dir: filepath.Join(disk, "data"), Logger: quiet(), Reserve: -1}
			l := opened(t, opts)
			want := map[uint64]string{}
			for range 1000 {
				appendSoon(t, l, want)
			}
			closeLog(t, l)
			if doubt {
				losePower(t, opts.Dir, 1000, 1000)
			}
			ballast := fillDisk(t, disk)
			for range 3 { // starts that store nothing leave nothing
				l = opened(t, opts)
				onDisk, err := loadEpochs(l.files, opts.Dir)
				if err != nil || len(onDisk) == 0 {
					t.Fatal(onDisk, err)
				}
				st, err := l.State(t.Context())
				if id := st.Epochs.Position(st.Last).Epoch; err != nil || id != onDisk[len(onDisk)-1].ID {
					t.Errorf("the newest id has the epoch %s, %v; the disk has %v", id, err, onDisk)
				}
				c := read(t, l)
				for seq, data := range want {
					if c.records[seq].Data != data {
						t.Fatalf("%d is %.20q", seq, c.records[seq].Data)
					}
				}
				for _, key := range []string{"", "k"} {
					if a := l.Append(t.Context(), []eventlog.Message{{Topic: "a", Key: key}})[0]; !errors.Is(a.Err, eventlog.ErrFull) {
						t.Errorf("on the full disk, with the key %q: %+v", key, a)
					}
				}
				closeLog(t, l)
				fillDisk(t, disk)
			}
			l = opened(t, opts)
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			var first eventlog.Appended
			await(t, "room", func() bool {
				first = l.Append(t.Context(), []eventlog.Message{{Topic: "a", Data: "first"}})[0]
				return first.Err == nil
			})
			onDisk, err := loadEpochs(l.files, opts.Dir)
			if err != nil || first.ID.Epoch != onDisk[len(onDisk)-1].ID {
				t.Errorf("the first id is %v; the disk has the epochs %v, %v", first.ID, onDisk, err)
			}
			want[first.ID.Seq] = "first"
			if info, err := os.Stat(newest(t, opts.Dir)); err != nil || info.Size() < 1<<20 {
				t.Errorf("the new segment is made for a full disk: %v, %v", info, err)
			}
			if c := read(t, l); (len(c.lost) > 0) != doubt || c.records[first.ID.Seq].Data != "first" {
				t.Errorf("lost is %v", c.lost)
			}
			killed := copyFolder(t, opts.Dir)
			closeLog(t, l)
			for _, dir := range []string{killed, opts.Dir} {
				l = opened(t, Options{Dir: dir, Logger: quiet()})
				st, _ := l.State(t.Context())
				if c := read(t, l); len(c.records) != len(want) || st.Epochs.Position(first.ID.Seq) != first.ID {
					t.Errorf("%d records, want %d; %v is now %v", len(c.records), len(want), first.ID, st.Epochs.Position(first.ID.Seq))
				}
				closeLog(t, l)
			}
		})
	}
}
