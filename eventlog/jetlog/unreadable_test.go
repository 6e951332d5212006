package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/jetlog"
	"example.com/tidings/topics"
)

// Records that cannot be read for a moment are an error. The log does not take them for
// missing: otherwise a process without a free descriptor would pass over messages in
// silence.
func TestUnreadableIsNotMissing(t *testing.T) {
	t.Parallel()
	const messages = 3000
	dir := t.TempDir()
	l := open(t, jetlog.Options{Dir: dir})
	batch := make([]eventlog.Message, messages)
	for i := range batch {
		batch[i] = eventlog.Message{Topic: "a", Data: fmt.Sprint(i, strings.Repeat("x", 8<<10))}
	}
	batch[4].Key = "k"
	mustAppend(t, l, batch)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, jetlog.Options{Dir: dir})
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "$G", "streams", "*", "msgs", "*.blk"))
	if err != nil || len(blocks) < 2 {
		t.Fatalf("%d blocks, %v", len(blocks), err)
	}
	first := blocks[0]
	// A folder in place of a file is there, and cannot be read.
	if err := errors.Join(os.Rename(first, first+".away"), os.Mkdir(first, 0o700)); err != nil {
		t.Fatal(err)
	}
	filters, _ := topics.ParseFilters("a")
	read := func() (eventlog.Batch, error) {
		return l.Read(t.Context(), eventlog.Query{Filters: filters, UpTo: messages, MaxRecords: 10, MaxBytes: 1 << 20})
	}
	for tries := 0; ; tries++ {
		time.Sleep(12 * time.Second) // the server forgets a block that nobody reads after 10
		b, err := read()
		if err != nil {
			break
		}
		if b.Lost > 0 || len(b.Records) == 0 || b.Records[0].Seq != 1 {
			t.Fatalf("%d records, lost %d, through %d, and no error", len(b.Records), b.Lost, b.Through)
		}
		if tries == 5 {
			t.Fatal("the file is not needed: the test is blind")
		}
	}
	// Append cannot compare a repeat with the first message, and does not call it a conflict.
	if a := l.Append(t.Context(), batch[4:5])[0]; a.Err == nil || errors.Is(a.Err, eventlog.ErrKeyConflict) {
		t.Errorf("a repeat: %+v", a)
	}
	if err := errors.Join(os.Remove(first), os.Rename(first+".away", first)); err != nil {
		t.Fatal(err)
	}
	if b, err := read(); err != nil || b.Lost > 0 || len(b.Records) == 0 || b.Records[0].Seq != 1 {
		t.Errorf("then %d records, lost %d, %v", len(b.Records), b.Lost, err)
	}
	if a := l.Append(t.Context(), batch[4:5])[0]; a != (eventlog.Appended{ID: state(t, l).Epochs.Position(5), Repeat: true}) {
		t.Errorf("then a repeat: %+v", a)
	}
}

// If the context of an Append ends on the way, a beginning of the batch is stored, and
// nothing after a message that is not.
func TestAppendCutOffStoresABeginning(t *testing.T) {
	l := open(t, jetlog.Options{Dir: t.TempDir()})
	const messages = 8000 // more than are under way at a time
	batch := make([]eventlog.Message, messages)
	for i := range batch {
		batch[i] = eventlog.Message{Topic: "a", Data: fmt.Sprint(i)}
	}
	filters, _ := topics.ParseFilters("a")
	cut := 0
	pos := uint64(0)
	for try := range 30 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+try%15)*time.Millisecond)
		for _, r := range l.Append(ctx, batch) {
			if r.Err != nil {
				cut++
				break
			}
		}
		cancel()
		// The messages that are under way are stored before this one.
		mark := l.Append(t.Context(), []eventlog.Message{{Topic: "b"}})
		if mark[0].Err != nil {
			t.Fatal(mark[0].Err)
		}
		for want := 0; pos < mark[0].ID.Seq; {
			b, err := l.Read(t.Context(), eventlog.Query{Filters: filters, After: pos, UpTo: mark[0].ID.Seq, MaxRecords: messages, MaxBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range b.Records {
				if rec.Data != fmt.Sprint(want) {
					t.Fatalf("try %d: %s is stored where %d is next", try, rec.Data, want)
				}
				want++
			}
			pos = b.Through
		}
	}
	if cut == 0 {
		t.Error("no Append was cut off: the test is blind")
	}
}
