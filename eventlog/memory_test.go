package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/logtest"
	"example.com/tidings/topics"
)

func TestMemoryLog(t *testing.T) {
	logtest.Run(t, logtest.Kit{
		Open: func(*testing.T) eventlog.Log { return eventlog.NewMemory(nil) },
		OpenSmall: func(_ *testing.T, maxBytes int64, maxAge time.Duration) eventlog.Log {
			return eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: int(maxBytes), MaxAge: maxAge})
		},
		OpenClock: func(t *testing.T, clock func() (time.Time, time.Duration), maxAge, window time.Duration) eventlog.Log {
			return eventlog.NewMemoryWithClock(eventlog.MemoryOptions{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), MaxAge: maxAge, DedupWindow: window}, clock)
		},
	})
}

// A patientContext is done once it was asked some times.
type patientContext struct {
	context.Context
	left int
}

func (c *patientContext) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// However much is stored, one call of Newest looks at some of it only, and Back looks at
// its context while it searches.
func TestMemoryLogSearchesCanBeLeft(t *testing.T) {
	const n = 20_000
	l := eventlog.NewMemory(nil)
	messages := make([]eventlog.Message, n)
	for i := range messages {
		messages[i].Topic = fmt.Sprintf("t.%d", i)
	}
	l.Append(t.Context(), messages)
	filters, err := topics.ParseFilters("*.*")
	if err != nil {
		t.Fatal(err)
	}
	seqs, through, err := l.Newest(t.Context(), filters, 0, n, n)
	if err != nil || through == 0 || through > n/2 || len(seqs) != int(through) {
		t.Errorf("a call of Newest finds %d, and looks at %d of %d; %v", len(seqs), through, n, err)
	}
	for _, left := range []int{0, 1, 2, 5} {
		ctx := &patientContext{Context: t.Context(), left: left}
		if after, err := l.Back(ctx, filters, n, n); !errors.Is(err, context.Canceled) || ctx.left != -1 {
			t.Errorf("Back with a context that is done when it is asked again after %d times: %d, %v", left, after, err)
		}
	}
}

// A message that would add a topic or a key beyond the cap is refused, and those after it are
// not. What expires makes room.
func TestMemoryLogCaps(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	started := now
	clock := func() (time.Time, time.Duration) { return now, now.Sub(started) }
	l := eventlog.NewMemoryWithClock(eventlog.MemoryOptions{MaxTopics: 2, MaxKeys: 2, MaxAge: time.Hour}, clock)
	for _, tt := range []struct {
		m    eventlog.Message
		want error
	}{
		{eventlog.Message{Topic: "a", Key: "1"}, nil},
		{eventlog.Message{Topic: "b"}, nil},
		{eventlog.Message{Topic: "c", Key: "1"}, eventlog.ErrTooManyTopics},
		{eventlog.Message{Topic: "b", Key: "1"}, nil}, // the refused one has not used its key
		{eventlog.Message{Topic: "b", Key: "2"}, eventlog.ErrTooManyKeys},
		{eventlog.Message{Topic: "b", Key: "1"}, nil}, // a repeat
		{eventlog.Message{Topic: "a"}, nil},
	} {
		if got := l.Append(t.Context(), []eventlog.Message{tt.m})[0].Err; !errors.Is(got, tt.want) {
			t.Errorf("%+v: %v, want %v", tt.m, got, tt.want)
		}
	}
	now = now.Add(2 * time.Hour)
	for _, a := range l.Append(t.Context(), []eventlog.Message{{Topic: "c", Key: "3"}, {Topic: "d", Key: "4"}}) {
		if a.Err != nil {
			t.Errorf("when the others have expired: %v", a.Err)
		}
	}
}

// A list that few topics match goes through many names, and looks at its context.
func TestMemoryLogListCanBeLeft(t *testing.T) {
	l := eventlog.NewMemory(nil)
	messages := make([]eventlog.Message, 20_000)
	for i := range messages {
		messages[i].Topic = fmt.Sprintf("t.%d.x", i)
	}
	l.Append(t.Context(), messages)
	ctx := &patientContext{Context: t.Context(), left: 3}
	if infos, err := l.Topics(ctx, topics.MustFilters("*.*.y")[0], "", 10); !errors.Is(err, context.Canceled) || ctx.left != -1 {
		t.Errorf("%v, %v", infos, err)
	}
	q := eventlog.Query{Filters: topics.MustFilters("*.*.y"), UpTo: 20_000, MaxRecords: 10, MaxBytes: 10}
	ctx = &patientContext{Context: t.Context(), left: 3}
	if b, err := l.Read(ctx, q); !errors.Is(err, context.Canceled) || ctx.left != -1 {
		t.Errorf("%v, %v", b, err)
	}
	ctx = &patientContext{Context: t.Context(), left: 3}
	if n, _, err := l.Count(ctx, q.Filters, 0); !errors.Is(err, context.Canceled) || ctx.left != -1 {
		t.Errorf("%v, %v", n, err)
	}
}

// What a page of 100 topics costs, in the middle of many.
func BenchmarkMemoryTopics(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: 1 << 30})
			benchmarkTopics(b, l, n)
		})
	}
}

func benchmarkTopics(b *testing.B, l eventlog.Log, n int) {
	messages := make([]eventlog.Message, 1000)
	for i := range n {
		messages[i%1000] = eventlog.Message{Topic: fmt.Sprintf("t.%07d", i)}
		if i%1000 == 999 {
			l.Append(b.Context(), messages)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		infos, err := l.Topics(b.Context(), topics.MustFilters("**")[0], fmt.Sprintf("t.%07d", n/2), 100)
		if err != nil || len(infos) != 100 {
			b.Fatal(len(infos), err)
		}
	}
}
