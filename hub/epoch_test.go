package hub_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/tidings/hub"
)

func TestEpochIDsAreOrderedByTime(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	seen := map[string]bool{}
	before := ""
	for i := range 1000 {
		id := hub.NewEpochID(at.Add(time.Duration(i) * time.Second))
		if len(id) != 12 || seen[id] || id <= before {
			t.Fatalf("%q comes after %q", id, before)
		}
		seen[id], before = true, id
	}
	same := 0
	for range 1000 {
		if id := hub.NewEpochID(at); seen[id] {
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
		if id := hub.NewEpochID(odd); len(id) != 12 {
			t.Errorf("%v: %q", odd, id)
		}
	}
}

func TestPositions(t *testing.T) {
	for _, s := range []string{"0w3k7zq4m8tc-0", "0w3k7zq4m8tc-42", "zzzzzzzzzzzz-18446744073709551615"} {
		if p, err := hub.ParsePosition(s); err != nil || p.String() != s {
			t.Errorf("%q becomes %q, %v", s, p, err)
		}
	}
	for _, s := range []string{
		"", "42", "-", "-42", "0w3k7zq4m8tc", "0w3k7zq4m8tc-", "0w3k7zq4m8t-42", "0w3k7zq4m8tcc-42", "0W3K7ZQ4M8TC-42",
		"0w3k7zq4m8ti-42", "0w3k7zq4m8tc-042", "0w3k7zq4m8tc-00", "0w3k7zq4m8tc-+4", "0w3k7zq4m8tc--4", "0w3k7zq4m8tc-4 ", " 0w3k7zq4m8tc-4",
		"0w3k7zq4m8tc-4_2", "0w3k7zq4m8tc-0x2", "0w3k7zq4m8tc-18446744073709551616", "0w3k7zq4m8tc-4-2", "tidings.open", strings.Repeat("9", 100_000),
		"0w3k7zq4m8tc-" + strings.Repeat("9", 100_000), "0w3k7zq4m8tc-４", `["a"]`,
	} {
		p, err := hub.ParsePosition(s)
		if invalid, ok := errors.AsType[*hub.InvalidError](err); !ok || invalid.Field != "id" || p != (hub.Position{}) {
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
		p, err := hub.ParsePosition(s)
		if err == nil && p.String() != s {
			t.Errorf("%q becomes %q", s, p)
		}
		hub.Resolve([]hub.Epoch{{"0w3k7zq4m8tc", 1}, {"0w3k7zq4m8td", 10}}, p)
	})
}

func FuzzFrom(f *testing.F) {
	for _, s := range []string{"now", "start", "last", "10", "0w3k7zq4m8tc-42", "2026-01-31T12:00:00Z", "2026-01-31t12:00:00.5+01:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		from, err := hub.ParseFrom(s)
		if invalid, ok := errors.AsType[*hub.InvalidError](err); err != nil && (!ok || invalid.Field != "from" || from != hub.From{}) {
			t.Errorf("%q: %v, %v", s, from, err)
		}
	})
}

func TestFrom(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]hub.From{
		"":                          {},
		"now":                       {},
		"start":                     hub.FromStart(),
		"last":                      hub.FromLast(),
		"0":                         hub.FromCount(0),
		"25":                        hub.FromCount(25),
		"100000":                    hub.FromCount(hub.MaxFromCount),
		"0w3k7zq4m8tc-42":           hub.FromPosition(hub.Position{Epoch: "0w3k7zq4m8tc", Seq: 42}),
		"2026-01-31T12:00:00Z":      hub.FromTime(at),
		"2026-01-31t12:00:00z":      hub.FromTime(at),
		"2026-01-31T13:00:00+01:00": hub.FromTime(at),
		"2026-01-31T13:00:00 01:00": hub.FromTime(at), // a + that was not encoded
		"2026-01-31T12:00:00.5Z":    hub.FromTime(at.Add(time.Second / 2)),
	} {
		if got, err := hub.ParseFrom(s); err != nil || got != want {
			t.Errorf("%q becomes %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"Now", "begin", "-1", "+5", "1.5", "100001", "2000000000", "99999999999999999999", "0w3k7zq4m8tc-042", "2026-01-31", "2026-01-31T12:00:00", "2026-13-31T12:00:00Z", "12:00", " ",
	} {
		if got, err := hub.ParseFrom(s); err == nil || got != (hub.From{}) {
			t.Errorf("%q becomes %+v, %v", s, got, err)
		}
	}
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
	epochs := []hub.Epoch{{a, 1}, {b, 1001}, {c, 1201}}
	for _, tt := range []struct {
		rule   string
		p      hub.Position
		after  uint64
		reason string
	}{
		{"the begin", hub.Position{a, 0}, 0, ""},
		{"what survived", hub.Position{a, 900}, 900, ""},
		{"the last that survived", hub.Position{a, 1000}, 1000, ""},
		{"the first that did not", hub.Position{a, 1001}, 1000, hub.GapLost},
		{"the last that did not", hub.Position{a, 1100}, 1000, hub.GapLost},
		{"the same number in the next epoch", hub.Position{b, 1001}, 1001, ""},
		{"the last of an epoch that ended well", hub.Position{b, 1200}, 1200, ""},
		{"the newest epoch", hub.Position{c, 1300}, 1300, ""},
		{"an id that was never given: before its epoch", hub.Position{b, 900}, 1000, hub.GapUnknown},
		{"an epoch that was forgotten, or of another log", hub.Position{older, 5000}, 0, hub.GapUnknown},
		{"of a log that was replaced by a backup of a, which then went on as b", hub.Position{between, 5000}, 1000, hub.GapUnknown},
		{"the clock went back: what the newest epoch assigned is new to everyone", hub.Position{newer, 5000}, 1200, hub.GapUnknown},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			if after, reason := hub.Resolve(epochs, tt.p); after != tt.after || reason != tt.reason {
				t.Errorf("%s goes on after %d, %q; want %d, %q", tt.p, after, reason, tt.after, tt.reason)
			}
		})
	}
	for seq, want := range map[uint64]string{0: a, 1: a, 1000: a, 1001: b, 1200: b, 1201: c, 9000: c} {
		p := hub.PositionAt(epochs, seq)
		if after, reason := hub.Resolve(epochs, p); p.Epoch != want || after != seq || reason != "" {
			t.Errorf("%d is %s, and that goes on after %d, %q", seq, p, after, reason)
		}
	}
}
