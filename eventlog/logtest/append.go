package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

var appendCases = []logCase{
	{"Append/order", "the first message of a new log has 1, and each further one has the next number; messages are stored in order", func(t *testing.T, l eventlog.Log) {
		retains(t, l, 1, 0)
		want := addTopics(t, l, "a", "b")
		want = append(want, addTopics(t, l, "a", "c.d", "a")...)
		for i, r := range want {
			if r.Seq != uint64(i+1) {
				t.Fatalf("message %d got %d", i, r.Seq)
			}
		}
		same(t, "all", everything(t, l, 0, "**"), want)
		retains(t, l, 1, 5)
	}},
	{"Append/window", "the state says how long the log remembers keys", func(t *testing.T, l eventlog.Log) {
		if window := state(t, l).KeyWindow; window < patience {
			t.Errorf("the log says that it remembers keys for %v, and is to remember them for longer than a test lasts", window)
		}
	}},
	{"Append/id", "the epochs of the log name the id of each result", func(t *testing.T, l eventlog.Log) {
		epochs := state(t, l).Epochs
		keyed := eventlog.Message{Topic: "a", Key: "k"}
		for i, want := range []eventlog.Appended{
			{ID: epochs.Position(1)}, {ID: epochs.Position(2)}, {ID: epochs.Position(1), Repeat: true}, {ID: epochs.Position(3)},
		} {
			m := []eventlog.Message{keyed, {Topic: "b"}, keyed, {Topic: "a"}}[i]
			if got := l.Append(within(t), []eventlog.Message{m})[0]; got != want {
				t.Errorf("message %d got %+v, want %+v", i, got, want)
			}
		}
		if now := state(t, l).Epochs; !slices.Equal(now, epochs) {
			t.Errorf("the epochs were %+v and are %+v", epochs, now)
		}
	}},
	{"Append/nothing", "Append returns a result for each message, and none for no message", func(t *testing.T, l eventlog.Log) {
		if got := l.Append(within(t), nil); len(got) != 0 {
			t.Fatalf("Append of nothing returns %+v", got)
		}
	}},
	{"Append/content", "the log stores a message as it was appended", func(t *testing.T, l eventlog.Log) {
		var messages []eventlog.Message
		for _, data := range []string{
			"", " ", "x", "\n", "a\r\nb\rc\n", "\x00", "nul\x00nul", "\u2028\u2029\u0085\v\f", "😀 zoë", "\ufeffbom", "\ufffd",
			`{"json": [1, "<&>"]}`, "NATS/1.0\r\nTidings-Type: no\r\n\r\n", strings.Repeat("0123456789abcdef", 32<<10),
		} {
			messages = append(messages, eventlog.Message{Topic: "data", Data: data}, eventlog.Message{Topic: "data", Type: "t", Data: data})
		}
		for _, typ := range []string{"", "message", "order.created", " spaces around ", "a b", "%41", "%", "tab\t", "colon: semi;", "zoë 😀", "\u2028", strings.Repeat("é", eventlog.MaxTypeBytes/2)} {
			messages = append(messages, eventlog.Message{Topic: "type", Type: typ, Data: "x"}, eventlog.Message{Topic: "type", Type: typ, Data: "x", Key: "key of " + typ})
		}
		long := strings.Repeat("t", 180)
		for _, topic := range []string{"A", "a-b_c~d@e:f=g", topics.Token("zoë/?*>. "), "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16", long} {
			messages = append(messages, eventlog.Message{Topic: topic, Data: topic})
		}
		for _, key := range []string{"k", " ", "a\r\nb", "\x00", "é", strings.Repeat("k", eventlog.MaxKeyBytes)} {
			messages = append(messages, eventlog.Message{Topic: "key", Key: key, Data: key})
		}
		want := add(t, l, messages...)
		same(t, "all", everything(t, l, 0, "**"), want)
	}},
	{"Append/batch", "a batch of many messages is stored in its order", func(t *testing.T, l eventlog.Log) {
		messages := make([]eventlog.Message, 3000)
		for i := range messages {
			messages[i] = eventlog.Message{Topic: fmt.Sprintf("t.%d", i%7), Data: fmt.Sprint(i)}
		}
		want := add(t, l, messages...)
		for i, r := range want {
			if r.Seq != uint64(i+1) {
				t.Fatalf("message %d got %d", i, r.Seq)
			}
		}
		same(t, "all", everything(t, l, 0, "**"), want)
	}},
	{"Append/repeat", "a message whose key was used on its topic is not stored again; its result is that of the first", func(t *testing.T, l eventlog.Log) {
		first := add(t, l, eventlog.Message{Topic: "a", Key: "k", Type: "t", Data: "d"})
		addTopics(t, l, "b")
		got := l.Append(within(t), []eventlog.Message{{Topic: "a", Key: "k", Type: "t", Data: "d"}})[0]
		if got != (eventlog.Appended{ID: state(t, l).Epochs.Position(first[0].Seq), Repeat: true}) {
			t.Fatalf("the repeat got %+v", got)
		}
		retains(t, l, 1, 2)
	}},
	{"Append/conflict", "a message whose key was used on its topic for another type or data gets ErrKeyConflict; messages after it are stored", func(t *testing.T, l eventlog.Log) {
		add(t, l, eventlog.Message{Topic: "a", Key: "k", Type: "t", Data: "d"})
		got := l.Append(within(t), []eventlog.Message{
			{Topic: "a", Key: "k", Type: "t", Data: "other"},
			{Topic: "a", Key: "k", Type: "other", Data: "d"},
			{Topic: "a", Key: "k", Data: "d"},
			{Topic: "a", Data: "after"},
		})
		for i := range 3 {
			if !errors.Is(got[i].Err, eventlog.ErrKeyConflict) || got[i].Repeat {
				t.Errorf("conflict %d got %+v", i, got[i])
			}
		}
		if got[3] != (eventlog.Appended{ID: state(t, l).Epochs.Position(2)}) {
			t.Errorf("the message after got %+v", got[3])
		}
	}},
	{"Append/keys of topics", "the same key on another topic is another key", func(t *testing.T, l eventlog.Log) {
		want := add(t, l,
			eventlog.Message{Topic: "a", Key: "k", Data: "1"}, eventlog.Message{Topic: "b", Key: "k", Data: "2"},
			eventlog.Message{Topic: "a.b", Key: "c", Data: "3"}, eventlog.Message{Topic: "a", Key: "b.c", Data: "4"},
			eventlog.Message{Topic: "a", Key: "bc", Data: "5"}, eventlog.Message{Topic: "ab", Key: "c", Data: "6"},
			eventlog.Message{Topic: "a", Data: "1"}, eventlog.Message{Topic: "a", Data: "1"})
		same(t, "all", everything(t, l, 0, "**"), want)
	}},
	{"Append/keys in a batch", "a key may come twice within a batch", func(t *testing.T, l eventlog.Log) {
		got := l.Append(within(t), []eventlog.Message{
			{Topic: "a", Key: "k", Data: "1"}, {Topic: "a", Data: "2"}, {Topic: "a", Key: "k", Data: "1"},
			{Topic: "a", Key: "k", Data: "3"}, {Topic: "a", Data: "4"},
		})
		if !errors.Is(got[3].Err, eventlog.ErrKeyConflict) {
			t.Errorf("the conflict got %+v", got[3])
		}
		got[3] = eventlog.Appended{}
		at := state(t, l).Epochs.Position
		want := []eventlog.Appended{{ID: at(1)}, {ID: at(2)}, {ID: at(1), Repeat: true}, {}, {ID: at(3)}}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("result %d is %+v, want %+v", i, got[i], want[i])
			}
		}
	}},
	{"Append/one key by many", "of many messages that are appended at once with one key, one is stored", func(t *testing.T, l eventlog.Log) {
		const appenders = 16
		results := make([]eventlog.Appended, appenders)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				results[i] = l.Append(within(t), []eventlog.Message{{Topic: "a", Key: "k", Data: "d"}})[0]
			})
		}
		wg.Wait()
		stored := 0
		for _, r := range results {
			if r.Err != nil || r.ID != state(t, l).Epochs.Position(1) {
				t.Fatalf("got %+v", r)
			}
			if !r.Repeat {
				stored++
			}
		}
		if st := state(t, l); stored != 1 || st.Last != 1 {
			t.Fatalf("%d of them were stored, the state is %+v", stored, st)
		}
	}},
	{"Append/done", "if the context is done, nothing is stored, and the results have its error", func(t *testing.T, l eventlog.Log) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, a := range l.Append(ctx, []eventlog.Message{{Topic: "a"}, {Topic: "b"}}) {
			if !errors.Is(a.Err, context.Canceled) {
				t.Errorf("got %+v", a)
			}
		}
		retains(t, l, 1, 0)
	}},
	{"Append/too large", "a message that is larger than the log takes gets ErrTooLarge; messages after it are stored", func(t *testing.T, l eventlog.Log) {
		got := l.Append(within(t), []eventlog.Message{{Topic: "a", Data: "1"}, {Topic: "a", Data: strings.Repeat("x", 100<<20)}, {Topic: "a", Data: "2"}})
		at := state(t, l).Epochs.Position
		if !errors.Is(got[1].Err, eventlog.ErrTooLarge) || got[0] != (eventlog.Appended{ID: at(1)}) || got[2] != (eventlog.Appended{ID: at(2)}) {
			t.Fatalf("got %+v", got)
		}
	}},
	{"Append/many at once", "many may append at once: each message is stored once, and the messages of one appender in its order", func(t *testing.T, l eventlog.Log) {
		const appenders, each = 8, 300
		var wg sync.WaitGroup
		for i := range appenders {
			wg.Go(func() {
				for n := 0; n < each; n += 3 {
					batch := make([]eventlog.Message, 3)
					for k := range batch {
						batch[k] = eventlog.Message{Topic: fmt.Sprintf("by.%d", i), Data: fmt.Sprint(n + k)}
					}
					for _, a := range l.Append(within(t), batch) {
						if a.Err != nil {
							t.Errorf("Append: %v", a.Err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		next := map[string]int{}
		for i, r := range everything(t, l, 0, "**") {
			if r.Seq != uint64(i+1) || r.Data != fmt.Sprint(next[r.Topic]) {
				t.Fatalf("record %d is %+v, want number %d of the topic", i, r, next[r.Topic])
			}
			next[r.Topic]++
		}
		for topic, n := range next {
			if n != each {
				t.Errorf("%s has %d records", topic, n)
			}
		}
	}},
}
