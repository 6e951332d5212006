package jetlog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/jetlog"
	"example.com/tidings/topics"
)

// everything returns all records that a log retains, by Read.
func everything(t *testing.T, l eventlog.Log) []eventlog.Record {
	t.Helper()
	var records []eventlog.Record
	for q := (eventlog.Query{Filters: topics.MustFilters("**"), UpTo: state(t, l).Last, MaxRecords: 1000, MaxBytes: 1 << 20}); q.After < q.UpTo; {
		b, err := l.Read(t.Context(), q)
		if err != nil || b.Through <= q.After {
			t.Fatal(b.Through, err)
		}
		records = append(records, b.Records...)
		q.After = b.Through
	}
	return records
}

// Acknowledged messages survive kill -9, each once and in order. The log still knows their
// keys. It uses no number twice.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	want := map[uint64]string{}
	for range 5 {
		c := startChild(t, dir, 0)
		c.append(0)
		acks := c.stored(t, 2000)
		c.kill()
		acks = append(acks, c.stored(t, 0)...)
		c.wait()
		for _, a := range acks {
			if key, ok := want[a.seq]; ok {
				t.Fatalf("number %d is that of %s and of %s", a.seq, key, a.key)
			}
			want[a.seq] = a.key
		}
	}
	l := open(t, jetlog.Options{Dir: dir})
	records := everything(t, l)
	for i, r := range records {
		if r.Seq != uint64(i+1) {
			t.Fatalf("record %d has number %d", i, r.Seq)
		}
		if key, ok := want[r.Seq]; ok && r.Data != "data of "+key {
			t.Fatalf("number %d was acknowledged for %s, and has %q", r.Seq, key, r.Data)
		}
		delete(want, r.Seq)
	}
	if len(want) > 0 {
		t.Fatalf("%d acknowledged messages are lost", len(want))
	}
	if es := state(t, l).Epochs; len(es) != 6 {
		t.Errorf("after six starts the epochs are %v", es)
	}
	// The newest messages, appended again, are repeats.
	for _, r := range records[len(records)-100:] {
		key := strings.TrimPrefix(r.Data, "data of ")
		a := l.Append(t.Context(), []eventlog.Message{{Topic: r.Topic, Key: key, Data: r.Data}})[0]
		if a != (eventlog.Appended{ID: state(t, l).Epochs.Position(r.Seq), Repeat: true}) {
			t.Fatalf("%s again got %+v, and is %d", key, a, r.Seq)
		}
	}
}

// msgs is the folder with the stream's blocks.
func msgs(dir string) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", "tidings", "msgs")
}

// blocks returns the names of the stream's blocks that are not empty, in order.
func blocks(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(msgs(dir), "*.blk"))
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		fi, err := os.Stat(name)
		return err != nil || fi.Size() == 0
	})
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	if len(names) == 0 {
		t.Fatal("there are no blocks")
	}
	return names
}

// truncate removes the last part of a file.
func truncate(t *testing.T, name string, keep float64) {
	t.Helper()
	fi, err := os.Stat(name)
	if err == nil {
		err = os.Truncate(name, int64(float64(fi.Size())*keep))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The log loses its end, as by a loss of power. The ids of surviving messages resume
// exactly. The ids of lost messages are known as lost. They stay so when their numbers are
// used again, also over several such losses.
func TestLostEnd(t *testing.T) {
	for _, row := range []struct {
		name  string
		index bool // is kept
		clean bool // the end before the loss
	}{
		{"killed, with index", true, false},
		{"killed, without index", false, false},
		{"closed, with index", true, true},
		{"closed, without index", false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			var epochs []eventlog.Epoch
			var lasts []uint64
			for round := range 3 {
				if row.clean {
					l, err := jetlog.Open(t.Context(), &jetlog.Options{Dir: dir, Logger: quiet(t)})
					if err != nil {
						t.Fatal(err)
					}
					es := state(t, l).Epochs
					epochs = append(epochs, es[len(es)-1])
					for i := range 20 {
						batch := make([]eventlog.Message, 50)
						for k := range batch {
							batch[k] = eventlog.Message{Topic: "t.1", Data: fmt.Sprintf("%d %d %d", round, i, k)}
						}
						mustAppend(t, l, batch)
					}
					lasts = append(lasts, state(t, l).Last)
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
				} else {
					c := startChild(t, dir, 0)
					c.append(1000)
					acks := c.stored(t, 0)
					c.kill()
					c.wait()
					epochs = append(epochs, eventlog.Epoch{ID: c.epoch, First: acks[0].seq})
					lasts = append(lasts, acks[len(acks)-1].seq)
				}
				// The second loss takes more than the second round brought.
				keep := []float64{0.9, 0.3, 0.8}[round]
				names := blocks(t, dir)
				truncate(t, names[len(names)-1], keep)
				if !row.index {
					os.Remove(filepath.Join(msgs(dir), "index.db"))
				}
			}
			l := open(t, jetlog.Options{Dir: dir})
			st := state(t, l)
			got := st.Epochs
			if len(got) != 4 || got[3].First != st.Last+1 {
				t.Fatalf("the state is %+v, the epochs are %+v", st, got)
			}
			t.Logf("rounds ended at %v, the epochs are %+v", lasts, got)
			for i, e := range epochs {
				if got[i].ID != e.ID || got[i].First > e.First {
					t.Errorf("epoch %d was %+v, and is %+v", i, e, got[i])
				}
				// A message of the epoch is either below the first number of the next
				// epoch, and there, or known as lost.
				if got[i+1].First > lasts[i] {
					t.Errorf("epoch %d assigned up to %d, and nothing of it counts as lost: %+v", i, lasts[i], got)
				}
			}
			records := everything(t, l)
			if uint64(len(records)) != st.Last {
				t.Fatalf("%d records are there of %d", len(records), st.Last)
			}
			// The records of the first epoch that the second loss left survive.
			for seq := got[0].First; seq < got[1].First; seq++ {
				if r := records[seq-1]; r.Seq != seq || row.clean && !strings.HasPrefix(r.Data, "0 ") ||
					!row.clean && !strings.HasPrefix(r.Data, "data of "+epochs[0].ID+"/") {
					t.Fatalf("record %d of the first epoch is %+v", seq, r)
				}
			}
			mustAppend(t, l, []eventlog.Message{{Topic: "t.1", Data: "goes on"}})
			if r := everything(t, l)[st.Last]; r.Seq != st.Last+1 || r.Data != "goes on" {
				t.Errorf("the next record is %+v", r)
			}
		})
	}
}

// A block in the middle is damaged. Its records are a gap for every filter, as each may have
// matched them. All other records are there. If the index is intact, the server itself does
// not notice.
func TestHoles(t *testing.T) {
	for _, row := range []struct {
		name    string
		kill    bool
		index   bool
		keep    float64 // of the second block
		corrupt bool    // instead
	}{
		{"truncated, closed, with index", false, true, 0.5, false},
		{"truncated, closed, without index", false, false, 0.5, false},
		{"truncated, killed", true, true, 0.5, false},
		{"empty", false, true, 0, false},
		{"a flipped bit", false, true, 1, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if row.kill {
				c := startChild(t, dir, 20_000)
				c.append(1200)
				c.stored(t, 0)
				c.kill()
				c.wait()
			} else {
				l, err := jetlog.Open(t.Context(), &jetlog.Options{Dir: dir, Logger: quiet(t)})
				if err != nil {
					t.Fatal(err)
				}
				data := strings.Repeat("x", 20_000)
				for range 400 {
					mustAppend(t, l, []eventlog.Message{{Topic: "t.1", Data: data}, {Topic: "t.2", Data: data}, {Topic: "t.3", Data: data}})
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
			names := blocks(t, dir)
			if len(names) < 3 { // of 8 MiB, one of them in the middle
				t.Fatalf("there are %d blocks", len(names))
			}
			if row.corrupt {
				f, err := os.OpenFile(names[1], os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				fi, _ := f.Stat()
				if _, err := f.WriteAt([]byte{'y'}, fi.Size()/2); err != nil {
					t.Fatal(err)
				}
				f.Close()
			} else {
				truncate(t, names[1], row.keep)
			}
			if !row.index {
				os.Remove(filepath.Join(msgs(dir), "index.db"))
			}
			l := open(t, jetlog.Options{Dir: dir})
			st := state(t, l)
			records := everything(t, l)
			var first, last uint64
			at := uint64(0)
			for _, r := range records {
				if r.Seq != at+1 {
					if first != 0 {
						t.Fatalf("a second hole after %d", at)
					}
					first, last = at+1, r.Seq-1
				}
				at = r.Seq
			}
			if first == 0 || at != st.Last {
				t.Fatalf("there is no hole; the last record is %d, the state %+v", at, st)
			}
			t.Logf("missing are %d to %d of %d", first, last, st.Last)
			for _, pattern := range []string{"**", "t.1", "*.*", "none"} {
				wantHole(t, l, pattern, 0, st.Last, first, last)
				wantHole(t, l, pattern, first-1, st.Last, first, last)
			}
			// A tail skips the numbers.
			seen := first - 5
			for batch, err := range l.Tail(t.Context(), st.Generation, first-5) {
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range batch {
					if r.Seq != seen+1 && !(seen == first-1 && r.Seq == last+1) {
						t.Fatalf("after %d the tail yields %d", seen, r.Seq)
					}
					seen = r.Seq
				}
				if seen > last+5 {
					break
				}
			}
			mustAppend(t, l, []eventlog.Message{{Topic: "t.1", Data: "goes on"}})
		})
	}
}

// Open refuses a folder that another process uses, and names that process.
func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	c := startChild(t, dir, 0)
	_, err := jetlog.Open(t.Context(), &jetlog.Options{Dir: dir, Logger: quiet(t)})
	want := fmt.Sprintf("the data folder %q is in use by another process (pid %d)", dir, c.cmd.Process.Pid)
	if err == nil || err.Error() != want {
		t.Fatalf("Open returns %v, want %s", err, want)
	}
	c.kill()
	c.wait()
	l := open(t, jetlog.Options{Dir: dir})
	if _, err := jetlog.Open(t.Context(), &jetlog.Options{Dir: dir, Logger: quiet(t)}); err == nil {
		t.Error("the same process opens it twice")
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the folder has the mode %v, %v", fi.Mode(), err)
	}
	l.Close()
	open(t, jetlog.Options{Dir: dir})
}

// Without the history of epochs, one new epoch stands for all stored records. Their ids are
// older than that epoch, and later ids are newer.
func TestEpochsFileGone(t *testing.T) {
	for _, content := range []string{"", "{broken"} {
		dir := filepath.Join(t.TempDir(), "data")
		l := open(t, jetlog.Options{Dir: dir})
		old := state(t, l).Epochs[0]
		mustAppend(t, l, []eventlog.Message{{Topic: "a"}, {Topic: "a"}})
		l.Close()
		name := filepath.Join(dir, "epochs.json")
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if content != "" {
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second) // an epoch's id has the time in seconds
		l = open(t, jetlog.Options{Dir: dir})
		es := state(t, l).Epochs
		if len(es) != 2 || es[0].First != 1 || es[1].First != 3 || es[0].ID <= old.ID || es[1].ID <= es[0].ID {
			t.Errorf("the epoch was %+v, and they are %+v", old, es)
		}
		l.Close()
	}
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		opts jetlog.Options
		want string
	}{
		{"a file", jetlog.Options{Dir: file}, "not a directory"},
		{"a long window", jetlog.Options{MaxAge: time.Minute, DedupWindow: time.Hour}, "longer than"},
		{"a short window", jetlog.Options{DedupWindow: time.Millisecond}, "less than"},
		{"a short age", jetlog.Options{MaxAge: time.Millisecond}, "less than"},
		{"a short interval", jetlog.Options{Sync: time.Microsecond}, "less than"},
		{"a negative interval", jetlog.Options{Sync: -5}, "less than"},
	} {
		if row.opts.Dir == "" {
			row.opts.Dir = filepath.Join(t.TempDir(), "data")
		}
		l, err := jetlog.Open(t.Context(), &row.opts)
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", row.name)
		} else if s := err.Error(); !strings.Contains(s, row.want) || strings.Contains(s, "\n") {
			t.Errorf("%s: %q, want it to have %q", row.name, s, row.want)
		}
	}
}
