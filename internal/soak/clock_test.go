//go:build unix

package soak_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const year = 365 * 24 * time.Hour

// Whatever the wall clock of the machine does, messages and keys live their time, from=TIME
// misses nothing, and streams hear from the server. Only a soak runs this test: the program
// takes a while to build. It lasts as long as it takes, whatever the soak's time.
func TestWallClockSteps(t *testing.T) {
	if *soak == 0 {
		t.Skip("only a soak builds a program whose wall clock steps")
	}
	program := buildStepping(t)
	for _, s := range []struct {
		name string
		args []string
		way  path
	}{
		{"disk", nil, takenOver},
		{"disk without take-over", nil, netHTTP},
		{"memory", []string{"--memory"}, takenOver},
	} {
		t.Run(s.name, func(t *testing.T) {
			start := func(t *testing.T, off time.Duration, args ...string) *stepping {
				return serveStepping(t, program, s.way, off, append(args, s.args...)...)
			}
			for _, test := range []struct {
				name string
				run  func(t *testing.T, start func(*testing.T, time.Duration, ...string) *stepping)
			}{
				{"retention", clockRetention},
				{"keys", clockKeys},
				{"from", clockFrom},
				{"silence", clockSilence},
			} {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					test.run(t, start)
				})
			}
		})
	}
	t.Run("restarts", func(t *testing.T) { clockRestarts(t, program) })
}

// publish publishes to a topic, with a key if that is not empty. It returns the id and the
// status.
func (s *stepping) publish(t *testing.T, topic, data, key string) (id string, status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr+"/topics/"+topic, strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var published struct{ ID string }
	if err := json.Unmarshal(b, &published); err != nil || res.StatusCode > 201 {
		t.Fatalf("publishing %q to %s: %s %s, %v", data, topic, res.Status, b, err)
	}
	return published.ID, res.StatusCode
}

// A kept message is one that the server retains.
type kept struct {
	ID, Data string
	Time     time.Time
}

// history returns the retained messages of a topic.
func (s *stepping) history(t *testing.T, topic string) []kept {
	t.Helper()
	res, err := http.Get("http://" + s.addr + "/topics/" + topic + "/events?limit=1000")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var page struct{ Events []kept }
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("the history of %s: %s, %v", topic, res.Status, err)
	}
	return page.Events
}

// clockRetention checks when messages expire.
func clockRetention(t *testing.T, start func(*testing.T, time.Duration, ...string) *stepping) {
	const age = 3 * time.Second
	for _, row := range []struct {
		name              string
		before, then, end time.Duration // how wrong the wall clock is
		least             time.Duration // how long the messages stay
	}{
		// While it is ahead, the log's time may go at twice the real speed.
		{"a year ahead for a moment", 0, year, 0, age / 2},
		{"a year ahead for good", 0, year, year, age / 2},
		{"a year behind, then right", -year, -year, 0, age / 2},
		{"an hour back", 0, 0, -time.Hour, age},
	} {
		s := start(t, row.before, "--retention-age", age.String())
		var published []time.Time
		for i, off := range []time.Duration{row.before, row.then, row.end} {
			s.set(t, off)
			published = append(published, time.Now()) // before, so that no message seems to go early
			s.publish(t, "a", fmt.Sprint(i), "")
		}
		for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			has := s.history(t, "a")
			now := time.Now()
			for i := range published[:len(published)-len(has)] {
				if lived := now.Sub(published[i]); lived < row.least {
					t.Errorf("%s: message %d is gone after %v", row.name, i, lived)
				}
			}
			if len(has) == 0 {
				break
			}
			if now.After(end) {
				t.Fatalf("%s: after %v there is still %v", row.name, patience, has)
			}
		}
		s.kill()
	}
}

// clockKeys checks how long keys are remembered.
func clockKeys(t *testing.T, start func(*testing.T, time.Duration, ...string) *stepping) {
	const window = 2 * time.Second
	s := start(t, 0, "--dedup-window", window.String())
	for _, row := range []struct {
		name       string
		used, then time.Duration
		least      time.Duration // how long the key is remembered
	}{
		{"used an hour ahead, then right", time.Hour, 0, window / 2},
		{"used, then an hour ahead", 0, time.Hour, window / 2},
		{"used, then an hour back", 0, -time.Hour, window / 2},
		{"used an hour behind, then right", -time.Hour, 0, window / 2},
	} {
		s.set(t, row.used)
		begin := time.Now()
		if _, status := s.publish(t, "a", "x", "k"); status != http.StatusCreated {
			t.Errorf("%s: the key is still that of the row before", row.name)
		}
		s.set(t, row.then)
		for end := begin.Add(patience); ; time.Sleep(20 * time.Millisecond) {
			_, status := s.publish(t, "a", "x", "k")
			lived := time.Since(begin)
			if status == http.StatusCreated {
				if lived < row.least {
					t.Errorf("%s: the key is forgotten after %v", row.name, lived)
				}
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: after %v the key is still a repeat", row.name, lived)
			}
		}
		// The key was used once more just now.
		time.Sleep(window + window/4)
	}
}

// clockFrom checks that from=TIME misses nothing, by a clock that is right and by that of
// the server.
func clockFrom(t *testing.T, start func(*testing.T, time.Duration, ...string) *stepping) {
	s := start(t, 0)
	var before []time.Time // when each message was about to be published
	for _, off := range []time.Duration{0, -time.Hour, time.Hour, 0, 10 * time.Minute, 0} {
		s.set(t, off)
		for range 3 {
			before = append(before, time.Now().Round(0))
			s.publish(t, "a", fmt.Sprint(len(before)-1), "")
			time.Sleep(20 * time.Millisecond)
		}
		for i, at := range before {
			for _, from := range []time.Time{at, at.Add(off)} {
				if n := s.first(t, from); n > i {
					t.Errorf("with an offset of %v, from=%v begins with %d, not %d", off, from.Sub(at), n, i)
				}
			}
		}
	}
	times := s.history(t, "a")
	if !slices.IsSortedFunc(times, func(a, b kept) int { return a.Time.Compare(b.Time) }) {
		t.Errorf("the times go back: %v", times)
	}
}

// first returns the number of the message with which a stream of the topic a begins.
func (s *stepping) first(t *testing.T, from time.Time) int {
	t.Helper()
	st, err := dial(t.Context(), s.addr, url.Values{"topic": {"a"}, "from": {from.UTC().Format(time.RFC3339Nano)}}, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer st.close()
	for {
		ev, err := st.next()
		if err != nil {
			t.Fatalf("from=%v: %v", from, err)
		}
		if ev.Type == "" {
			var n int
			if _, err := fmt.Sscan(ev.Data, &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
}

// clockSilence checks that streams go on, with their keep-alives.
func clockSilence(t *testing.T, start func(*testing.T, time.Duration, ...string) *stepping) {
	const keepAlive, most = 300 * time.Millisecond, 10 * time.Second
	s := start(t, 0, "--keep-alive", keepAlive.String(), "--retention-age", "720h")
	st, err := dial(t.Context(), s.addr, url.Values{"topic": {"**"}}, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer st.close()
	body := st.body
	b := make([]byte, 64<<10)
	read := func() string {
		st.conn.SetReadDeadline(time.Now().Add(most))
		n, err := body.Read(b)
		if err != nil {
			t.Fatalf("with an offset of %v: %v", s.off, err)
		}
		return string(b[:n])
	}
	for _, off := range []time.Duration{0, -time.Hour, time.Hour, -400 * 24 * time.Hour, 0} {
		s.set(t, off)
		for got, end := "", time.Now().Add(5*keepAlive); time.Now().Before(end) || !strings.Contains(got, "keep-alive"); {
			got += read()
			if len(got) > len(b) {
				t.Fatalf("with an offset of %v comes %q", off, got)
			}
		}
		data := fmt.Sprintf("at %v", off)
		s.publish(t, "a", data, "")
		for got := ""; !strings.Contains(got, "data: "+data+"\n"); {
			got += read()
		}
	}
}

// clockRestarts kills and starts a server while its wall clock goes back, and then ahead.
func clockRestarts(t *testing.T, program string) {
	s := serveStepping(t, program, takenOver, 0, "--retention-age", "1h")
	var ids []string
	restart := func(off time.Duration) {
		t.Helper()
		s.kill()
		s.write(t, off)
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		id, _ := s.publish(t, "a", fmt.Sprint(i), "")
		ids = append(ids, id)
		times := s.history(t, "a")
		if len(times) != i+1 || !slices.IsSortedFunc(times, func(a, b kept) int { return a.Time.Compare(b.Time) }) {
			t.Errorf("after %d restarts there is %v", i, times)
		}
		restart(-time.Duration(i+1) * 24 * time.Hour)
	}
	if !slices.IsSorted(ids) {
		t.Errorf("the ids go back: %v", ids)
	}
	// A client resumes after each.
	for i, id := range ids[:2] {
		st, err := dial(t.Context(), s.addr, url.Values{"topic": {"a"}}, id, 0)
		if err != nil {
			t.Fatal(err)
		}
		for n := i + 1; n < 3; {
			ev, err := st.next()
			switch {
			case err != nil:
				t.Fatal(err)
			case ev.Type == "tidings.open":
			case ev.Data != fmt.Sprint(n) || ev.ID != ids[n]:
				t.Fatalf("after %s comes %+v, want %d", id, ev, n)
			default:
				n++
			}
		}
		st.close()
	}
	// At a start, a wall clock that is ahead is believed.
	restart(year)
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if has := s.history(t, "a"); len(has) == 0 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("a year later there is still %v", has)
		}
	}
	s.publish(t, "a", "3", "")
	if has := s.history(t, "a"); len(has) != 1 || time.Until(has[0].Time) < year-time.Hour {
		t.Errorf("a year later there is %v", has)
	}
}
