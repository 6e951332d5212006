package hub_test

import (
	"errors"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
)

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
		"0w3k7zq4m8tc-42":           hub.FromPosition(eventlog.Position{Epoch: "0w3k7zq4m8tc", Seq: 42}),
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
