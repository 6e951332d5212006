package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

var lookupCases = []logCase{
	{"State", "epochs, of which the first begins at 1, and the generation stay the same while the log is open", func(t *testing.T, l eventlog.Log) {
		before := state(t, l)
		epochs := slices.Clone(before.Epochs)
		addTopics(t, l, "a", "b")
		after := state(t, l)
		if !slices.Equal(after.Epochs, epochs) || !slices.Equal(before.Epochs, epochs) || after.Generation != before.Generation {
			t.Errorf("the state was %+v and is %+v", before, after)
		}
	}},
	{"Back", "Back returns the number after which the newest n records up to upTo lie, or 0 if there are fewer", func(t *testing.T, l eventlog.Log) {
		topics := make([]string, 1000)
		for i := range topics {
			topics[i] = "common"
		}
		topics[9], topics[499], topics[989] = "rare", "rare", "rare"
		addTopics(t, l, topics...)
		for _, row := range []struct {
			patterns string
			n        int
			upTo     uint64
			want     uint64
		}{
			{"**", 1, 1000, 999}, {"**", 10, 1000, 990}, {"**", 1000, 1000, 0}, {"**", 999, 1000, 1}, {"**", 1001, 1000, 0}, {"**", 3, 3, 0}, {"**", 2, 3, 1},
			{"rare", 1, 1000, 989}, {"rare", 2, 1000, 499}, {"rare", 3, 1000, 9}, {"rare", 4, 1000, 0}, {"rare", 1, 989, 499}, {"rare", 1, 500, 499}, {"rare", 1, 9, 0},
			{"none", 1, 1000, 0}, {"rare common", 10, 500, 490}, {"**", 1, 0, 0},
		} {
			got, err := l.Back(within(t), filters(t, strings.Fields(row.patterns)...), row.n, row.upTo)
			if err != nil || got != row.want {
				t.Errorf("Back(%s, %d, %d) = %d, %v, want %d", row.patterns, row.n, row.upTo, got, err, row.want)
			}
		}
	}},
	{"Back/done", "if the context is done, Back returns its error", func(t *testing.T, l eventlog.Log) {
		addTopics(t, l, "a", "b")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if after, err := l.Back(ctx, filters(t, "a"), 2, 2); !errors.Is(err, context.Canceled) {
			t.Errorf("Back: %d, %v", after, err)
		}
	}},
	{"At", "At returns the number of the first record that was stored at t or later, or one more than the last", func(t *testing.T, l eventlog.Log) {
		if got, err := l.At(within(t), time.Now()); err != nil || got != 1 {
			t.Errorf("of an empty log: %d, %v", got, err)
		}
		for range 20 {
			addTopics(t, l, "a", "b")
			time.Sleep(time.Millisecond) // so that most have a time of their own
		}
		records := everything(t, l, 0, "**")
		for i, r := range records {
			want := slices.IndexFunc(records, func(x eventlog.Record) bool { return !x.Time.Before(r.Time) }) + 1
			if got, err := l.At(within(t), r.Time); err != nil || got != uint64(want) {
				t.Errorf("at the time of record %d: %d, %v, want %d", i+1, got, err, want)
			}
		}
		first, last := records[0].Time, records[len(records)-1].Time
		for at, want := range map[time.Time]uint64{first.Add(-time.Hour): 1, last.Add(1): 41, last.Add(time.Hour): 41} {
			if got, err := l.At(within(t), at); err != nil || got != want {
				t.Errorf("at %v: %d, %v, want %d", at, got, err, want)
			}
		}
	}},
	{"Count", "Count returns how many retained records after a number, up to and including through, match", func(t *testing.T, l eventlog.Log) {
		all := addTopics(t, l, "a", "b", "a", "a.b", "b.b", "a", "a.b.c", "b")
		for _, patterns := range []string{"**", "a", "b", "a.*", "*.b", "a.* *.b", "a.** b", "x"} {
			fs := filters(t, strings.Fields(patterns)...)
			for after := range all {
				n, through, err := l.Count(within(t), fs, uint64(after))
				if want := len(selected(all[after:], fs)); err != nil || n != uint64(want) || through != 8 {
					t.Errorf("Count(%s, %d) = %d, %d, %v, want %d, 8", patterns, after, n, through, err, want)
				}
			}
			if n, through, err := l.Count(within(t), fs, 8); err != nil || n != 0 || through != 8 {
				t.Errorf("Count(%s, 8) = %d, %d, %v", patterns, n, through, err)
			}
		}
	}},
	{"Topics", "Topics returns up to limit topics that match, ordered by name, beginning after the given one", func(t *testing.T, l eventlog.Log) {
		var topics []string
		for i := range 30 {
			topics = append(topics, fmt.Sprintf("n.%02d", i))
		}
		addTopics(t, l, topics...)
		addTopics(t, l, "n.07", "m", "n.07")
		page := func(filter, after string, limit int) []eventlog.TopicInfo {
			t.Helper()
			infos, err := l.Topics(within(t), filters(t, filter)[0], after, limit)
			if err != nil {
				t.Fatalf("Topics: %v", err)
			}
			return infos
		}
		var names []string
		for after := ""; ; {
			infos := page("n.*", after, 7)
			if len(infos) == 0 {
				break
			}
			for _, info := range infos {
				names = append(names, info.Topic)
			}
			after = names[len(names)-1]
		}
		if !slices.Equal(names, topics) {
			t.Errorf("the pages have %q", names)
		}
		all := page("**", "", 100)
		if len(all) != 31 || all[0].Topic != "m" {
			t.Fatalf("all topics: %+v", all)
		}
		last := state(t, l).Epochs.Position(33)
		if got, want := all[8], (eventlog.TopicInfo{Topic: "n.07", Count: 3, Last: last, Time: readOne(t, l, 33).Time}); got != want {
			t.Errorf("the topic is %+v, want %+v", got, want)
		}
		if got := page("x.*", "", 10); len(got) != 0 {
			t.Errorf("of no topic: %+v", got)
		}
		if got := page("n.*", "n.28x", 10); len(got) != 1 || got[0].Topic != "n.29" {
			t.Errorf("after a topic that is not there: %+v", got)
		}
	}},
}
