package window_test

import (
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/window"
)

// pieces receives what a window gets at a time, while nobody else can change it.
type pieces chan []*window.Entry

func (p pieces) Extended(entries []*window.Entry) { p <- entries }
func (p pieces) Renewed(*window.View)             {}
func (p pieces) Shrunk(*window.View)              {}

// Thousands of records that come at once enter the window in pieces. A publisher waits for none of them.
func TestManyRecordsAtOnce(t *testing.T) {
	const n, most = 2000, 256
	p := make(pieces)
	w, s := follow(t, p, window.Options{MaxEntries: n, MaxBytes: 64 << 20})
	records := make([]eventlog.Record, n)
	for i := range records {
		records[i] = record(uint64(i+1), "x")
	}
	s.groups <- records
	acknowledged := make(chan struct{})
	go func() {
		w.Acknowledged(eventlog.Position{Epoch: "E", Seq: n})
		if _, head := w.Head(); head != n {
			t.Errorf("the head is %d, want %d", head, n)
		}
		close(acknowledged)
	}()
	select {
	case <-acknowledged:
	case <-time.After(30 * time.Second):
		t.Error("a publisher waits while the window gets records")
	}
	for next := uint64(1); next <= n; {
		entries := <-p
		if len(entries) > most {
			t.Errorf("%d records enter the window at once, want at most %d", len(entries), most)
		}
		for _, e := range entries {
			if e.Seq != next {
				t.Fatalf("record %d comes in the place of %d", e.Seq, next)
			}
			next++
		}
	}
}
