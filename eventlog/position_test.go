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
	f.Add("0w3k7zq4m8tcab3f9k-42")
	f.Add("0w3k7zq4m8tc000000-42")
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
		eventlog.Timeline{{ID: "0w3k7zq4m8tc", First: 1}, {ID: "0w3k7zq4m8td", First: 10}}.Resolve(p)
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
	epochs := eventlog.Timeline{{ID: a, First: 1}, {ID: b, First: 1001}, {ID: c, First: 1201}}
	for _, tt := range []struct {
		rule   string
		p      eventlog.Position
		after  uint64
		reason string
	}{
		{"the begin", eventlog.Position{Epoch: a, Seq: 0}, 0, ""},
		{"what survived", eventlog.Position{Epoch: a, Seq: 900}, 900, ""},
		{"the last that survived", eventlog.Position{Epoch: a, Seq: 1000}, 1000, ""},
		{"the first that did not", eventlog.Position{Epoch: a, Seq: 1001}, 1000, sse.GapLost},
		{"the last that did not", eventlog.Position{Epoch: a, Seq: 1100}, 1000, sse.GapLost},
		{"the same number in the next epoch", eventlog.Position{Epoch: b, Seq: 1001}, 1001, ""},
		{"the last of an epoch that ended well", eventlog.Position{Epoch: b, Seq: 1200}, 1200, ""},
		{"the newest epoch", eventlog.Position{Epoch: c, Seq: 1300}, 1300, ""},
		{"an id that was never given: before its epoch", eventlog.Position{Epoch: b, Seq: 900}, 1000, sse.GapUnknown},
		{"an epoch that was forgotten, or of another log", eventlog.Position{Epoch: older, Seq: 5000}, 0, sse.GapUnknown},
		{"of a log that was replaced by a backup of a, which then went on as b", eventlog.Position{Epoch: between, Seq: 5000}, 1000, sse.GapUnknown},
		{"the clock went back: what the newest epoch assigned is new to everyone", eventlog.Position{Epoch: newer, Seq: 5000}, 1200, sse.GapUnknown},
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

// A log that has lost its end twice, the second time further back: its epochs a, b and c begin
// at 1, 81 and 51. And one that has lost it at 50 first, and then at 80.
func TestCuts(t *testing.T) {
	const a, b, c = "0000001aaaaa", "0000002aaaaa", "0000003aaaaa"
	deeper := eventlog.Timeline{{ID: a, First: 1}, {ID: b, First: 81, Cut: true}, {ID: c, First: 51, Cut: true}}
	later := eventlog.Timeline{{ID: a, First: 1}, {ID: b, First: 51, Cut: true}, {ID: c, First: 81, Cut: true}}
	for _, tt := range []struct {
		rule   string
		epochs eventlog.Timeline
		p      eventlog.Position
		after  uint64
		reason string
	}{
		{"before both cuts", deeper, eventlog.Position{Epoch: a, Seq: 50}, 50, ""},
		{"lost with the second cut", deeper, eventlog.Position{Epoch: a, Seq: 70}, 50, sse.GapLost},
		{"lost with the first cut", deeper, eventlog.Position{Epoch: a, Seq: 100}, 50, sse.GapLost},
		{"told of the first cut, and lost with the second", deeper, eventlog.Position{Epoch: b, Seq: 80}, 50, sse.GapLost},
		{"told of the second cut", deeper, eventlog.Position{Epoch: c, Seq: 50}, 50, ""},
		{"after both", deeper, eventlog.Position{Epoch: c, Seq: 90}, 90, ""},
		{"nobody was given that", deeper, eventlog.Position{Epoch: c, Seq: 49}, 50, sse.GapUnknown},
		{"between two cuts", later, eventlog.Position{Epoch: b, Seq: 70}, 70, ""},
		{"lost with the later cut", later, eventlog.Position{Epoch: b, Seq: 81}, 80, sse.GapLost},
		{"lost with the earlier cut", later, eventlog.Position{Epoch: a, Seq: 81}, 50, sse.GapLost},
	} {
		if after, reason := tt.epochs.Resolve(tt.p); after != tt.after || reason != tt.reason {
			t.Errorf("%s: %s goes on after %d, %q; want %d, %q", tt.rule, tt.p, after, reason, tt.after, tt.reason)
		}
	}
	for _, tt := range []struct {
		epochs eventlog.Timeline
		seq    uint64
		at     uint64
		epoch  string
	}{
		{deeper, 0, 50, c}, {deeper, 50, 50, c}, {deeper, 51, 0, ""}, {deeper, 80, 0, ""},
		{later, 0, 50, b}, {later, 50, 50, b}, {later, 51, 80, c}, {later, 80, 80, c}, {later, 81, 0, ""},
		{eventlog.Timeline{{ID: a, First: 1}, {ID: b, First: 81}}, 0, 0, ""},
	} {
		if at, epoch, ok := tt.epochs.NextCut(tt.seq); at != tt.at || epoch != tt.epoch || ok != (epoch != "") {
			t.Errorf("after %d the next cut of %v is at %d, %q, %v; want %d, %q", tt.seq, tt.epochs, at, epoch, ok, tt.at, tt.epoch)
		}
	}
}
