package segmentlog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
)

// listAside returns the files of a folder that were set aside.
func listAside(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+asideMark+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return names
}

// What a start cannot read is set aside, where it would be overwritten or removed. A line in
// the log names it, and tidings log verify lists it.
func TestSetAside(t *testing.T) {
	junk := bytes.Repeat([]byte("junk"), 300)
	twin := strings.Replace(handName(1), "89abcdef", "00000001", 1)
	for _, tt := range []struct {
		name, file string
		make       func(f folder)
		want       []string // of the records
		aside      bool
	}{
		{"the state", "state", func(f folder) { f.write("state", junk) }, []string{"1", "2", "3-3 lost"}, true},
		{"the epochs", "epochs.json", func(f folder) { f.write("epochs.json", junk) }, []string{"1", "2"}, true},
		{"the format", "format", func(f folder) { f.write("format", junk) }, []string{"1", "2"}, true},
		{"a segment that hides another", twin, func(f folder) { f.write(twin, junk, make([]byte, 9000)) }, []string{"1", "2"}, true},
		{"an empty segment that hides another", twin, func(f folder) { f.write(twin, make([]byte, 9000)) }, []string{"1", "2"}, false},
		{"a newest segment without a record stays", handName(3), func(f folder) { f.segment(3, junk); f.closed(1, 4) }, []string{"1", "2", "3-4 lost"}, false},
		{"the end of the newest segment stays", handName(1), func(f folder) { f.segment(1, text(1), text(2), junk); f.closed(1, 4) }, []string{"1", "2", "3-4 lost"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFolder(t)
			f.segment(1, text(1), text(2))
			f.closed(1, 2)
			tt.make(f)
			book := &logbook{}
			for range 2 {
				l := opened(t, Options{Dir: f.dir, MaxAge: -1, clock: handClock(), Logger: book.logger()})
				got := readAll(t, l, func(r eventlog.Record) string { return fmt.Sprint(r.Seq) })
				if !slices.Equal(got, tt.want) {
					t.Errorf("a reader gets %q, want %q", got, tt.want)
				}
				closeLog(t, l)
			}
			if !tt.aside {
				if names := listAside(t, f.dir); len(names) > 0 {
					t.Errorf("set aside: %q", names)
				}
				if b, err := os.ReadFile(filepath.Join(f.dir, tt.file)); (tt.file != twin) != bytes.HasSuffix(b, junk) {
					t.Errorf("the file has %d bytes, %v", len(b), err)
				}
				return
			}
			aside := tt.file + ".damaged-1"
			if b := bytes.TrimRight(f.read(aside), "\x00"); !bytes.Equal(b, junk) {
				t.Errorf("%s has %d bytes, want %d", aside, len(b), len(junk))
			}
			if lines := book.lines("aside=" + aside); len(lines) != 1 {
				t.Errorf("the log has %q", lines)
			}
			_, faults := verified(t, f.dir)
			if !slices.ContainsFunc(faults, func(s string) bool {
				return regexp.MustCompile(`^0-0 ` + regexp.QuoteMeta(aside) + `: .*aside`).MatchString(s)
			}) {
				t.Errorf("Verify says %q", faults)
			}
		})
	}
}

// Starts that set something aside each time do not fill the disk, and touch no other file.
func TestSetAsideIsBounded(t *testing.T) {
	f := newFolder(t)
	f.write("notes.damaged-1", []byte("mine"))
	for i := range 2 * mostAside {
		f.write("state", []byte(fmt.Sprint("junk ", i)))
		l := opened(t, Options{Dir: f.dir, MaxAge: -1, Logger: quiet(), files: unsynced{}})
		closeLog(t, l)
	}
	if names := listAside(t, f.dir); len(names) != mostAside+1 || !slices.Contains(names, "notes.damaged-1") || !slices.Contains(names, fmt.Sprint("state.damaged-", 2*mostAside)) {
		t.Errorf("set aside are %q", names)
	}
}
