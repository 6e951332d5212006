package examples_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"example.com/tidings/sse"
)

func TestSQLLosesNothingForASlowClient(t *testing.T) {
	const messages = 130
	got := slowly(t, startFor(t, "notifications-sql"), messages)
	for i, ev := range got {
		if ev.Type != "" || ev.ID != strconv.Itoa(i+1) || number(t, ev) != i {
			t.Fatalf("event %d: type %q, id %s", i, ev.Type, ev.ID)
		}
	}
	if len(got) != messages {
		t.Errorf("%d events, want %d", len(got), messages)
	}
}

func TestSQLGoesOnAfterLastEventID(t *testing.T) {
	t.Parallel()
	s := startFor(t, "notifications-sql")
	for _, text := range []string{"a", "b", "c"} {
		mustPost(t, s.url, `{"user":"x","text":"`+text+`"}`)
	}
	const told = `tidings.gap {"reason":"unknown-id"}`
	cases := []struct {
		name, last string
		want       []string // before what is posted while it listens
	}{
		{"none: what is new", "", nil},
		{"0: all", "0", []string{"1 a", "2 b", "3 c"}},
		{"one that was given", "2", []string{"3 c"}},
		{"the newest", "3", nil},
		{"one that was never given", "4", []string{told}},
		{"the greatest int64", "9223372036854775807", []string{told}},
		{"more than fits", "9223372036854775808", []string{told}},
		{"negative", "-1", []string{told}},
		{"a fraction", "1.5", []string{told}},
		{"a word", "x", []string{told}},
		{"SQL", "0 OR 1=1", []string{told}},
	}
	streams := make([]*http.Response, len(cases))
	for i, tc := range cases {
		streams[i] = open(t, s.url+"/events", tc.last)
	}
	mustPost(t, s.url, `{"user":"x","text":"new"}`)
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for ev := range events(t, streams[i].Body) {
				if ev.Type != "" {
					got = append(got, ev.Type+" "+ev.Data)
					continue
				}
				var m struct{ Text string }
				if err := json.Unmarshal([]byte(ev.Data), &m); err != nil {
					t.Fatal(err)
				}
				if got = append(got, ev.ID+" "+m.Text); m.Text == "new" {
					break
				}
			}
			if want := append(tc.want, "4 new"); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestSQLSendsWhatAnotherProcessHasStored(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "messages.db")
	s, other := start(t, "notifications-sql", "-db", file), start(t, "notifications-sql", "-db", file)
	resp := open(t, s.url+"/events", "")
	mustPost(t, s.url, `{"user":"x","text":"a"}`)
	mustPost(t, other.url, `{"user":"x","text":"b"}`)
	mustPost(t, s.url, `{"user":"x","text":"c"}`)
	want := []sse.Event{
		{ID: "1", Data: `{"user":"x","text":"a"}`},
		{ID: "2", Data: `{"user":"x","text":"b"}`},
		{ID: "3", Data: `{"user":"x","text":"c"}`},
	}
	for ev := range events(t, resp.Body) {
		if ev != want[0] {
			t.Fatalf("event %q, want %q", ev, want[0])
		}
		if want = want[1:]; len(want) == 0 {
			return
		}
	}
	t.Error("the stream ended")
}

// A reader reads a stream as an EventSource does: it reconnects with the last
// event ID whenever the stream breaks.
type reader struct {
	url    string
	events []sse.Event
}

// read reads until there is an event with the data last.
func (r *reader) read(ctx context.Context, last string) error {
	lastID := "0"
	for ; ctx.Err() == nil; pause(ctx) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/events", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Last-Event-ID", lastID)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue // the server is down
		}
		for ev, err := range sse.Decode(resp.Body, &sse.DecodeOptions{LastEventID: lastID}) {
			if err != nil {
				break
			}
			lastID = ev.ID
			r.events = append(r.events, ev)
			if ev.Data == last {
				resp.Body.Close()
				return nil
			}
		}
		resp.Body.Close()
	}
	return ctx.Err()
}

// pause keeps a client from trying again in a tight loop.
func pause(ctx context.Context) {
	select {
	case <-time.After(5 * time.Millisecond):
	case <-ctx.Done():
	}
}

func TestSQLSurvivesKill9(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	file := filepath.Join(t.TempDir(), "messages.db")
	s := start(t, "notifications-sql", "-db", file)
	url := s.url // s is another server after each kill
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	const end = `{"user":"test","text":"end"}`
	var wg sync.WaitGroup

	// Two readers, one of which is there from the start.
	readers := []*reader{{url: url}, {url: url}}
	read := func(r *reader) {
		if err := r.read(ctx, end); err != nil {
			t.Error(err)
		}
	}
	wg.Go(func() { read(readers[0]) })

	// Writers post one message after the other and remember what was
	// acknowledged. What was not may or may not be stored.
	const writers = 2
	acks := make(chan struct{}, 10_000)
	stop := make(chan struct{})
	var acknowledged [writers][]string
	var posting sync.WaitGroup
	for w := range writers {
		posting.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-ctx.Done():
					return
				default:
				}
				message := fmt.Sprintf(`{"user":"%d","text":"%d"}`, w, n)
				if status, _, err := post(ctx, url, message); err != nil || status != http.StatusOK {
					pause(ctx)
					continue
				}
				acknowledged[w] = append(acknowledged[w], message)
				select {
				case acks <- struct{}{}:
				default:
				}
			}
		})
	}

	for range 3 {
		for range 50 {
			select {
			case <-acks:
			case <-ctx.Done():
				t.Fatal("messages are not taken")
			}
		}
		s.kill()
		s = startOn(t, port, "notifications-sql", "-db", file)
		if s.url != url {
			t.Fatalf("restarted on %s, want %s", s.url, url)
		}
		for len(acks) > 0 {
			<-acks
		}
	}
	close(stop)
	posting.Wait()
	mustPost(t, url, end)
	wg.Go(func() { read(readers[1]) })
	wg.Wait()

	for i, r := range readers {
		var got [writers]map[string]int // where each message was received
		lastID := int64(0)
		for at, ev := range r.events {
			id, err := strconv.ParseInt(ev.ID, 10, 64)
			if err != nil || id <= lastID || ev.Type != "" {
				t.Fatalf("reader %d: event %q after id %d", i, ev, lastID)
			}
			lastID = id
			for w := range writers {
				if got[w] == nil {
					got[w] = map[string]int{}
				}
				if _, twice := got[w][ev.Data]; twice {
					t.Errorf("reader %d: %s came twice", i, ev.Data)
				}
				got[w][ev.Data] = at
			}
		}
		for w, messages := range acknowledged {
			last := -1
			for _, m := range messages {
				at, ok := got[w][m]
				if !ok {
					t.Errorf("reader %d: %s was acknowledged and never came", i, m)
				} else if at <= last {
					t.Errorf("reader %d: %s is out of order", i, m)
				}
				last = at
			}
		}
	}
	if !slices.Equal(readers[0].events, readers[1].events) {
		t.Errorf("one reader has %d events, the other %d, or others", len(readers[0].events), len(readers[1].events))
	}
}
