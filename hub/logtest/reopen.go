package logtest

import (
	"fmt"
	"slices"
	"testing"

	"example.com/tidings/hub"
)

// reopen checks what a log that is durable keeps over a clean end.
func reopen(t *testing.T, kit Kit) {
	l := closed(t, kit.Open(t))
	keyed := hub.Message{Topic: "k", Key: "key", Type: "t", Data: "keyed"}
	want := append(addTopics(t, l, "a", "b", "a"), add(t, l, keyed)...)
	for i := range 3 {
		before := l.Epochs()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = closed(t, kit.Reopen(t))
		after := l.Epochs()
		if len(after) < len(before) || !slices.Equal(after[:len(before)], before) {
			t.Fatalf("the epochs were %+v and are %+v", before, after)
		}
		if st := state(t, l); st.First != 1 || st.Last != uint64(len(want)) {
			t.Fatalf("the state is %+v", st)
		}
		w := tail(t, l, uint64(len(want)))
		if got := l.Append(within(t), []hub.Message{keyed}); got[0] != (hub.Appended{Seq: 4, Repeat: true}) {
			t.Fatalf("the repeat got %+v", got[0])
		}
		more := addTopics(t, l, fmt.Sprintf("more.%d", i), "a")
		same(t, "the tail", w.take(t, 2), more)
		w.stop()
		want = append(want, more...)
		same(t, "all", everything(t, l, 0, "**"), want)
		same(t, "one topic", everything(t, l, 0, "a"), selected(want, filters(t, "a")))
	}
}
