package e2e_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/internal/server"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A message that a user types appears in the feed of every open page. Enter and a click
// both send it.
func TestPagePosts(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	ada := visitPage(t, newTab(t), s.URL)
	bob := visitPage(t, newTab(t), s.URL)
	if !ada.seen(t, "#empty") {
		t.Error("an empty feed does not say that it is empty")
	}

	ada.do(t,
		chromedp.SendKeys(chromedp.CSS("#user"), "Ada"),
		chromedp.SendKeys(chromedp.CSS("#text"), "sent with Enter"+kb.Enter),
	)
	for _, v := range []*visit{ada, bob} {
		v.untilShown(t, "Ada", "sent with Enter")
	}
	ada.until(t, `document.querySelector("#text").value === ""`)
	ada.until(t, `document.activeElement.id === "text"`) // ready for the next message

	ada.do(t,
		chromedp.SendKeys(chromedp.CSS("#text"), "sent with a click, 日本 🙂"),
		chromedp.Click(chromedp.CSS("#send")),
	)
	for _, v := range []*visit{ada, bob} {
		v.untilShown(t, "Ada", "sent with a click, 日本 🙂")
		if got := eval[int](t, v.tab, `document.querySelectorAll("#messages > li").length`); got != 2 {
			t.Errorf("the feed shows %d entries, want 2", got)
		}
		if v.seen(t, "#empty") {
			t.Error("a feed with messages says that it is empty")
		}
	}

	// Messages from elsewhere appear in the order in which they were posted.
	for i := range 20 {
		s.publish(t, "curl", fmt.Sprint(i))
	}
	for _, v := range []*visit{ada, bob} {
		v.untilShown(t, "curl", "19")
		got := eval[[]string](t, v.tab, `[...document.querySelectorAll("#messages .text")].slice(2).map(e => e.textContent)`)
		for i := range 20 {
			if i >= len(got) || got[i] != fmt.Sprint(i) {
				t.Fatalf("the feed shows %q, want 0 to 19", got)
			}
		}
	}

	// The page remembers the name.
	ada.do(t, chromedp.Reload())
	ada.untilState(t, "open")
	if got := eval[string](t, ada.tab, `document.querySelector("#user").value`); got != "Ada" {
		t.Errorf("after a reload the name is %q, want Ada", got)
	}
}

// In normal use, the page writes nothing to the console and talks only to its own host.
func TestPageIsQuiet(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	v.do(t,
		chromedp.SendKeys(chromedp.CSS("#user"), "Ada"),
		chromedp.SendKeys(chromedp.CSS("#text"), "hello"+kb.Enter),
	)
	v.untilShown(t, "Ada", "hello")
	// The test's own console message comes after all earlier ones.
	eval[chromedp.Void](t, v.tab, `console.log("the end")`)
	deadline := time.Now().Add(patience)
	for {
		v.mu.Lock()
		console := slices.Clone(v.console)
		v.mu.Unlock()
		if i := slices.IndexFunc(console, func(m string) bool { return strings.Contains(m, "the end") }); i >= 0 {
			if i > 0 {
				t.Errorf("the console shows %q, want nothing", console[:i])
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the console shows nothing at all")
		}
		time.Sleep(10 * time.Millisecond)
	}

	want := strings.TrimPrefix(s.URL, "http://")
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, request := range v.requests {
		if u, err := url.Parse(request); err != nil || u.Host != want {
			t.Errorf("the page requests %s", request)
		}
	}
	for _, path := range []string{"/", "/app.js", "/style.css", "/events", "/messages", "/topics"} {
		if !slices.ContainsFunc(v.requests, func(request string) bool {
			before, _, _ := strings.Cut(request, "?")
			return before == s.URL+path
		}) {
			t.Errorf("no request for %s was seen; this test would miss others, too", path)
		}
	}
}

// The page shows only the beginning of a very long message.
func TestPageShortensLongMessages(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	s.publish(t, strings.Repeat("n", 100_000), strings.Repeat("t", 100_000))
	v.untilShown(t, strings.Repeat("n", 200)+"…", strings.Repeat("t", 10_000))
	if got := eval[string](t, v.tab, `document.querySelector("#messages .cut").textContent`); got != "and 90,000 more characters" {
		t.Errorf("the page says %q", got)
	}
}

// The page shows any content of a message as text.
func TestPageShowsMarkupAsText(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	for _, markup := range []string{
		`<img src=x onerror="window.attacked = true">`,
		`<script>window.attacked = true</script>`,
		`<a href="javascript:window.attacked = true">here</a>`,
		`</li></ol><h1>headline</h1>`,
		`{{constructor.constructor("window.attacked = true")()}} ${1 + 1} &lt;b&gt; %3Cb%3E`,
	} {
		s.publish(t, markup, markup)
		v.untilShown(t, markup, markup)
		// Use it as the type and data of a message that the form cannot send.
		if _, err := s.hub.Publish(t.Context(), hub.Message{Topic: "messages", Type: markup, Data: markup}); err != nil {
			t.Fatal(err)
		}
		v.until(t, `[...document.querySelectorAll("#messages > li.raw")].some(li =>
			li.querySelector(".type").textContent === %s && li.querySelector(".text").textContent === %s)`, js(markup), js(markup))
	}
	got := eval[[]string](t, v.tab, `[...document.querySelectorAll("#messages *")].map(e => e.localName)`)
	for _, name := range []string{"img", "script", "a", "h1", "b"} {
		if slices.Contains(got, name) {
			t.Errorf("a message has become an element: %s", name)
		}
	}
	if eval[bool](t, v.tab, `"attacked" in window`) {
		t.Error("a message has run a script")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, request := range v.requests {
		if strings.HasSuffix(request, "/x") {
			t.Errorf("a message has caused a request for %s", request)
		}
	}
}

// The page shows whether its stream is open. After a restart of the server it reconnects
// by itself. Posting in between shows an error and keeps the text.
func TestPageFollowsTheServer(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	open := v.text(t, "#status")
	if !v.seen(t, "#status") || open == "" {
		t.Error("the page does not show that its stream is open")
	}

	s.stop()
	v.untilState(t, "reconnecting")
	if got := v.text(t, "#status"); got == "" || got == open {
		t.Errorf("the page shows %q while the server is down", got)
	}
	v.do(t,
		chromedp.SendKeys(chromedp.CSS("#user"), "Ada"),
		chromedp.SendKeys(chromedp.CSS("#text"), "too early"+kb.Enter),
	)
	v.until(t, `document.querySelector("#error").innerText !== ""`)
	if !v.seen(t, "#error") {
		t.Error("the error is not visible")
	}
	if got := eval[string](t, v.tab, `document.querySelector("#text").value`); got != "too early" {
		t.Errorf("the field holds %q, want the unsent text", got)
	}

	s = startSiteAgain(t, s.config)
	v.untilState(t, "open")
	if got := v.text(t, "#status"); got != open {
		t.Errorf("the page shows %q, want %q", got, open)
	}
	v.do(t, chromedp.Focus(chromedp.CSS("#text")), chromedp.KeyEvent(kb.Enter))
	v.untilShown(t, "Ada", "too early")
	v.until(t, `document.querySelector("#error").innerText === ""`)
	s.publish(t, "Bob", "after")
	v.untilShown(t, "Bob", "after")
}

// For a bad message, the page shows the server's words.
func TestPageShowsAProblem(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)

	// Without a text, the browser itself refuses and moves the focus to the field.
	v.do(t,
		chromedp.SendKeys(chromedp.CSS("#user"), "Ada"+kb.Enter),
	)
	v.until(t, `document.activeElement.id === "text"`)

	// Each character takes six bytes of JSON.
	eval[chromedp.Void](t, v.tab, `void (document.querySelector("#text").value = "\u0001".repeat(400_000))`)
	v.do(t, chromedp.Focus(chromedp.CSS("#text")), chromedp.KeyEvent(kb.Enter))
	v.until(t, `document.querySelector("#error").innerText !== ""`)
	const want = "A message may have up to 2097152 bytes"
	if got := v.text(t, "#error"); !strings.Contains(got, want) || !v.seen(t, "#error") {
		t.Errorf("the page shows %q, want %q in it", got, want)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	posts := slices.DeleteFunc(slices.Clone(v.requests), func(u string) bool { return u != s.URL+"/messages" })
	if len(posts) != 1 {
		t.Errorf("%d messages were posted, want 1: the page must not post one without a text", len(posts))
	}
}

// A page ends its stream at once when the user leaves it. Otherwise Chromium would keep
// the stream open in its back/forward cache for a minute. When the user goes back, the
// page reconnects and shows the messages posted meanwhile.
func TestPageEndsItsStreamWhenTheUserLeaves(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	s.publish(t, "Ada", "before")
	v.untilShown(t, "Ada", "before")
	s.wantSubscribers(t, 1)
	v.do(t, chromedp.Navigate("about:blank"))
	s.wantSubscribers(t, 0)
	s.publish(t, "Ada", "meanwhile")

	eval[chromedp.Void](t, v.tab, "void setTimeout(() => history.back())")
	v.untilState(t, "open")
	s.wantSubscribers(t, 1)
	s.publish(t, "Ada", "welcome back")
	v.untilShown(t, "Ada", "welcome back")
	if got, want := v.texts(t), []string{"before", "meanwhile", "welcome back"}; !slices.Equal(got, want) {
		t.Errorf("after going back the page shows %q, want %q, each once", got, want)
	}
}

// The page works behind nginx, configured as documented.
func TestPageBehindNginx(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), startProxy(t, nginx, s.URL))
	v.do(t,
		chromedp.SendKeys(chromedp.CSS("#user"), "Ada"),
		chromedp.SendKeys(chromedp.CSS("#text"), "through nginx"+kb.Enter),
	)
	v.untilShown(t, "Ada", "through nginx")
}
