package window_test

import (
	"bytes"
	"sync"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/window"
	"example.com/tidings/sse"
)

// Once an entry is erased, nobody is handed what it had, in whatever form, and whoever encodes it at
// the same time. Its account comes out even.
func TestErase(t *testing.T) {
	names := eventlog.Timeline{{ID: "0w3k7zq4m8tc", First: 1}}
	for range 1000 {
		var used budget.Bytes
		account := window.NewAccount(&used)
		e := window.NewEntry(names, eventlog.Record{Seq: 7, Topic: "a", Data: "secret"})
		e.Own(account)
		e.Wire(window.Envelope)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { e.Wire(window.Data) })
		}
		wg.Go(func() { e.Erase(names, sse.GapRemoved) })
		wg.Wait()
		for _, form := range []uint8{window.Data, window.Envelope} {
			if wire := e.Wire(form); bytes.Contains(wire, []byte("secret")) || !bytes.Contains(wire, []byte(sse.GapEventType)) {
				t.Fatalf("form %d is %q", form, wire)
			}
		}
		if gap := e.Gap(); gap == nil || gap.Reason != sse.GapRemoved || gap.Missed != 1 || gap.Next != "0w3k7zq4m8tc-7" {
			t.Fatalf("the gap is %+v", gap)
		}
		e.Disown()
		if account.Bytes() != 0 || used.Used() != 0 {
			t.Fatalf("%d bytes stay counted", account.Bytes())
		}
	}
}
