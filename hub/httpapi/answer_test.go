package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/budget"
)

// FuzzAppendString checks that a text is encoded as by encoding/json, wherever it is cut.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "é\u2028\u2029\U0001f600<>&", "\xff\xc3", "a\xf0\x9f\x98"} {
		f.Add(s, 5)
	}
	f.Fuzz(func(t *testing.T, s string, part int) {
		if part < 4 || part > 1000 {
			part = 512
		}
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		got := httpapi.AppendString(nil, s, part)
		if string(got)+"\n" != want.String() && json.Valid([]byte(s)) || !sameText(got, want.Bytes()) {
			t.Errorf("%q: %s, want %s", s, got, want.String())
		}
	})
}

// sameText reports whether two JSON strings say the same.
func sameText(a, b []byte) bool {
	var x, y string
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && x == y
}

// sixfold is a byte that takes six in JSON.
const sixfold = "\x01"

// fill publishes n messages of so many bytes.
func (s *site) fill(t *testing.T, topic, char string, n, size int) (data []string) {
	t.Helper()
	for i := range n {
		data = append(data, strconv.Itoa(i)+strings.Repeat(char, size))
		if _, err := s.hub.Publish(t.Context(), hub.Message{Topic: topic, Data: data[i]}); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// ask sends a GET, whose answer nobody reads.
func (s *site) ask(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := s.mem.Dial()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: memory.test\r\n\r\n", path)
	return c
}

// historyPage is a page of history.
type historyPage struct {
	Events []hub.Event
	Next   string
	More   bool
}

// Answers that nobody takes hold no more than their budget. Others are refused meanwhile, small
// ones are not. After 10 seconds those who take nothing are broken off, and everything is
// given back.
func TestAnswersThatAreNotTaken(t *testing.T) {
	for name, path := range map[string]string{"history": "/topics/a/events?limit=1000", "event": "/topics/a/events/"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := serve(t, setting{})
				want := s.fill(t, "a", sixfold, 5, 400<<10)
				id := s.publish(t, "/topics/b", "small")
				if name == "event" {
					path += strings.Replace(id, "-6", "-1", 1)
				}
				answers := &budget.Of(s.hub).Answers
				for range 40 {
					defer s.ask(t, path).Close()
				}
				synctest.Wait()
				if used := answers.Used(); used > answers.Limit() || used < answers.Limit()/2 {
					t.Errorf("%d of %d bytes are held", used, answers.Limit())
				}
				r := s.get(t, path)
				if r.problem(t, 503, "unavailable"); r.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				if r := s.get(t, "/topics/b/events"); r.status != 200 || !strings.Contains(r.body, "small") {
					t.Errorf("a small one: %d %s", r.status, r.body)
				}
				time.Sleep(11 * time.Second)
				if used := answers.Used(); used != 0 {
					t.Errorf("%d bytes stay taken", used)
				}
				if name == "history" {
					s.wantHistory(t, want)
				}
			})
		})
	}
}

// wantHistory checks the history of the topic a, page by page. It returns how many events each
// page has.
func (s *site) wantHistory(t *testing.T, want []string) (pages []int) {
	t.Helper()
	var got []string
	for page := (historyPage{More: true}); page.More; {
		next := page.Next
		page = historyPage{}
		decode(t, s.get(t, "/topics/a/events?limit=1000&after="+next).body, &page)
		for _, ev := range page.Events {
			got = append(got, ev.Data)
		}
		pages = append(pages, len(page.Events))
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the history has %d events, want %d", len(got), len(want))
	}
	return pages
}

// A page of history has up to 4 MiB of data, however it is read and sent.
func TestHistoryOfManyPieces(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		want := s.fill(t, "a", "x", 24, 200<<10)
		if pages := s.wantHistory(t, want); len(pages) != 2 || pages[0] < 20 || pages[0] > 22 {
			t.Errorf("the pages have %v events", pages)
		}
		var page historyPage
		decode(t, s.get(t, "/topics/a/events?limit=7").body, &page)
		if n := len(page.Events); n != 7 || !page.More {
			t.Errorf("a page of 7 has %d events, more %v", n, page.More)
		}
	})
}

// A list of topics is one page, however it is read and sent.
func TestTopicsOfManyPieces(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		const n = 1200
		for i := range n {
			if _, err := s.hub.Publish(t.Context(), hub.Message{Topic: fmt.Sprintf("t.%04d.%s", i, strings.Repeat("x", 150))}); err != nil {
				t.Fatal(err)
			}
		}
		for _, limit := range []int{1, 255, 256, 257, 512, 1000} {
			var list struct {
				Topics []eventlog.TopicInfo
				Next   string
			}
			seen := 0
			for more := true; more; more = list.Next != "" {
				next := list.Next
				list.Next, list.Topics = "", nil
				if limit == 1 && seen == 3 {
					seen = n
					break
				}
				decode(t, s.get(t, fmt.Sprintf("/topics?limit=%d&after=%s", limit, next)).body, &list)
				for _, info := range list.Topics {
					if !strings.HasPrefix(info.Topic, fmt.Sprintf("t.%04d.", seen)) {
						t.Fatalf("limit %d: topic %d is %s", limit, seen, info.Topic)
					}
					seen++
				}
				if len(list.Topics) > limit {
					t.Fatalf("limit %d: %d topics", limit, len(list.Topics))
				}
			}
			if seen != n {
				t.Errorf("limit %d: %d topics", limit, seen)
			}
		}
	})
}

// A page whose rest cannot be read does not look complete.
func TestHistoryThatBreaksOff(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		log := &faultyLog{Log: eventlog.NewMemory(nil)}
		s := serve(t, setting{h2: h2, log: log})
		s.fill(t, "a", sixfold, 20, 100<<10)
		res := s.request(t, "GET", "/topics/a/events?limit=1000", nil)
		synctest.Wait()
		log.failReads(errSecret)
		b, err := io.ReadAll(res.Body)
		if res.StatusCode != 200 || err == nil || json.Valid(b) || strings.Contains(string(b), "secret") {
			t.Errorf("%d: %d bytes, %v", res.StatusCode, len(b), err)
		}
		synctest.Wait()
		if used := budget.Of(s.hub).Answers.Used(); used != 0 {
			t.Errorf("%d bytes stay taken", used)
		}
	})
}

// HEAD has the head of GET, and reads no more of the log than the first piece needs.
func TestHeadOfAnswers(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		log := &faultyLog{Log: eventlog.NewMemory(nil)}
		s := serve(t, setting{h2: h2, log: log})
		id := s.publish(t, "/topics/b", "small")
		s.fill(t, "a", sixfold, 20, 100<<10)
		for _, path := range []string{"/topics", "/topics/b", "/topics/b/events", "/topics/b/events/" + id} {
			get, head := s.get(t, path), s.send(t, "HEAD", path, "")
			if l := head.header.Get("Content-Length"); head.status != 200 || l != strconv.Itoa(len(get.body)) || head.headers() != get.headers() || head.body != "" {
				t.Errorf("HEAD %s: %d, Content-Length %s, %s; want %d, %s", path, head.status, l, head.headers(), len(get.body), get.headers())
			}
		}
		log.batches.Store(0)
		if r := s.send(t, "HEAD", "/topics/a/events?limit=1000", ""); r.status != http.StatusOK || r.header.Get("Content-Length") != "" {
			t.Errorf("a large one: %d, %v", r.status, r.header)
		}
		synctest.Wait()
		if n := log.batches.Load(); n > 2 {
			t.Errorf("for the head of a large one the log is read %d times", n)
		}
	})
}

// While the log is opened anew, or cannot be reached, no answer is a 404 or an empty list.
func TestLogThatCannotBeReadNow(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		log := &faultyLog{Log: eventlog.NewMemory(nil)}
		s := serve(t, setting{h2: h2, log: log})
		id := s.publish(t, "/topics/a", "x")
		for _, err := range []error{eventlog.ErrReopened, fmt.Errorf("nats: %w", eventlog.ErrUnavailable)} {
			log.failReads(err)
			for _, path := range []string{"/topics", "/topics/a", "/topics/b", "/topics/a/events", "/topics/b/events", "/topics/a/events/" + id} {
				r := s.get(t, path)
				if r.problem(t, 503, "unavailable"); r.header.Get("Retry-After") != "1" {
					t.Errorf("%v: %s: Retry-After %q", err, path, r.header.Get("Retry-After"))
				}
			}
		}
		log.failReads(nil)
	})
}
