package logtest

import (
	"fmt"
	"slices"
	"testing"

	"example.com/tidings/eventlog"
)

// reopen checks the rules of a durable log that is closed and opened again: records, keys
// and epochs are kept, ids stay the same, and numbers go on.
func reopen(t *testing.T, kit Kit) {
	l := closed(t, kit.Open(t))
	want := addTopics(t, l, "a", "b", "a")
	var keyed []eventlog.Message
	var repeats []eventlog.Appended // the results of keyed, appended again
	for i := range 3 {
		m := eventlog.Message{Topic: "k", Key: fmt.Sprint(i), Type: "t", Data: "keyed"}
		want = append(want, add(t, l, m)...)
		keyed = append(keyed, m)
		repeats = append(repeats, eventlog.Appended{ID: state(t, l).Epochs.Position(uint64(len(want))), Repeat: true})
		before := state(t, l).Epochs
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = closed(t, kit.Reopen(t))
		after := state(t, l).Epochs
		if len(after) < len(before) || !slices.Equal(after[:len(before)], before) {
			t.Fatalf("the epochs were %+v and are %+v", before, after)
		}
		retains(t, l, 1, uint64(len(want)))
		w := tail(t, l, uint64(len(want)))
		if got := l.Append(within(t), keyed); !slices.Equal(got, repeats) {
			t.Fatalf("the repeats got %+v, want %+v", got, repeats)
		}
		more := addTopics(t, l, fmt.Sprintf("more.%d", i), "a")
		same(t, "the tail", w.take(t, 2), more)
		w.stop()
		want = append(want, more...)
		same(t, "all", everything(t, l, 0, "**"), want)
		same(t, "one topic", everything(t, l, 0, "a"), selected(want, filters(t, "a")))
	}
}
