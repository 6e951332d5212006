package e2e_test

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
	"example.com/tidings/sse"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A shown is an entry of the feed as the page shows it.
type shown struct{ Topic, ID, Type, Text string }

func (v *visit) entries(t *testing.T) []shown {
	t.Helper()
	return eval[[]shown](t, v.tab, `[...document.querySelectorAll("#messages > li.message")].map(li => {
		const of = name => li.querySelector("." + name)?.innerText ?? "";
		return {Topic: of("topic"), ID: of("id"), Type: of("type"), Text: of("text")};
	})`)
}

// untilEntries waits until the feed shows this many messages.
func (v *visit) untilEntries(t *testing.T, n int) []shown {
	t.Helper()
	v.until(t, `document.querySelectorAll("#messages > li.message").length >= %d`, n)
	return v.entries(t)
}

// untilRate waits until the list of topics has a row with a topic and a rate.
func (v *visit) untilRate(t *testing.T, topic, rate string) {
	t.Helper()
	v.until(t, `[...document.querySelectorAll("#topics button")].some(b =>
		b.querySelector(".name").innerText === %s && b.querySelector(".rate").innerText === %s)`, js(topic), js(rate))
}

// read enters a filter into the page.
func (v *visit) read(t *testing.T, filter string) {
	t.Helper()
	v.do(t, chromedp.SetValue(chromedp.CSS("#filter"), filter), chromedp.Focus(chromedp.CSS("#filter")), chromedp.KeyEvent(kb.Enter))
}

// With a wildcard filter, the page shows every message with its topic and id, and every
// topic with its rate.
func TestPageShowsTopicsIDsAndRates(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	s.publish(t, "Ada", "hello")
	publishTo(t, s.URL, "orders.1?type=shipped", "it has left")
	v := visitPage(t, newTab(t), s.URL)
	v.untilShown(t, "Ada", "hello")
	// The page learns of other topics only from the server.
	v.untilRate(t, "messages", "1/min")
	v.untilRate(t, "orders.1", "just now")

	v.do(t, chromedp.Click(chromedp.CSS("#topics button")))
	v.untilFilter(t, "**")
	v.untilEntries(t, 2)
	publishTo(t, s.URL, "orders.2", "to come")
	got := v.untilEntries(t, 3)
	var want []shown
	for _, w := range []shown{
		{Topic: "messages", Text: "hello"},
		{Topic: "orders.1", Type: "shipped", Text: "it has left"},
		{Topic: "orders.2", Text: "to come"},
	} {
		topic, _, err := s.hub.Topic(t.Context(), w.Topic)
		if err != nil {
			t.Fatal(err)
		}
		w.ID = topic.Last.String()
		want = append(want, w)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the feed shows\n%+v, want\n%+v", got, want)
	}
	v.untilRate(t, "orders.1", "1/min")
	for range 4 {
		publishTo(t, s.URL, "orders.1", "again")
	}
	v.untilRate(t, "orders.1", "5/min")
	v.untilRate(t, "orders.2", "1/min")
	for range 200 {
		if _, err := s.hub.Publish(t.Context(), hub.Message{Topic: "orders.2", Data: "fast"}); err != nil {
			t.Fatal(err)
		}
	}
	v.until(t, `[...document.querySelectorAll("#topics button")].some(b => /^orders\.2 [\d,.]+\/s$/.test(b.textContent))`)
	if !v.seen(t, "#topics .rate:not(:empty)") || !v.seen(t, "#messages .topic") || !v.seen(t, "#messages .id") {
		t.Error("topics, ids or rates cannot be seen")
	}

	// A click on a row selects its topic.
	eval[chromedp.Void](t, v.tab, `[...document.querySelectorAll("#topics button")].find(b => b.innerText.startsWith("orders.1")).click()`)
	v.untilFilter(t, "orders.1")
	if got := v.untilEntries(t, 5); len(got) != 5 || slices.ContainsFunc(got, func(e shown) bool { return e.Topic != "orders.1" }) {
		t.Errorf("for orders.1 the feed shows %+v", got)
	}
	if got := eval[string](t, v.tab, `document.querySelector("#topics [aria-current] .name").innerText`); got != "orders.1" {
		t.Errorf("the list marks %q, want orders.1", got)
	}
}

// For a bad filter, the page shows the server's words, and its stream continues. A good
// filter becomes part of the page's address.
func TestPageFilterBox(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	for _, bad := range []string{"orders.**.status", "a b", "orders..1", "*x", "tidings.open", "<img src=x>"} {
		v.read(t, bad)
		v.until(t, `document.querySelector("#filter-error").innerText !== ""`)
		resp, err := http.Get(s.URL + "/topics?match=" + url.QueryEscape(bad))
		if err != nil {
			t.Fatal(err)
		}
		var problem struct{ Detail string }
		err = json.NewDecoder(resp.Body).Decode(&problem)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		v.until(t, `document.querySelector("#filter-error").textContent === %s`, js(problem.Detail))
		if !v.seen(t, "#filter-error") || problem.Detail == "" {
			t.Errorf("%s: the problem cannot be seen", bad)
		}
		s.publish(t, "Ada", bad)
		v.untilShown(t, "Ada", bad)
	}
	s.wantSubscribers(t, 1)

	publishTo(t, s.URL, "orders.1.status", "one")
	publishTo(t, s.URL, "orders.2.status", "two")
	publishTo(t, s.URL, "orders.2", "not this")
	v.read(t, " orders.*.status ")
	v.untilFilter(t, "orders.*.status")
	v.untilEntries(t, 2)
	if got := v.texts(t); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("the feed shows %q", got)
	}
	if v.text(t, "#filter-error") != "" {
		t.Error("the problem is still shown")
	}
	s.wantSubscribers(t, 0) // the page has only one stream

	v.do(t, chromedp.Reload())
	v.untilFilter(t, "orders.*.status")
	v.untilEntries(t, 2)
	publishTo(t, s.URL, "orders.1.status", "three")
	v.untilEntries(t, 3)
	if got := v.texts(t); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("after a reload the feed shows %q", got)
	}

	// With a bad address, the page reads the topic messages and says why.
	other := visitPage(t, v.another(t), s.URL+"/?topic=a..b")
	other.untilFilter(t, "messages")
	if got := other.text(t, "#filter-error"); !strings.Contains(got, "a..b") {
		t.Errorf("for a bad address the page says %q", got)
	}
}

// The page posts to any topic. To a topic other than messages it posts the text as it
// is.
func TestPagePostsToAnyTopic(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL+"/?topic=orders.42")
	v.untilFilter(t, "orders.42")
	if got := eval[string](t, v.tab, `document.querySelector("#topic").value`); got != "orders.42" {
		t.Errorf("the topic to post to is %q, want the topic of the stream", got)
	}
	if v.seen(t, "#user") {
		t.Error("the page asks for a name that it does not use")
	}
	v.do(t, chromedp.SendKeys(chromedp.CSS("#text"), `{"state":"shipped"}`+kb.Enter))
	v.untilEntries(t, 1)
	if got := v.texts(t); !slices.Equal(got, []string{`{"state":"shipped"}`}) {
		t.Errorf("the feed shows %q", got)
	}
	v.until(t, `document.querySelector("#text").value === ""`)

	v.do(t,
		chromedp.SetValue(chromedp.CSS("#topic"), "a topic"),
		chromedp.SendKeys(chromedp.CSS("#text"), "refused"+kb.Enter),
	)
	v.until(t, `document.querySelector("#error").innerText !== ""`)
	if got := v.text(t, "#error"); !strings.HasPrefix(got, "Not sent. ") || !strings.Contains(got, "topic") {
		t.Errorf("for a bad topic the page says %q", got)
	}
}

// pageOver serves the page with streams that the test writes. It returns the URL.
func pageOver(t *testing.T, src *source) string {
	t.Helper()
	url, _ := pageOverHub(t, src, server.Config{})
	return url
}

// pageOverHub is pageOver with settings. It also returns the hub, which has no streams.
func pageOverHub(t *testing.T, src *source, config server.Config) (string, *hub.Hub) {
	t.Helper()
	srv, err := server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(t)
	t.Cleanup(func() {
		srv.Close()
		h.Close()
	})
	mux := http.NewServeMux()
	mux.Handle("/", srv.Handler(h))
	mux.Handle("/events", src.handler(nil))
	return serve(t, mux).URL, h
}

// openAt is the first event of a stream.
func openAt(id string) sse.Event {
	return sse.Event{Type: hub.OpenEventType, Data: `{"topics":["messages"],"position":` + js(id) + `}`, ID: id, Retry: soon}
}

func envelope(id, text string) sse.Event {
	data := js(map[string]string{"user": "Ada", "text": text})
	return sse.Event{ID: id, Data: js(map[string]string{"id": id, "topic": "messages", "type": "message", "data": data, "time": "2026-01-31T12:00:00Z"})}
}

// The page shows a gap at its place, in words, with the number of messages if known.
func TestPageShowsGaps(t *testing.T) {
	t.Parallel()
	src := newSource()
	tb := newTab(t)
	tb.do(t, chromedp.Navigate(pageOver(t, src)))
	v := &visit{tab: tb}
	st := src.next(t)
	st.send(t, openAt("0w3k7zq4m8tc-1"), envelope("0w3k7zq4m8tc-2", "before"))
	for _, tt := range []struct {
		gap  sse.GapError
		says []string
	}{
		{sse.GapError{Reason: sse.GapLag, Missed: 1234}, []string{"1,234 messages are missing", "too slow"}},
		{sse.GapError{Reason: sse.GapLag, Missed: 1}, []string{"1 message is missing", "too slow"}},
		{sse.GapError{Reason: sse.GapLag}, []string{"Messages are missing", "too slow"}},
		{sse.GapError{Reason: sse.GapExpired}, []string{"Messages are missing", "older than what the server keeps"}},
		{sse.GapError{Reason: sse.GapLost}, []string{"may be missing", "has lost some messages"}},
		{sse.GapError{Reason: sse.GapRemoved}, []string{"Messages are missing", "removed on purpose"}},
		{sse.GapError{Reason: sse.GapInvalid}, []string{"Messages are missing", "cannot be sent"}},
		{sse.GapError{Reason: sse.GapUnknown}, []string{"may be missing", "does not know the last message"}},
		{sse.GapError{Reason: sse.GapFuture}, []string{"may be missing", "lost the last message"}},
		{sse.GapError{Reason: sse.GapMalformed}, []string{"may be missing", "does not know the last message"}},
		{sse.GapError{Reason: "constructor"}, []string{"may be missing here."}},
	} {
		ev := tt.gap.Event()
		ev.ID = "0w3k7zq4m8tc-3"
		st.send(t, ev, envelope("0w3k7zq4m8tc-4", "after "+tt.gap.Error()))
		v.untilShown(t, "Ada", "after "+tt.gap.Error())
		marks := eval[[]string](t, v.tab, `[...document.querySelectorAll("#messages > li")].slice(-2).map(li => li.className + ": " + li.innerText)`)
		for _, says := range tt.says {
			if !strings.HasPrefix(marks[0], "mark gap: ") || !strings.Contains(marks[0], says) {
				t.Errorf("%+v is shown as %q, want %q in it", tt.gap, marks[0], says)
			}
		}
	}
	if !v.seen(t, "#messages > li.gap") {
		t.Error("gaps cannot be seen")
	}
}

// When the browser gives up, the page continues after the last id of any event.
func TestPageResumesByTheURL(t *testing.T) {
	t.Parallel()
	const first, second, third = "0w3k7zq4m8tc-1", "0w3k7zq4m8tc-2", "0w3k7zq4m8tc-5"
	for _, tt := range []struct {
		name string
		send []sse.Event
		want string // lastEventId
	}{
		{"after the first event", []sse.Event{openAt(first)}, first},
		{"after a message", []sse.Event{openAt(first), envelope(second, "one")}, second},
		{"after a position", []sse.Event{openAt(first), envelope(second, "one"),
			{Type: hub.PositionEventType, Data: `{"position":"` + third + `"}`, ID: third}}, third},
		{"after an end", []sse.Event{openAt(first), {Type: hub.EndEventType, Data: `{"reason":"stopping"}`, ID: third}}, third},
		{"after a gap", []sse.Event{openAt(first), {Type: sse.GapEventType, Data: `{"reason":"lag","next":"` + third + `"}`, ID: third}}, third},
		{"before a gap", []sse.Event{openAt(first), {Type: hub.OpenEventType, Data: `{"topics":["messages"],"position":"` + third + `"}`, ID: "unknown"}}, first},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src := newSource()
			refuse := make(chan struct{}, 1)
			src.refuse = func(r *http.Request) error {
				select {
				case <-refuse:
					return &sse.StatusError{Status: http.StatusInternalServerError}
				default:
					return nil
				}
			}
			tb := newTab(t)
			tb.do(t, chromedp.Navigate(pageOver(t, src)))
			v := &visit{tab: tb}
			st := src.next(t)
			if q := st.request.URL.Query(); q.Get("from") != "50" || q.Has("lastEventId") || q.Get("topic") != "messages" {
				t.Errorf("the page begins with %s", st.request.URL)
			}
			st.send(t, tt.send...)
			v.untilState(t, "open")
			refuse <- struct{}{}
			st.end(t)
			v.untilState(t, "closed")
			st = src.next(t)
			if q := st.request.URL.Query(); q.Get("lastEventId") != tt.want || q.Has("from") || st.lastEventID() != "" {
				t.Errorf("the page goes on with %s and the Last-Event-ID %q, want lastEventId=%s", st.request.URL, st.lastEventID(), tt.want)
			}
			st.send(t, openAt(tt.want), envelope("0w3k7zq4m8tc-9", "more"))
			v.untilShown(t, "Ada", "more")
			v.untilState(t, "open")
		})
	}
}

// The server is stopped or killed, and then restarted. Meanwhile posting fails visibly.
// Then the page continues by itself, and shows every message once.
func TestPageResumesAfterARestart(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := startProcess(t, dir, "127.0.0.1:0")
			publish(t, p.URL, "Bob", "before the page")
			v := visitPage(t, newTab(t), p.URL)
			v.untilShown(t, "Bob", "before the page")
			v.do(t,
				chromedp.SendKeys(chromedp.CSS("#user"), "Ada"),
				chromedp.SendKeys(chromedp.CSS("#text"), "one"+kb.Enter),
			)
			v.untilShown(t, "Ada", "one")
			v.until(t, `document.querySelector("#text").value === ""`)
			want := []string{"before the page", "one"}

			for i, text := range []string{"two", "three"} { // two restarts
				p.end(sig)
				v.untilState(t, "reconnecting")
				v.do(t, chromedp.SendKeys(chromedp.CSS("#text"), text+kb.Enter))
				v.until(t, `document.querySelector("#error").innerText !== ""`)
				if !v.seen(t, "#error") {
					t.Error("the error is not visible")
				}
				if got := eval[string](t, v.tab, `document.querySelector("#text").value`); got != text {
					t.Errorf("the field holds %q, want the unsent text", got)
				}
				// Keep the browser from reconnecting before others have posted.
				offline(t, v.tab, true)
				p = startProcess(t, dir, p.addr())
				meanwhile := "meanwhile " + text
				publish(t, p.URL, "Bob", meanwhile)
				publish(t, p.URL, "Bob", meanwhile+" again")
				offline(t, v.tab, false)

				v.untilState(t, "open")
				v.untilShown(t, "Bob", meanwhile+" again")
				v.do(t, chromedp.Focus(chromedp.CSS("#text")), chromedp.KeyEvent(kb.Enter))
				v.untilShown(t, "Ada", text)
				v.until(t, `document.querySelector("#error").innerText === ""`)
				want = append(want, meanwhile, meanwhile+" again", text)
				if got := v.texts(t); !slices.Equal(got, want) {
					t.Fatalf("after restart %d the page shows %q, want %q, each once", i+1, got, want)
				}
			}
			// The ids are in the order of the feed.
			var ids []eventlog.Position
			for _, e := range v.entries(t) {
				id, err := eventlog.ParsePosition(e.ID)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, id)
			}
			if !slices.IsSortedFunc(ids, func(a, b eventlog.Position) int { return cmp.Compare(a.Seq, b.Seq) }) {
				t.Errorf("the ids are %v", ids)
			}

			// Another page begins with the last messages.
			again := visitPage(t, v.another(t), p.URL)
			again.untilEntries(t, len(want))
			if got := again.texts(t); !slices.Equal(got, want) {
				t.Errorf("a new page shows %q, want %q", got, want)
			}
		})
	}
}

// After a restart with an empty folder, the page shows a gap.
func TestPageShowsThatTheLogIsAnother(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir(), "127.0.0.1:0")
	v := visitPage(t, newTab(t), p.URL)
	publish(t, p.URL, "Bob", "before")
	v.untilShown(t, "Bob", "before")
	p.end(syscall.SIGKILL)
	v.untilState(t, "reconnecting")
	offline(t, v.tab, true)
	p = startProcess(t, t.TempDir(), p.addr())
	publish(t, p.URL, "Bob", "after")
	offline(t, v.tab, false)
	v.untilShown(t, "Bob", "after")
	got := v.texts(t)
	if len(got) != 3 || got[0] != "before" || !strings.Contains(got[1], "may be missing") || got[2] != "after" {
		t.Errorf("the page shows %q, want the mark of a gap between before and after", got)
	}
}

// The page shows curl commands to read and to post. Both work in a terminal.
func TestPageHintWorks(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	for filter, want := range map[string]string{"": `{"user":"ada","text":"hello"}`, "?topic=orders.*.x.**": "hello"} {
		v := visitPage(t, newTab(t), s.URL+"/"+filter)
		shell := func(selector string) *curling {
			command := eval[string](t, v.tab, `document.querySelector(%s).textContent`, js(selector))
			args, ok := strings.CutPrefix(command, "curl ")
			if !ok {
				t.Fatalf("the hint is %q", command)
			}
			return curl(t, words(args)...)
		}
		reader := shell("#curl-read")
		reader.open(t)
		poster := shell("#curl-post")
		if got := poster.exit(t); got != 0 {
			t.Errorf("posting exits with %d\n%s", got, &poster.stderr)
		}
		if ev, ok := reader.next(t); !ok || ev.Data != want {
			t.Errorf("reading gets %+v, want %s", ev, want)
		}
		_ = reader.cmd.Process.Kill()
		io.Copy(io.Discard, &reader.stdout)
		_ = reader.cmd.Wait()
	}
}

// words splits a command line like a shell. It supports single quotes.
func words(line string) []string {
	var all []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
		} else {
			all = append(all, strings.Fields(part)...)
		}
	}
	return all
}

// A message that is sent again because no answer came is in the feed only once.
func TestPageSendsAgainWithoutADuplicate(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	// The first answer is lost.
	eval[chromedp.Void](t, v.tab, `void (() => {
		const real = window.fetch;
		window.fetch = async (...request) => {
			window.fetch = real;
			await real(...request);
			throw new TypeError("the connection is lost");
		};
	})()`)
	v.do(t,
		chromedp.SendKeys(chromedp.CSS("#user"), "Ada"),
		chromedp.SendKeys(chromedp.CSS("#text"), "once"+kb.Enter),
	)
	v.until(t, `document.querySelector("#error").innerText !== ""`)
	v.do(t, chromedp.Focus(chromedp.CSS("#text")), chromedp.KeyEvent(kb.Enter))
	v.until(t, `document.querySelector("#text").value === ""`)
	// Send the same text as a new message.
	v.do(t, chromedp.SendKeys(chromedp.CSS("#text"), "once"+kb.Enter))
	v.until(t, `document.querySelector("#text").value === ""`)
	s.publish(t, "Bob", "the end")
	v.untilShown(t, "Bob", "the end")
	got := eval[[]string](t, v.tab, `[...document.querySelectorAll("#messages .text")].map(e => e.textContent)`)
	if want := []string{"once", "once", "the end"}; !slices.Equal(got, want) {
		t.Errorf("the feed shows %q, want %q", got, want)
	}
}
