package segmentlog

import (
	"log/slog"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/logtest"
)

// opened opens a log that logs to the test.
func opened(t *testing.T, opts Options) *Log {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	l, err := Open(t.Context(), &opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLog(t *testing.T) {
	for name, sync := range map[string]time.Duration{"always": 0, "interval": 50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			var dir string
			logtest.Run(t, logtest.Kit{
				Open: func(t *testing.T) eventlog.Log {
					dir = t.TempDir()
					return opened(t, Options{Dir: dir, Sync: sync})
				},
				OpenSmall: func(t *testing.T, maxBytes int64, maxAge time.Duration) eventlog.Log {
					return opened(t, Options{Sync: sync, MaxBytes: maxBytes, MaxAge: maxAge})
				},
				Reopen: func(t *testing.T) eventlog.Log { return opened(t, Options{Dir: dir, Sync: sync}) },
				OpenClock: func(t *testing.T, clock func() (time.Time, time.Duration), maxAge, window time.Duration) eventlog.Log {
					return opened(t, Options{Sync: sync, MaxAge: maxAge, DedupWindow: window, clock: clock})
				},
			})
		})
	}
}
