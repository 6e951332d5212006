package logtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"example.com/tidings/hub"
)

var appendCases = []logCase{
	{"Append/order", "the first of a new log has 1, each next one the next number; messages are stored in order", func(t *testing.T, l hub.Log) {
		if st := state(t, l); st != (hub.State{First: 1, Last: 0}) {
			t.Fatalf("the new log's state is %+v", st)
		}
		want := addTopics(t, l, "a", "b")
		want = append(want, addTopics(t, l, "a", "c.d", "a")...)
		for i, r := range want {
			if r.Seq != uint64(i+1) {
				t.Fatalf("message %d got %d", i, r.Seq)
			}
		}
		same(t, "all", everything(t, l, 0, "**"), want)
		if st := state(t, l); st != (hub.State{First: 1, Last: 5}) {
			t.Fatalf("the state is %+v", st)
		}
	}},
	{"Append/nothing", "there is a result for each message", func(t *testing.T, l hub.Log) {
		if got := l.Append(within(t), nil); len(got) != 0 {
			t.Fatalf("Append of nothing returns %+v", got)
		}
	}},
	{"Append/content", "what is stored is what was appended", func(t *testing.T, l hub.Log) {
		var messages []hub.Message
		for _, data := range []string{
			"", " ", "x", "\n", "a\r\nb\rc\n", "\x00", "nul\x00nul", "\u2028\u2029\u0085\v\f", "😀 zoë", "\ufeffbom", "\ufffd",
			`{"json": [1, "<&>"]}`, "NATS/1.0\r\nTidings-Type: no\r\n\r\n", strings.Repeat("0123456789abcdef", 32<<10),
		} {
			messages = append(messages, hub.Message{Topic: "data", Data: data}, hub.Message{Topic: "data", Type: "t", Data: data})
		}
		for _, typ := range []string{"", "message", "order.created", " spaces around ", "a b", "%41", "%", "tab\t", "colon: semi;", "zoë 😀", "\u2028", strings.Repeat("é", hub.MaxTypeBytes/2)} {
			messages = append(messages, hub.Message{Topic: "type", Type: typ, Data: "x"}, hub.Message{Topic: "type", Type: typ, Data: "x", Key: "key of " + typ})
		}
		long := strings.Repeat("t", 180)
		for _, topic := range []string{"A", "a-b_c~d@e:f=g", hub.Token("zoë/?*>. "), "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16", long} {
			messages = append(messages, hub.Message{Topic: topic, Data: topic})
		}
		for _, key := range []string{"k", " ", "a\r\nb", "\x00", "é", strings.Repeat("k", hub.MaxKeyBytes)} {
			messages = append(messages, hub.Message{Topic: "key", Key: key, Data: key})
		}
		want := add(t, l, messages...)
		same(t, "all", everything(t, l, 0, "**"), want)
	}},
	{"Append/batch", "a batch of many is stored in its order", func(t *testing.T, l hub.Log) {
		messages := make([]hub.Message, 3000)
		for i := range messages {
			messages[i] = hub.Message{Topic: fmt.Sprintf("t.%d", i%7), Data: fmt.Sprint(i)}
		}
		want := add(t, l, messages...)
		for i, r := range want {
			if r.Seq != uint64(i+1) {
				t.Fatalf("message %d got %d", i, r.Seq)
			}
		}
		same(t, "all", everything(t, l, 0, "**"), want)
	}},
	{"Append/repeat", "a message whose key was used on its topic is not stored again: its result is the first's", func(t *testing.T, l hub.Log) {
		first := add(t, l, hub.Message{Topic: "a", Key: "k", Type: "t", Data: "d"})
		addTopics(t, l, "b")
		got := l.Append(within(t), []hub.Message{{Topic: "a", Key: "k", Type: "t", Data: "d"}})[0]
		if got != (hub.Appended{Seq: first[0].Seq, Repeat: true}) {
			t.Fatalf("the repeat got %+v", got)
		}
		if st := state(t, l); st.Last != 2 {
			t.Fatalf("the state is %+v", st)
		}
	}},
	{"Append/conflict", "and ErrKeyConflict if that had another type or data; messages that follow are stored", func(t *testing.T, l hub.Log) {
		add(t, l, hub.Message{Topic: "a", Key: "k", Type: "t", Data: "d"})
		got := l.Append(within(t), []hub.Message{
			{Topic: "a", Key: "k", Type: "t", Data: "other"},
			{Topic: "a", Key: "k", Type: "other", Data: "d"},
			{Topic: "a", Key: "k", Data: "d"},
			{Topic: "a", Data: "after"},
		})
		for i := range 3 {
			if !errors.Is(got[i].Err, hub.ErrKeyConflict) || got[i].Repeat {
				t.Errorf("conflict %d got %+v", i, got[i])
			}
		}
		if got[3] != (hub.Appended{Seq: 2}) {
			t.Errorf("the message after got %+v", got[3])
		}
	}},
	{"Append/keys of topics", "a key is its topic's", func(t *testing.T, l hub.Log) {
		want := add(t, l,
			hub.Message{Topic: "a", Key: "k", Data: "1"}, hub.Message{Topic: "b", Key: "k", Data: "2"},
			hub.Message{Topic: "a.b", Key: "c", Data: "3"}, hub.Message{Topic: "a", Key: "b.c", Data: "4"},
			hub.Message{Topic: "a", Key: "bc", Data: "5"}, hub.Message{Topic: "ab", Key: "c", Data: "6"},
			hub.Message{Topic: "a", Data: "1"}, hub.Message{Topic: "a", Data: "1"})
		same(t, "all", everything(t, l, 0, "**"), want)
	}},
	{"Append/keys in a batch", "a key may come twice within a batch", func(t *testing.T, l hub.Log) {
		got := l.Append(within(t), []hub.Message{
			{Topic: "a", Key: "k", Data: "1"}, {Topic: "a", Data: "2"}, {Topic: "a", Key: "k", Data: "1"},
			{Topic: "a", Key: "k", Data: "3"}, {Topic: "a", Data: "4"},
		})
		if !errors.Is(got[3].Err, hub.ErrKeyConflict) {
			t.Errorf("the conflict got %+v", got[3])
		}
		got[3] = hub.Appended{}
		want := []hub.Appended{{Seq: 1}, {Seq: 2}, {Seq: 1, Repeat: true}, {}, {Seq: 3}}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("result %d is %+v, want %+v", i, got[i], want[i])
			}
		}
	}},
	{"Append/one key by many", "a key that many use at once is stored once", func(t *testing.T, l hub.Log) {
		const appenders = 16
		results := make([]hub.Appended, appenders)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				results[i] = l.Append(within(t), []hub.Message{{Topic: "a", Key: "k", Data: "d"}})[0]
			})
		}
		wg.Wait()
		stored := 0
		for _, r := range results {
			if r.Err != nil || r.Seq != 1 {
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
	{"Append/done", "with a context that is done nothing is stored, and the results have its error", func(t *testing.T, l hub.Log) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, a := range l.Append(ctx, []hub.Message{{Topic: "a"}, {Topic: "b"}}) {
			if !errors.Is(a.Err, context.Canceled) {
				t.Errorf("got %+v", a)
			}
		}
	}},
	{"Append/too large", "a message that the log does not take is ErrTooLarge; those that follow are stored", func(t *testing.T, l hub.Log) {
		got := l.Append(within(t), []hub.Message{{Topic: "a", Data: "1"}, {Topic: "a", Data: strings.Repeat("x", 100<<20)}, {Topic: "a", Data: "2"}})
		if !errors.Is(got[1].Err, hub.ErrTooLarge) || got[0] != (hub.Appended{Seq: 1}) || got[2] != (hub.Appended{Seq: 2}) {
			t.Fatalf("got %+v", got)
		}
	}},
	{"Append/many at once", "appenders do not disturb each other: each message once, an appender's in its order", func(t *testing.T, l hub.Log) {
		const appenders, each = 8, 300
		var wg sync.WaitGroup
		for i := range appenders {
			wg.Go(func() {
				for n := 0; n < each; n += 3 {
					batch := make([]hub.Message, 3)
					for k := range batch {
						batch[k] = hub.Message{Topic: fmt.Sprintf("by.%d", i), Data: fmt.Sprint(n + k)}
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
