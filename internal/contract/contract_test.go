package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func event1(data string) string { return fmt.Sprintf("message %q \"\"", data) }

// The categories and their numbers are those of LaunchDarkly's suite.
func TestParsing(t *testing.T) {
	many, all := "", []string(nil)
	for i := range 100 {
		many += fmt.Sprintf("data: message %d\n\n", i)
		all = append(all, event1(fmt.Sprint("message ", i)))
	}
	const bom = "\xEF\xBB\xBF"
	for _, tt := range []struct {
		name string
		send []string
		want []string
	}{
		{"one line", []string{"data: Hello\n\n"}, []string{event1("Hello")}},
		{"one line in two pieces", []string{"data: Hel", "lo\n\n"}, []string{event1("Hello")}},
		{"two events", []string{"data: Hello\n\ndata: World\n\n"}, []string{event1("Hello"), event1("World")}},
		{"two lines", []string{"data: Hello\ndata:World\n\n"}, []string{event1("Hello\nWorld")}},
		{"empty data", []string{"data:\n\n"}, []string{event1("")}},
		{"a type", []string{"event: greeting\ndata: Hello\n\n"}, []string{`greeting "Hello" ""`}},
		{"an id", []string{"id: abc\ndata: Hello\n\n"}, []string{`message "Hello" "abc"`}},
		{"fields in another order", []string{"data: Hello\nid: abc\nevent: greeting\n\n"}, []string{`greeting "Hello" "abc"`}},
		{"an id with a NUL", []string{"id: a\x00bc\ndata: Hello\n\n"}, []string{event1("Hello")}},
		{"the id persists", []string{"id: abc\ndata: first\n\n", "data: second\n\n"}, []string{`message "first" "abc"`, `message "second" "abc"`}},
		{"the id is reset", []string{"id: abc\ndata: first\n\n", "id: \ndata: second\n\n"}, []string{`message "first" "abc"`, event1("second")}},
		{"an unknown field", []string{"event: greeting\ncolor: blue\ndata: Hello\n\n"}, []string{`greeting "Hello" ""`}},
		{"no space after the colon", []string{"event:greeting\ndata:Hello\n\n"}, []string{`greeting "Hello" ""`}},
		{"two spaces after the colon", []string{"event:  greeting\ndata:  Hello\n\n"}, []string{` greeting " Hello" ""`}},
		{"no colon", []string{"data\n\ndata\ndata\n\n"}, []string{event1(""), event1("\n")}},
		{"characters of several bytes", []string{"data: €豆腐\n\n"}, []string{event1("€豆腐")}},
		{"the same byte by byte", strings.Split("data: €豆腐\n\n", ""), []string{event1("€豆腐")}},
		{"a hundred events", []string{many}, all},
		{"a line of 7 MB", []string{"data: " + strings.Repeat("x", 7<<20) + "\n\n"}, []string{event1(strings.Repeat("x", 7<<20))}},
		{"a line of 14 MB", []string{"data: " + strings.Repeat("x", 14<<20) + "\n\n"}, []string{event1(strings.Repeat("x", 14<<20))}},
		{"a hub's events", []string{"event: tidings.open\ndata: {}\nid: 1\n\nevent: tidings.gap\ndata: {}\nid: 2\n\n"}, []string{`tidings.open "{}" "1"`, `tidings.gap "{}" "2"`}},

		{"a BOM", []string{bom + "data: Hello\n\n"}, []string{event1("Hello")}},
		{"a BOM in pieces", []string{"\xEF", "\xBB", "\xBF", "data: Hello\n\n"}, []string{event1("Hello")}},
		{"a BOM later", []string{"data: First\n\n", "data: " + bom + "Second\n\n"}, []string{event1("First"), event1(bom + "Second")}},
		{"a BOM and a comment", []string{bom + ":comment\ndata: Hello\n\n"}, []string{`comment "comment"`, event1("Hello")}},
		{"a BOM and empty data", []string{bom + "data:\n\n"}, []string{event1("")}},

		{"a comment", []string{":Hello\n"}, []string{`comment "Hello"`}},
		{"two comments", []string{":Hello\n", ":World\n"}, []string{`comment "Hello"`, `comment "World"`}},
		{"a comment before an event", []string{":Hello\n", "data: Hello\n\n"}, []string{`comment "Hello"`, event1("Hello")}},
		{"a comment after an event", []string{"data: Hello\n\n", ":Hello\n"}, []string{event1("Hello"), `comment "Hello"`}},
		{"an empty comment", []string{":\n"}, []string{`comment ""`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			h.start(nil)
			c := h.connection()
			for _, text := range tt.send {
				c.send <- text
			}
			h.expect(1, tt.want...)
		})
	}
}

func TestLineEnds(t *testing.T) {
	for name, end := range map[string]string{"LF": "\n", "CR": "\r", "CRLF": "\r\n"} {
		for _, tt := range []struct {
			lines string // "|" ends a line
			want  []string
		}{
			{"data: event 1||", []string{"event 1"}},
			{"data: event 1||data: event 2 line 1|data: event 2 line 2||", []string{"event 1", "event 2 line 1\nevent 2 line 2"}},
			{"data:|data: line2|data: line3||", []string{"\nline2\nline3"}},
			{"data: line1|data:|data: line3||", []string{"line1\n\nline3"}},
			{"data: event 1|||data: event 2||", []string{"event 1", "event 2"}},
			{"data: event 1||||data: event 2||", []string{"event 1", "event 2"}},
		} {
			text := strings.ReplaceAll(tt.lines, "|", end)
			for _, size := range []int{len(text), 1, 2} {
				t.Run(fmt.Sprint(name, " ", tt.lines, " in pieces of ", size), func(t *testing.T) {
					h := newHarness(t)
					h.start(nil)
					c := h.connection()
					for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
						c.send <- rest[:min(size, len(rest))]
					}
					for i, data := range tt.want {
						h.expect(i+1, event1(data))
					}
				})
			}
		}
	}
}

func TestRequests(t *testing.T) {
	h := newHarness(t)
	h.start(nil)
	r := h.connection().request
	if r.Method != "GET" || r.Header.Get("Accept") != "text/event-stream" || r.Header.Get("Cache-Control") != "no-cache" || r.Header["Last-Event-Id"] != nil {
		t.Errorf("%s with %v", r.Method, r.Header)
	}

	h = newHarness(t)
	h.start(map[string]any{"headers": map[string]string{"header-name-1": "value-1", "header-name-2": "value-2"}, "lastEventId": "abc"})
	r = h.connection().request
	if r.Header.Get("Header-Name-1") != "value-1" || r.Header.Get("Header-Name-2") != "value-2" || r.Header.Get("Last-Event-ID") != "abc" {
		t.Errorf("headers %v", r.Header)
	}

	for _, method := range []string{"POST", "REPORT"} {
		h = newHarness(t)
		const body = `{"hello": "world"}`
		h.start(map[string]any{"method": method, "body": body, "headers": map[string]string{"content-type": "application/json; charset=utf-8"}, "initialDelayMs": 0})
		for range 3 {
			c := h.connection()
			if c.request.Method != method || c.body != body || c.request.Header.Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("%s %q with %v", c.request.Method, c.body, c.request.Header)
			}
			c.send <- ""
		}
	}
}

func TestAnswersThatAreNoStream(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint("redirect ", status), func(t *testing.T) {
			h := newHarness(t)
			h.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.RawQuery == "" {
					http.Redirect(w, r, "/stream?there", status)
				}
				return r.URL.RawQuery == ""
			}
			h.start(nil)
			h.connection()
			h.connection().send <- "data: hello\n\n"
			h.expect(1, event1("hello"))
		})
	}
	for name, answer := range map[string]func(http.ResponseWriter){
		"204":                    func(w http.ResponseWriter) { w.WriteHeader(204) },
		"404":                    func(w http.ResponseWriter) { w.WriteHeader(404) },
		"503":                    func(w http.ResponseWriter) { w.WriteHeader(503) },
		"301 without a Location": func(w http.ResponseWriter) { w.WriteHeader(301) },
		"307 without a Location": func(w http.ResponseWriter) { w.WriteHeader(307) },
		"301 with an empty one":  func(w http.ResponseWriter) { w.Header().Set("Location", ""); w.WriteHeader(301) },
		"307 with an empty one":  func(w http.ResponseWriter) { w.Header().Set("Location", ""); w.WriteHeader(307) },
		"a page":                 func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/html"); w.WriteHeader(200) },
		"a page, for the WPT":    func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/x-bogus"); w.WriteHeader(200) },
		"the end, by a hub": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "event: tidings.end\ndata: {\"reason\":\"finished\"}\n\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.answer = func(w http.ResponseWriter, _ *http.Request) bool { answer(w); return true }
			h.start(map[string]any{"initialDelayMs": 0})
			h.connection()
			m := h.next(1)
			if m.Event != nil {
				m = h.next(2)
			}
			if m.say() != "error" {
				t.Errorf("got %s", m.say())
			}
			select {
			case <-h.connections:
				t.Error("the client has come back")
			case <-time.After(50 * time.Millisecond):
			}
		})
	}
}

func TestReconnection(t *testing.T) {
	now := map[string]any{"initialDelayMs": 0}
	t.Run("restart", func(t *testing.T) {
		h := newHarness(t)
		h.start(now)
		h.connection().send <- "data: Hello\n\n"
		h.expect(1, event1("Hello"))
		if res := h.do("POST", h.location, map[string]string{"command": "restart"}); res.StatusCode != http.StatusNoContent {
			t.Errorf("status %d", res.StatusCode)
		}
		h.connection().send <- "data: Thanks\n\n"
		h.expect(2, event1("Thanks"))
	})
	for name, sent := range map[string][3]string{ // what the first stream brings, and what the second request and event have
		"the last id":                    {"id: abc\ndata: Hello\n\n", "abc", `message "x" "abc"`},
		"an id before the last event":    {"id: abc\ndata: World\n\ndata: Hello\n\n", "abc", `message "x" "abc"`},
		"an empty id":                    {"id: abc\ndata: World\n\nid: \ndata: Hello\n\n", "", event1("x")},
		"an unfinished event is dropped": {"id: abc\ndata: Hello\n\nid: def\ndata: Goodbye", "abc", `message "x" "abc"`},
	} {
		for _, end := range []string{"", closing} {
			t.Run(name+" "+strings.Trim(end, "\x00"), func(t *testing.T) {
				h := newHarness(t)
				h.start(now)
				c := h.connection()
				c.send <- sent[0]
				n := 1
				for ; !strings.HasPrefix(h.next(n).say(), `message "Hello"`); n++ {
				}
				c.send <- end
				c = h.connection()
				if got := c.request.Header.Get("Last-Event-ID"); got != sent[1] {
					t.Errorf("the last event ID is %q", got)
				}
				c.send <- "data: x\n\n"
				h.expect(n+1, "error", sent[2])
			})
		}
	}
	// With the backoff, the last waits would be longer than the test's patience.
	t.Run("at once", func(t *testing.T) {
		h := newHarness(t)
		h.start(now)
		for range 6 {
			h.connection().send <- ""
		}
	})
	t.Run("read time-out", func(t *testing.T) {
		h := newHarness(t)
		h.start(map[string]any{"initialDelayMs": 0, "readTimeoutMs": 1500})
		h.connection().send <- "data: Hello\n\n"
		h.expect(1, event1("Hello"), "error")
		h.connection()
	})
	t.Run("retry", func(t *testing.T) {
		h := newHarness(t)
		h.start(nil)
		c := h.connection()
		start := time.Now()
		c.send <- "retry: 150\n\n"
		c.send <- ""
		h.connection()
		if d := time.Since(start); d < 150*time.Millisecond {
			t.Errorf("the client came back after %v", d)
		}
	})
}

func TestTheServiceItself(t *testing.T) {
	h := newHarness(t)
	res, err := h.http.Get(h.service.URL)
	if err != nil {
		t.Fatal(err)
	}
	var about struct {
		Name         string
		Capabilities []string
	}
	err = json.NewDecoder(res.Body).Decode(&about)
	res.Body.Close()
	if err != nil || about.Name != "tidings" || len(about.Capabilities) != 9 {
		t.Errorf("%+v, %v", about, err)
	}
	for _, body := range []any{"x", map[string]any{}, map[string]any{"streamUrl": "http://a.test"}, map[string]any{"streamUrl": "a", "callbackUrl": "http://a.test"}} {
		if res := h.do("POST", h.service.URL, body); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%v: status %d", body, res.StatusCode)
		}
	}
	h.start(nil)
	c := h.connection()
	if res := h.do("POST", h.location, map[string]string{"command": "dance"}); res.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown command: status %d", res.StatusCode)
	}
	if res := h.do("DELETE", h.location, nil); res.StatusCode != http.StatusNoContent {
		t.Errorf("status %d", res.StatusCode)
	}
	select {
	case <-c.request.Context().Done():
	case <-time.After(patience):
		t.Error("the stream is still open")
	}
	for _, method := range []string{"POST", "DELETE"} {
		if res := h.do(method, h.location, map[string]string{"command": "restart"}); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s to a client that is gone: status %d", method, res.StatusCode)
		}
	}
}
