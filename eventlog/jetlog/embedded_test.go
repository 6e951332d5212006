package jetlog_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/jetlog"
	"example.com/tidings/eventlog/logtest"
)

// quiet returns a logger that writes warnings and errors to the test's output.
func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// open opens an embedded log, and fails the test if it cannot.
func open(t testing.TB, opts jetlog.Options) *jetlog.Log {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet(t)
	}
	l, err := jetlog.Open(t.Context(), &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// state returns the state of a log, and fails the test if it cannot.
func state(t testing.TB, l eventlog.Log) eventlog.State {
	t.Helper()
	st, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestEmbedded(t *testing.T) {
	var dir string
	logtest.Run(t, logtest.Kit{
		Open: func(t *testing.T) eventlog.Log {
			dir = t.TempDir()
			return open(t, jetlog.Options{Dir: dir})
		},
		Reopen: func(t *testing.T) eventlog.Log { return open(t, jetlog.Options{Dir: dir}) },
		OpenSmall: func(t *testing.T, maxBytes int64, maxAge time.Duration) eventlog.Log {
			return open(t, jetlog.Options{Dir: t.TempDir(), MaxBytes: maxBytes, MaxAge: maxAge})
		},
	})
}

// An embedded log reads the server's store itself. If it does not find the store in a
// version of the server, it warns, and is many times slower.
func TestEmbeddedReadsTheStore(t *testing.T) {
	var text strings.Builder
	l := open(t, jetlog.Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if text.Len() > 0 {
		t.Errorf("the log warns: %s", text.String())
	}
}
