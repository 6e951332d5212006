package hub_test

import (
	"bytes"
	"context"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// A foreignLog holds messages that a hub would have refused: a data of "break" stands for a
// type with a line end.
type foreignLog struct{ eventlog.Log }

func foreign(rec eventlog.Record) eventlog.Record {
	if rec.Data == "break" {
		rec.Type = "two\nlines"
	}
	return rec
}

func (l foreignLog) Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]eventlog.Record, error] {
	return func(yield func([]eventlog.Record, error) bool) {
		for records, err := range l.Log.Tail(ctx, generation, after) {
			for i := range records {
				records[i] = foreign(records[i])
			}
			if !yield(records, err) {
				return
			}
		}
	}
}

func (l foreignLog) Read(ctx context.Context, q eventlog.Query) (eventlog.Batch, error) {
	b, err := l.Log.Read(ctx, q)
	for i := range b.Records {
		b.Records[i] = foreign(b.Records[i])
	}
	return b, err
}

// A lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A message in the log that cannot be sent, since somebody has stored it past the hub, is
// skipped with a gap, from the window and from the log, in every format. It is logged once,
// and counted. The stream goes on, and a client that comes back is not stuck at it.
func TestPathMessageThatCannotBeSent(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		for where, window := range map[string]int{"window": 100, "log": 1} {
			var log lockedBuffer
			opts := &hub.Options{Window: window, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			s := p.station(t, foreignLog{eventlog.NewMemory(nil)}, opts, nil)
			live := s.stream(t, query("a")).opened(t)
			ids := publish(t, s.Hub, "a:1", "a:break", "a:2", "b:3")
			live.expect(t, "1", "gap invalid 1", "2")
			untilHead(s.Hub, 4)
			for _, format := range []string{"data", "envelope"} {
				c := s.stream(t, query("a", "from", "start", "format", format)).opened(t)
				c.event(t)
				ev := c.event(t)
				gap, ok := ev.gap()
				if !ok || gap.Reason != sse.GapInvalid || gap.Missed != 1 || gap.After != ids[0] || gap.Next != ids[1] || ev.ID != ids[1] {
					t.Fatalf("%s, %s: in its place is %+v", where, format, ev)
				}
				if ev := c.event(t); ev.ID != ids[2] {
					t.Fatalf("%s, %s: then comes %+v", where, format, ev)
				}
			}
			s.stream(t, query("a"), "Last-Event-ID", ids[0]).opened(t).expect(t, "gap invalid 1", "2")
			s.stream(t, query("a"), "Last-Event-ID", ids[1]).opened(t).expect(t, "2")
			s.stream(t, query("a b", "from", "last")).opened(t).expect(t, "2", "3")
			if n := s.Stats().Invalid; n != 1 {
				t.Errorf("%s: %d are counted", where, n)
			}
			if n := strings.Count(log.String(), "cannot be sent"); n != 1 {
				t.Errorf("%s: it was logged %d times:\n%s", where, n, log.String())
			}
		}
	})
}
