package segmentlog

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// Readers of any filter are told of an end that is cut off, whole, even if another reader
// has come upon a part of it before.
func TestCutEnd(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	l := opened(t, opts)
	var messages []eventlog.Message
	for i := range 3000 {
		messages = append(messages, eventlog.Message{Topic: fmt.Sprintf("d.%d", i%7), Data: "x"})
	}
	l.Append(t.Context(), messages)
	path := l.list()[0].path
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()/3); err != nil {
		t.Fatal(err)
	}
	for _, noted := range []uint64{0, 2000} {
		for _, pattern := range []string{"**", "d.*", "d.3", "none"} {
			l := opened(t, opts)
			l.Append(t.Context(), messages[:70])
			l.indexed(t)
			last, _ := l.list()[0].extent()
			if noted > 0 {
				if _, err := l.Read(t.Context(), eventlog.Query{Filters: topics.MustFilters("**"), After: noted, UpTo: 3000, MaxRecords: 1, MaxBytes: 1}); err != nil {
					t.Fatal(err)
				}
			}
			q := eventlog.Query{Filters: topics.MustFilters(pattern), UpTo: l.lastSeq(), MaxRecords: 100, MaxBytes: 1 << 20}
			for q.After < q.UpTo {
				b, err := l.Read(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				if b.Hole != 0 && q.After < 3000 {
					if b.Reason != sse.GapLost || b.Hole != 3000 || q.After > last {
						t.Errorf("%s, a part noted from %d on: after %d a hole to %d, %s; the last record is %d", pattern, noted, q.After, b.Hole, b.Reason, last)
					}
				} else if b.Through > last && q.After < last && b.Through < 3000 || q.After >= last && q.After < 3000 {
					t.Errorf("%s, a part noted from %d on: after %d nothing is said through %d", pattern, noted, q.After, b.Through)
				}
				q.After = b.Through
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			os.RemoveAll(filepath.Join(opts.Dir, storePrefix))
		}
	}
}
