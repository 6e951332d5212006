package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/natstest"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// The faults that these tests are for are numbered as D1 to D10 in their comments.

// numbered returns messages whose data are a word and a number, on the topic a.
func numbered(word string, from, to int) []eventlog.Message {
	var messages []eventlog.Message
	for i := from; i <= to; i++ {
		messages = append(messages, eventlog.Message{Topic: "a", Data: fmt.Sprint(word, i)})
	}
	return messages
}

// copyStore ends a server, copies its store, and starts it again.
func copyStore(t *testing.T, s *natstest.Server) (dir string) {
	t.Helper()
	s.Stop()
	dir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(s.Dir)); err != nil {
		t.Fatal(err)
	}
	s.Restart(t)
	return dir
}

// putBack replaces the store of a server that has ended.
func putBack(t *testing.T, s *natstest.Server, dir string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(s.Dir), os.CopyFS(s.Dir, os.DirFS(dir))); err != nil {
		t.Fatal(err)
	}
}

// useAgain ends a server, puts an older store back, and starts it when another program has
// stored n messages in it.
func useAgain(t *testing.T, s *natstest.Server, older string, n int) {
	t.Helper()
	s.Kill()
	other := natstest.Start(t)
	other.Stop()
	putBack(t, other, older)
	other.Restart(t)
	js := jetStream(t, other.URL)
	for i := 1; i <= n; i++ {
		if _, err := js.Publish(t.Context(), "tidings.a", fmt.Append(nil, "new", i)); err != nil {
			t.Fatal(err)
		}
	}
	other.Stop()
	putBack(t, s, other.Dir)
	s.Restart(t)
}

// A node is a hub on a log of its own.
type node struct {
	*hub.Hub
	log *natslog.Log
}

func newNode(t *testing.T, opts natslog.Options) node {
	t.Helper()
	l := connect(t, opts)
	h, err := hub.New(t.Context(), l, &hub.Options{Logger: opts.Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return node{h, l}
}

// A subscriber writes down what a subscription yields: the data of events, and gaps as their
// reason with the numbers between which they are.
type subscriber struct {
	got chan string
}

func subscribe(t *testing.T, n node, lastID string) *subscriber {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, err := n.Subscribe(ctx, hub.Subscription{Filters: topics.MustFilters("a"), LastEventID: lastID})
	if err != nil {
		t.Fatal(err)
	}
	s := &subscriber{make(chan string, 10000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev, err := range events {
			if gap, ok := errors.AsType[*sse.GapError](err); ok {
				s.got <- fmt.Sprintf("%s %s-%s", gap.Reason, numberOf(gap.After), numberOf(gap.Next))
			} else if err != nil {
				return
			} else {
				s.got <- ev.Data
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func numberOf(id string) string {
	_, number, _ := strings.Cut(id, "-")
	return number
}

// want waits until the subscriber has exactly what is given more.
func (s *subscriber) want(t *testing.T, what string, want ...string) {
	t.Helper()
	deadline := time.After(patience)
	var got []string
	for len(got) < len(want) {
		select {
		case item := <-s.got:
			got = append(got, item)
		case <-deadline:
			t.Fatalf("%s: after %q nothing comes; want %q", what, got, want)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

// datas returns the data of numbered messages.
func datas(word string, from, to int) (all []string) {
	for i := from; i <= to; i++ {
		all = append(all, fmt.Sprint(word, i))
	}
	return all
}

// D1: the stream loses the records from 81 on, and others store 40 in their place before any
// node looks. Every subscriber is told, and gets all that is there; no id names two messages.
func TestEndThatIsLostAndUsedAgain(t *testing.T) {
	s := natstest.Start(t)
	opts := natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)}
	nodes := []node{newNode(t, opts), newNode(t, opts)}
	mustAppend(t, nodes[0].log, numbered("old", 1, 80))
	older := copyStore(t, s)
	appendSoon(t, nodes[0].log, numbered("old", 81, 81))
	old := nodes[0].log.Append(t.Context(), numbered("old", 82, 100))
	before := state(t, nodes[0].log)
	live := subscribe(t, nodes[0], before.Epochs.Position(1).String())
	far := subscribe(t, nodes[1], before.Epochs.Position(1).String())
	live.want(t, "before", datas("old", 2, 100)...)
	far.want(t, "before", datas("old", 2, 100)...)
	useAgain(t, s, older, 40)
	rest := append([]string{"lost 100-80"}, datas("new", 1, 40)...)
	live.want(t, "a live stream", rest...)
	far.want(t, "a live stream of the other node", rest...)
	fresh := newNode(t, opts)
	now := state(t, nodes[0].log)
	want := append(slices.Clone(before.Epochs), eventlog.Epoch{ID: now.Epochs[len(now.Epochs)-1].ID, First: 81, Cut: true})
	for i, n := range append(nodes, fresh) {
		if got := state(t, n.log).Epochs; !slices.Equal(got, want) {
			t.Errorf("node %d has the epochs %+v, want %+v", i, got, want)
		}
		at := func(seq uint64) string { return before.Epochs.Position(seq).String() }
		crossing := append(append(datas("old", 71, 80), "lost 80-80"), datas("new", 1, 40)...)
		subscribe(t, n, at(70)).want(t, "who comes back with 70", crossing...)
		subscribe(t, n, at(90)).want(t, "who comes back with 90", append([]string{"lost 90-80"}, datas("new", 1, 40)...)...)
		subscribe(t, n, old[18].ID.String()).want(t, "who comes back with the last id", rest...)
		told := eventlog.Position{Epoch: want[1].ID, Seq: 80}.String()
		subscribe(t, n, told).want(t, "who was told", datas("new", 1, 40)...)
		if _, err := n.Event(t.Context(), "a", old[5].ID); !lost(err) {
			t.Errorf("the event %s: %v", old[5].ID, err)
		}
		wantHistory(t, n, before.Epochs.Position(70), crossing)
	}
	next := nodes[1].log.Append(t.Context(), numbered("newer", 1, 1))[0]
	if next.Err != nil || next.ID.Seq != 121 || next.ID.Epoch != want[1].ID {
		t.Errorf("the next message got %+v", next)
	}
	live.want(t, "what comes then", "newer1")
}

func lost(err error) bool {
	e, ok := errors.AsType[*eventlog.NotFoundError](err)
	return ok && e.Reason == sse.GapLost
}

// wantHistory reads the history page by page.
func wantHistory(t *testing.T, n node, after eventlog.Position, want []string) {
	t.Helper()
	var got []string
	for more := true; more; {
		page, err := n.History(t.Context(), topics.MustFilters("a"), after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if gap := page.Gap; gap != nil {
			got = append(got, fmt.Sprintf("%s %s-%s", gap.Reason, numberOf(gap.After), numberOf(gap.Next)))
		}
		for _, ev := range page.Events {
			got = append(got, ev.Data)
		}
		after, more = page.Next, page.More
	}
	if !slices.Equal(got, want) {
		t.Errorf("the history is %q, want %q", got, want)
	}
}

// D1: the end is lost and used again while no node runs. A node that starts then knows it by the
// list of epochs. If the list is older, too, an id with a mark still does not name another message.
func TestEndThatIsLostWhileNobodyLooks(t *testing.T) {
	t.Parallel()
	for _, listSurvives := range []bool{true, false} {
		t.Run(fmt.Sprint("list survives: ", listSurvives), func(t *testing.T) {
			s := natstest.Start(t)
			opts := natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)}
			first := connect(t, opts)
			mustAppend(t, first, numbered("old", 1, 80))
			older := copyStore(t, s)
			appendSoon(t, first, numbered("old", 81, 81))
			old := first.Append(t.Context(), numbered("old", 82, 100))
			for range first.Tail(t.Context(), state(t, first).Generation, 99) {
				break
			}
			first.SawRecord(1, 0) // looks at once, and writes the list
			js := jetStream(t, s.URL)
			eventually(t, "the list is written", func() bool {
				kv, err := js.KeyValue(t.Context(), "tidings-epochs")
				if err != nil {
					return false
				}
				entry, err := kv.Get(t.Context(), "epochs")
				return err == nil && strings.Contains(string(entry.Value()), `"seq":100`)
			})
			first.Abandon()
			if listSurvives {
				const streams = "jetstream/$G/streams/"
				s.Stop()
				if err := errors.Join(os.RemoveAll(filepath.Join(older, streams+"KV_tidings-epochs")),
					os.CopyFS(filepath.Join(older, streams+"KV_tidings-epochs"), os.DirFS(filepath.Join(s.Dir, streams+"KV_tidings-epochs")))); err != nil {
					t.Fatal(err)
				}
			}
			useAgain(t, s, older, 40)
			n := newNode(t, opts)
			want := append([]string{"lost 100-80"}, datas("new", 1, 40)...)
			if !listSurvives {
				want = append([]string{"lost 100-100"}, datas("new", 21, 40)...)
			}
			subscribe(t, n, old[18].ID.String()).want(t, "who comes back", want...)
			if _, err := n.Event(t.Context(), "a", old[18].ID); !lost(err) {
				t.Errorf("the event %s: %v", old[18].ID, err)
			}
		})
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("still not: " + what)
		}
	}
}

// D4: a leader that does not have the newest record yet is asked again. Nothing is stored
// meanwhile, and the log is not opened anew.
func TestLeaderThatIsBehind(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL})
	mustAppend(t, l, numbered("", 1, 3))
	before := state(t, l)
	const mark = 12345
	l.SawRecord(4, mark)
	eventually(t, "publishing waits", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := l.State(ctx)
		return err != nil
	})
	m := &nats.Msg{Subject: "tidings.a", Header: nats.Header{"Tidings-Mark": {string(eventlog.AppendMark(nil, mark))}}}
	if _, err := jetStream(t, s.URL).PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if a := l.Append(t.Context(), numbered("", 5, 5))[0]; a.Err != nil || a.ID.Seq != 5 {
		t.Errorf("Append: %+v", a)
	}
	if now := state(t, l); now.Generation != before.Generation || !slices.Equal(now.Epochs, before.Epochs) {
		t.Errorf("the state was %+v, and is %+v", before, now)
	}
}

// D5: another program makes the stream anew. No acknowledgement carries the old epoch.
func TestAcknowledgementsOfAStreamMadeAgain(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)})
	js := jetStream(t, s.URL)
	for range 5 {
		eventually(t, "it is stored", func() bool {
			return !slices.ContainsFunc(l.Append(t.Context(), topicA(10)), func(a eventlog.Appended) bool { return a.Err != nil })
		})
		before := state(t, l)
		stream, err := js.Stream(t.Context(), natslog.DefaultStream)
		if err != nil {
			t.Fatal(err)
		}
		config := stream.CachedInfo().Config
		config.Metadata["tidings-epoch"] = eventlog.NewEpochID(time.Now())
		if err := js.DeleteStream(t.Context(), natslog.DefaultStream); err != nil {
			t.Fatal(err)
		}
		_, _ = js.CreateStream(t.Context(), config) // or the log has done so
		for range 20 {
			if a := l.Append(t.Context(), topicA(1))[0]; a.Err == nil && a.ID.Epoch == before.Epochs[0].ID {
				t.Fatalf("the stream is another one, and Append returns %+v", a)
			}
		}
	}
}

// A record was exchanged for another one in the middle of the stream, as when the leader is a server
// that a loss of power has left with other records. Whoever reads there notices it.
func TestRecordThatIsAnother(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)})
	mustAppend(t, l, numbered("", 1, 5))
	before := state(t, l)
	l.Misremember(3)
	q := eventlog.Query{Filters: topics.MustFilters("**"), UpTo: 5, MaxRecords: 5, MaxBytes: 1 << 20}
	if _, err := l.Read(t.Context(), q); !errors.Is(err, eventlog.ErrReopened) {
		t.Errorf("Read: %v", err)
	}
	after := nextState(t, l, before)
	if len(after.Epochs) != 2 || after.Epochs[1].First != 3 {
		t.Errorf("the epochs are %+v", after.Epochs)
	}
	appendSoon(t, l, topicA(1))
	if got := everything(t, l); len(got) != 6 {
		t.Errorf("then there are %d records", len(got))
	}
}

// A log that misses the newest record that it has seen tells the logs that run, whether or not the
// bucket of the list can be written. Another one that is told so waits for the record, too.
func TestDoubtIsTold(t *testing.T) {
	s := natstest.Start(t)
	opts := natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)}
	first := connect(t, opts)
	mustAppend(t, first, topicA(1))
	js := jetStream(t, s.URL)
	told, err := js.Conn().SubscribeSync("$KV.tidings-epochs.epochs")
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	before := state(t, first)
	first.SawRecordAt(9, time.Now())
	var doubt *nats.Msg
	for doubt == nil || doubt.Header.Get("Nats-Expected-Stream") == "" {
		if doubt, err = told.NextMsg(patience); err != nil {
			t.Fatal(err)
		}
	}
	epochs := nextState(t, first, before).Epochs

	other := natstest.Start(t)
	opts.URL = other.URL
	second := connect(t, opts)
	mustAppend(t, second, topicA(1))
	before = state(t, second)
	base := before.Epochs[0].ID
	doubt.Data = []byte(strings.ReplaceAll(string(doubt.Data), epochs[0].ID, base))
	doubt.Reply = ""
	if err := jetStream(t, other.URL).Conn().PublishMsg(doubt); err != nil {
		t.Fatal(err)
	}
	if got := nextState(t, second, before).Epochs; len(got) != 2 || got[1].First != 2 {
		t.Errorf("the epochs are %+v", got)
	}
}

// D5: a number at or below one that the stream has reached is not acknowledged. It is another
// stream, or one that has lost its end.
func TestNumberThatIsUsedAgain(t *testing.T) {
	s := natstest.Start(t)
	l := connect(t, natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)})
	mustAppend(t, l, topicA(3))
	before := state(t, l)
	l.SawNumber(10)
	if a := l.Append(t.Context(), topicA(1))[0]; !errors.Is(a.Err, eventlog.ErrUnconfirmed) {
		t.Errorf("Append: %+v", a)
	}
	after := nextState(t, l, before)
	if a := l.Append(t.Context(), topicA(1))[0]; a.Err != nil || a.ID.Seq != 5 || a.ID.Epoch != after.Epochs[1].ID {
		t.Errorf("then Append: %+v; the epochs are %+v", a, after.Epochs)
	}
}

// The server is started again while no node runs. A node that starts then cannot know whether the
// newest records are gone, unless the last node has ended in order.
func TestStartInDoubt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		end    func(*natslog.Log)
		epochs int
	}{
		{"ended in order", func(l *natslog.Log) { l.Close() }, 1},
		{"killed", (*natslog.Log).Abandon, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := natstest.Start(t)
			opts := natslog.Options{URL: s.URL, Logger: slog.New(slog.DiscardHandler)}
			l := connect(t, opts)
			mustAppend(t, l, topicA(3))
			for range l.Tail(t.Context(), state(t, l).Generation, 2) {
				break
			}
			js := jetStream(t, s.URL)
			eventually(t, "the list is written", func() bool {
				l.Look()
				kv, err := js.KeyValue(t.Context(), "tidings-epochs")
				if err != nil {
					return false
				}
				entry, err := kv.Get(t.Context(), "epochs")
				return err == nil && strings.Contains(string(entry.Value()), `"seq":3`)
			})
			row.end(l)
			again := connect(t, opts) // the same server
			if got := state(t, again).Epochs; len(got) != 1 {
				t.Errorf("with the same start of the server the epochs are %+v", got)
			}
			row.end(again)
			s.Stop()
			s.Restart(t)
			if got := state(t, connect(t, opts)).Epochs; len(got) != row.epochs || row.epochs == 2 && got[1].First != 4 {
				t.Errorf("with another start of the server the epochs are %+v", got)
			}
		})
	}
}
