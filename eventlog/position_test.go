package eventlog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/sse"
)

func TestEpochIDsAreOrderedByTime(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	seen := map[string]bool{}
	before := ""
	for i := range 1000 {
		id := eventlog.NewEpochID(at.Add(time.Duration(i) * time.Second))
		if len(id) != 12 || seen[id] || id <= before {
			t.Fatalf("%q comes after %q", id, before)
		}
		seen[id], before = true, id
	}
	same := 0
	for range 1000 {
		if id := eventlog.NewEpochID(at); seen[id] {
			same++
		} else {
			seen[id] = true
		}
	}
	if same > 3 { // of 33 million
		t.Errorf("%d of 1000 epochs of one second have the id of another", same)
	}
	// Clocks may be wrong.
	for _, odd := range []time.Time{{}, time.Unix(0, 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if id := eventlog.NewEpochID(odd); len(id) != 12 {
			t.Errorf("%v: %q", odd, id)
		}
	}
}

func TestPositions(t *testing.T) {
	for _, s := range []string{"0w3k7zq4m8tc-0", "0w3k7zq4m8tc-42", "zzzzzzzzzzzz-18446744073709551615"} {
		if p, err := eventlog.ParsePosition(s); err != nil || p.String() != s {
			t.Errorf("%q becomes %q, %v", s, p, err)
		}
	}
	for _, s := range []string{
		"", "42", "-", "-42", "0w3k7zq4m8tc", "0w3k7zq4m8tc-", "0w3k7zq4m8t-42", "0w3k7zq4m8tcc-42", "0W3K7ZQ4M8TC-42",
		"0w3k7zq4m8ti-42", "0w3k7zq4m8tc-042", "0w3k7zq4m8tc-00", "0w3k7zq4m8tc-+4", "0w3k7zq4m8tc--4", "0w3k7zq4m8tc-4 ", " 0w3k7zq4m8tc-4",
		"0w3k7zq4m8tc-4_2", "0w3k7zq4m8tc-0x2", "0w3k7zq4m8tc-18446744073709551616", "0w3k7zq4m8tc-4-2", "tidings.open", strings.Repeat("9", 100_000),
		"0w3k7zq4m8tc-" + strings.Repeat("9", 100_000), "0w3k7zq4m8tc-４", `["a"]`,
	} {
		p, err := eventlog.ParsePosition(s)
		if _, ok := errors.AsType[*eventlog.PositionError](err); !ok || p != (eventlog.Position{}) {
			t.Errorf("%.50q: %v, %v", s, p, err)
		} else if len(err.Error()) > 400 {
			t.Errorf("%.50q: the error has %d bytes", s, len(err.Error()))
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add("0w3k7zq4m8tc-42")
	f.Add("0w3k7zq4m8tc-0")
	f.Add("x-1")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := eventlog.ParsePosition(s)
		if err == nil && p.String() != s {
			t.Errorf("%q becomes %q", s, p)
		}
		var q eventlog.Position
		if unmarshalErr := q.UnmarshalText([]byte(s)); q != p || (unmarshalErr == nil) != (err == nil) {
			t.Errorf("%q is parsed as %v, %v, and unmarshaled as %v, %v", s, p, err, q, unmarshalErr)
		}
		eventlog.Timeline{{"0w3k7zq4m8tc", 1}, {"0w3k7zq4m8td", 10}}.Resolve(p)
	})
}

// The log's life: epoch a assigned 1 to 1100, of which 1000 survived a loss of
// power; then b 1001 to 1200; then a clean stop; then c.
func TestResolve(t *testing.T) {
	const (
		older   = "0000001aaaaa"
		a       = "0000002aaaaa"
		between = "0000003aaaaa"
		b       = "0000004aaaaa"
		c       = "0000006aaaaa"
		newer   = "0000009aaaaa"
	)
	epochs := eventlog.Timeline{{a, 1}, {b, 1001}, {c, 1201}}
	for _, tt := range []struct {
		rule   string
		p      eventlog.Position
		after  uint64
		reason string
	}{
		{"the begin", eventlog.Position{a, 0}, 0, ""},
		{"what survived", eventlog.Position{a, 900}, 900, ""},
		{"the last that survived", eventlog.Position{a, 1000}, 1000, ""},
		{"the first that did not", eventlog.Position{a, 1001}, 1000, sse.GapLost},
		{"the last that did not", eventlog.Position{a, 1100}, 1000, sse.GapLost},
		{"the same number in the next epoch", eventlog.Position{b, 1001}, 1001, ""},
		{"the last of an epoch that ended well", eventlog.Position{b, 1200}, 1200, ""},
		{"the newest epoch", eventlog.Position{c, 1300}, 1300, ""},
		{"an id that was never given: before its epoch", eventlog.Position{b, 900}, 1000, sse.GapUnknown},
		{"an epoch that was forgotten, or of another log", eventlog.Position{older, 5000}, 0, sse.GapUnknown},
		{"of a log that was replaced by a backup of a, which then went on as b", eventlog.Position{between, 5000}, 1000, sse.GapUnknown},
		{"the clock went back: what the newest epoch assigned is new to everyone", eventlog.Position{newer, 5000}, 1200, sse.GapUnknown},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if after, reason := epochs.Resolve(tt.p); after != tt.after || reason != tt.reason {
				t.Errorf("%s goes on after %d, %q; want %d, %q", tt.p, after, reason, tt.after, tt.reason)
			}
		})
	}
	for seq, want := range map[uint64]string{0: a, 1: a, 1000: a, 1001: b, 1200: b, 1201: c, 9000: c} {
		p := epochs.Position(seq)
		if after, reason := epochs.Resolve(p); p.Epoch != want || after != seq || reason != "" {
			t.Errorf("%d is %s, and that goes on after %d, %q", seq, p, after, reason)
		}
	}
}
