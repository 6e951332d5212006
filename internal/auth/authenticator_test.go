package auth

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/topics"
)

func TestAuthenticator(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	key, k, err := NewKey("shop")
	if err != nil {
		t.Fatal(err)
	}
	k.Subscribe = topics.MustFilters("orders.**")
	if err := AddKey(file, k); err != nil {
		t.Fatal(err)
	}
	a, err := New(Options{KeysFile: file, AnonymousSubscribe: topics.MustFilters("public.**")})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := a.Check(key, now); err != nil || id.Subject != "key:shop" {
		t.Errorf("%+v, %v", id, err)
	}
	if _, err := a.Check(mac(t, good()), now); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("a token without a key for it: %v", err)
	}
	a.opts.Tokens = tokens(t, string(secret))
	if id, err := a.Check(mac(t, good()), now); err != nil || id.Subject != "jwt:ada" {
		t.Errorf("%+v, %v", id, err)
	}
	if id := a.Anonymous(); id.Subject != "" || len(id.Publish) > 0 || !slices.Equal(id.Subscribe, topics.MustFilters("public.**")) {
		t.Errorf("%+v", id)
	}
	if _, err := New(Options{KeysFile: file + "x"}); err == nil {
		t.Error("there is no keys file")
	}
}

// A keys file that changes counts at once. One that is broken, or gone, or half written, keeps
// the old keys.
func TestWatch(t *testing.T) { synctest.Test(t, testWatch) }

func testWatch(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		t.Helper()
		if err := replace(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	hash := strings.Repeat("0a", 32)
	line := func(subscribe string) string {
		return `{"name":"k","sha256":"` + hash + `","subscribe":["` + subscribe + `"]}`
	}
	write(line("a.**"))
	var log strings.Builder
	a, err := New(Options{KeysFile: file, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	id := (*a.keys.Load())["k"].Identity()
	still := func(id Identity) bool {
		k, ok := (*a.keys.Load())["k"]
		return ok && !lacks(k.Subscribe, id.Subscribe)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ticks, done := make(chan time.Time), make(chan struct{})
	var narrowed []string
	go func() {
		defer close(done)
		a.Watch(ctx, ticks, func(names []string) { narrowed = append(narrowed, names...) })
	}()
	look := func() {
		for range 2 {
			ticks <- now
			synctest.Wait()
		}
	}
	look()
	steps := []struct {
		text     string
		ends     bool
		failures uint64
	}{
		{line("a.**"), false, 0},
		{line("**"), false, 0},
		{"broken " + hash, false, 1},
		{line("**") + "\n" + line("**"), false, 2},
		{line("a.**"), true, 2},
		{line("b.**"), true, 2},
		{"", true, 2},
	}
	for i, s := range steps {
		narrowed = nil
		write(s.text)
		look()
		if (len(narrowed) == 1) != s.ends || a.Failures() != s.failures {
			t.Errorf("step %d: %v end, %d failures", i, narrowed, a.Failures())
		}
	}
	if still(id) {
		t.Error("a key that is gone still allows")
	}
	write(line("a.**"))
	look()
	if !still(id) {
		t.Error("a key that is back does not allow")
	}
	narrowed = nil
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	look()
	if len(narrowed) > 0 || !still(id) || a.Failures() != 3 {
		t.Errorf("without the file: %v, %d failures", narrowed, a.Failures())
	}
	// A file that is being written is empty for a moment.
	write(line("a.**"))
	look()
	write("")
	ticks <- now
	synctest.Wait()
	write(line("a.**"))
	look()
	if len(narrowed) > 0 || !still(id) {
		t.Errorf("a file that changes at each look: %v", narrowed)
	}
	cancel()
	<-done
	if strings.Contains(log.String(), hash) || !strings.Contains(log.String(), "line 2: a second key is called k") {
		t.Errorf("the log: %s", &log)
	}
}
