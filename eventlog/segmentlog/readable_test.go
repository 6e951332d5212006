package segmentlog

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// countOf returns how many records of a topic a reader gets.
func countOf(t *testing.T, l *Log, topic string) (n int) {
	t.Helper()
	st, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for after := st.First - 1; after < st.Last; {
		b, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters(topic), After: after, UpTo: st.Last, MaxRecords: 1000, MaxBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		n += len(b.Records)
		after = b.Through
	}
	return n
}

// An index that was made while records could not be read is made again when they can be:
// otherwise readers of their topic would pass over them in silence. That is at once where the
// verification finds it, and otherwise at the next start.
func TestIndexOfWhatCanBeReadAgain(t *testing.T) {
	for name, verifies := range map[string]bool{"found by the verification": true, "at the next start": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := opened(t, Options{Dir: dir, Sync: time.Second, segmentBytes: 1 << 20, files: unsynced{}})
			publishTopics(t, l, bucketSize+1000)
			l.indexed(t)
			want := countOf(t, l, "t.4")
			closeLog(t, l)

			file := segmentFiles(t, dir)[1]
			intact, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, file, func(b []byte) []byte { clear(b[8192:65536]); return b })
			if err := os.RemoveAll(filepath.Join(dir, storePrefix)); err != nil {
				t.Fatal(err)
			}
			l = opened(t, Options{Dir: dir, Logger: quiet(), files: unsynced{}})
			l.verified(t)
			l.indexed(t)
			if n := countOf(t, l, "t.4"); n >= want {
				t.Fatalf("%d messages are there, none is damaged", n)
			}
			closeLog(t, l)

			rewrite(t, file, func([]byte) []byte { return intact })
			rate := int64(1)
			if verifies {
				rate = verifyRate
			} else if err := os.Remove(file[:len(file)-len(segmentSuffix)] + sidecarSuffix); err != nil {
				t.Fatal(err)
			}
			l = opened(t, Options{Dir: dir, verifyRate: rate, Logger: quiet(), files: unsynced{}})
			defer closeLog(t, l)
			if verifies {
				l.verified(t)
			}
			l.indexed(t)
			await(t, "the messages that can be read again", func() bool { return countOf(t, l, "t.4") == want })
		})
	}
}
