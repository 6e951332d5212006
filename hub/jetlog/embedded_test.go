package jetlog_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/hub/jetlog"
	"example.com/tidings/hub/logtest"
)

// quiet has the log say nothing but what is an error, in the test's output.
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

func TestEmbedded(t *testing.T) {
	var dir string
	logtest.Run(t, logtest.Kit{
		Open: func(t *testing.T) hub.Log {
			dir = t.TempDir()
			return open(t, jetlog.Options{Dir: dir})
		},
		Reopen: func(t *testing.T) hub.Log { return open(t, jetlog.Options{Dir: dir}) },
		OpenSmall: func(t *testing.T, maxBytes int64, maxAge time.Duration) hub.Log {
			return open(t, jetlog.Options{Dir: t.TempDir(), MaxBytes: maxBytes, MaxAge: maxAge})
		},
	})
}

// An embedded log reads the server's store itself. With a version of the server in
// which it cannot find that, it warns, and is many times slower.
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
