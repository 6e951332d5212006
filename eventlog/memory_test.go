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
