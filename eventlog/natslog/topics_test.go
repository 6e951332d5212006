package natslog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/internal/natstest"
	"example.com/tidings/topics"
)

// names returns the names of topics.
func names(infos []eventlog.TopicInfo) string {
	var all []string
	for _, info := range infos {
		all = append(all, fmt.Sprint(info.Topic, ":", info.Count))
	}
	return strings.Join(all, " ")
}

// A list has the topics that another process has published to and those that have lost their
// messages not, whether it is the first list or not.
func TestTopicsFollowOtherNodes(t *testing.T) {
	opts := natslog.Options{URL: natstest.Start(t).URL}
	l, other := connect(t, opts), connect(t, opts)
	list := func(pattern, after string, limit int, want string) {
		t.Helper()
		infos, err := l.Topics(t.Context(), topics.MustFilters(pattern)[0], after, limit)
		if got := names(infos); err != nil || got != want {
			t.Errorf("%s after %q: %s, %v; want %s", pattern, after, got, err, want)
		}
	}
	list("**", "", 10, "")
	mustAppend(t, other, []eventlog.Message{{Topic: "a.1"}, {Topic: "b.1"}, {Topic: "b.2"}, {Topic: "c"}})
	list("**", "", 10, "a.1:1 b.1:1 b.2:1 c:1")
	mustAppend(t, l, []eventlog.Message{{Topic: "b.1"}, {Topic: "b.0"}})
	list("b.*", "", 10, "b.0:1 b.1:2 b.2:1")
	list("b.*", "b.0", 1, "b.1:2")
	list("b.1", "", 10, "b.1:2")
	list("b.1", "b.1", 10, "")
	if _, err := other.RemoveTopic(t.Context(), "b.1", 100); err != nil {
		t.Fatal(err)
	}
	list("**", "a.1", 2, "b.0:1 b.2:1")
	mustAppend(t, other, []eventlog.Message{{Topic: "b.1"}})
	list("*.*", "", 10, "a.1:1 b.0:1 b.1:1 b.2:1")
}

// Once the stream has as many topics as are allowed, messages on others are refused, and those
// after them are not.
func TestMaxTopics(t *testing.T) {
	l := connect(t, natslog.Options{URL: natstest.Start(t).URL, MaxTopics: 2})
	mustAppend(t, l, []eventlog.Message{{Topic: "a"}, {Topic: "b"}})
	state(t, l) // asks for the number
	got := l.Append(t.Context(), []eventlog.Message{{Topic: "c"}, {Topic: "a"}, {Topic: "d"}})
	if !errors.Is(got[0].Err, eventlog.ErrTooManyTopics) || got[1].Err != nil || !errors.Is(got[2].Err, eventlog.ErrTooManyTopics) {
		t.Errorf("%+v", got)
	}
}

// What a page of 100 topics costs, in the middle of many, once the names are known.
func BenchmarkTopics(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := connect(b, natslog.Options{URL: natstest.Start(b).URL})
			messages := make([]eventlog.Message, n)
			for i := range n {
				messages[i].Topic = fmt.Sprintf("t.%07d", i)
			}
			mustAppend(b, l, messages)
			for b.Loop() {
				infos, err := l.Topics(b.Context(), topics.MustFilters("**")[0], fmt.Sprintf("t.%07d", n/2), 100)
				if err != nil || len(infos) != 100 {
					b.Fatal(len(infos), err)
				}
			}
		})
	}
}
