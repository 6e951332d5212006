package e2e_test

import (
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/internal/auth"
	"example.com/tidings/internal/server"
	"example.com/tidings/sse"
	"example.com/tidings/topics"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A mint signs tokens, and has the settings of a server that accepts them.
type mint struct {
	file   string
	config server.Config
}

// newMint returns a mint with a secret of its own. Anyone may read public.**.
func newMint(t *testing.T) *mint {
	t.Helper()
	m := &mint{file: filepath.Join(t.TempDir(), "secret")}
	if err := auth.GenerateSecret(m.file); err != nil {
		t.Fatal(err)
	}
	key, err := auth.ReadSigningKey("", m.file)
	if err != nil {
		t.Fatal(err)
	}
	m.config.Auth, err = auth.New(auth.Options{
		Tokens:             &auth.Tokens{Keys: []auth.SigningKey{key}, MaxAge: 24 * time.Hour},
		AnonymousSubscribe: topics.MustFilters("public.**"),
		Logger:             slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// token returns a token of a subject, who may read and publish what concerns it, and read
// public.**.
func (m *mint) token(t *testing.T, subject string, life time.Duration) string {
	t.Helper()
	now := time.Now()
	token, err := auth.Sign(auth.Claims{
		Subject: subject, Issued: now, Expires: now.Add(life),
		Grant: auth.Grant{Subscribe: []string{"users.{sub}.**", "public.**"}, Publish: []string{"users.{sub}.**"}},
	}, m.file, "")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// visitSignedOut opens the page at url, which has no stream.
func visitSignedOut(t *testing.T, tb *tab, url string) *visit {
	t.Helper()
	v := visitPageUntil(t, tb, url, "closed")
	v.until(t, `document.querySelector("#filter-error").innerText === "Sign in to read messages."`)
	return v
}

// signIn types a token into the page.
func (v *visit) signIn(t *testing.T, token string) {
	t.Helper()
	v.do(t, chromedp.Focus(chromedp.CSS("#token")), chromedp.SendKeys(chromedp.CSS("#token"), token+kb.Enter))
}

// untilWho waits until the page shows who is signed in.
func (v *visit) untilWho(t *testing.T, subject string) {
	t.Helper()
	v.until(t, `document.querySelector("#who").innerText.startsWith("Signed in as " + %s + ", until ")`, js(subject))
}

// wantSays waits until the page shows a sentence about its stream.
func (v *visit) wantSays(t *testing.T, want string) {
	t.Helper()
	v.until(t, `document.querySelector("#status").innerText === %s`, js(want))
}

func (s *site) tell(t *testing.T, topic, text string) {
	t.Helper()
	if _, err := s.hub.Publish(t.Context(), hub.Message{Topic: topic, Data: text}); err != nil {
		t.Fatal(err)
	}
}

// untilTexts waits until the feed shows these messages.
func (v *visit) untilTexts(t *testing.T, want ...string) {
	t.Helper()
	v.until(t, `JSON.stringify([...document.querySelectorAll("#messages .text")].map(e => e.textContent)) === %s`, js(js(append([]string{}, want...))))
}

// A user signs in with a token. The page then shows who the user is and what the user may do,
// and asks for nothing else. Scripts never see the token again.
func TestPageSignsIn(t *testing.T) {
	t.Parallel()
	m := newMint(t)
	s := startSite(t, m.config)
	s.tell(t, "users.ada.inbox", "for ada")
	s.tell(t, "users.bob.inbox", "for bob")
	v := visitSignedOut(t, newTab(t), s.URL)

	// Without a token the user reads what anyone may read.
	v.read(t, "public.**")
	v.untilFilter(t, "public.**")
	v.signIn(t, "not.a.token")
	v.until(t, `document.querySelector("#sign-in-error").innerText.includes("is not accepted")`)

	v.do(t, chromedp.Navigate(s.URL))
	v.untilState(t, "closed")
	v.mu.Lock()
	v.requests = nil
	v.mu.Unlock()
	token := m.token(t, "ada", time.Hour)
	v.signIn(t, token)
	v.untilWho(t, "jwt:ada")
	v.untilFilter(t, "users.ada.**")
	v.untilTexts(t, "for ada")
	if got, want := v.text(t, "#who"), "You may read users.ada.**, public.** and publish to users.ada.**."; !strings.HasSuffix(got, want) || !v.seen(t, "#who") {
		t.Errorf("the page says %q, want %q at its end", got, want)
	}
	s.tell(t, "users.ada.inbox", "live")
	v.untilTexts(t, "for ada", "live")

	// The list of topics asks once for each grant, and for nothing that is not granted.
	v.until(t, `[...document.querySelectorAll("#topics .name")].map(e => e.innerText).join() === "users.ada.**,public.**,users.ada.inbox"`)
	v.mu.Lock()
	var asked []string
	for _, request := range v.requests {
		if _, query, ok := strings.Cut(request, "/topics?match="); ok {
			asked = append(asked, query[:strings.Index(query, "&")])
		}
	}
	v.mu.Unlock()
	for _, filter := range []string{"users.ada.**", "public.**"} {
		if !slices.Contains(asked, filter) {
			t.Errorf("the page does not list the topics of %s: %q", filter, asked)
		}
	}
	if slices.Contains(asked, "**") {
		t.Error("the page lists all topics, which ada may not read")
	}

	v.wantNoToken(t, token)
	v.wantCookie(t, s.URL, token)

	// The page shows why the server refuses a filter and a message. Its stream goes on.
	v.read(t, "users.bob.**")
	v.until(t, `document.querySelector("#filter-error").innerText.includes("You may not read all topics of \"users.bob.**\".")`)
	v.untilState(t, "open")
	v.do(t,
		chromedp.SetValue(chromedp.CSS("#topic"), "users.bob.inbox"),
		chromedp.SendKeys(chromedp.CSS("#text"), "to bob"+kb.Enter),
	)
	v.until(t, `document.querySelector("#error").innerText.includes("You may not publish to the topic users.bob.inbox.")`)

	// Another page of the browser has the session, and loses it with this one.
	other := visitPage(t, v.another(t), s.URL)
	other.untilWho(t, "jwt:ada")
	v.do(t, chromedp.Click(chromedp.CSS("#sign-out")))
	for _, v := range []*visit{v, other} {
		v.until(t, `document.querySelector("#signed-in").hidden && !document.querySelector("#sign-in").hidden`)
		v.untilState(t, "closed")
		v.untilTexts(t)
	}
	if cookies := v.cookies(t, s.URL); len(cookies) != 0 {
		t.Errorf("after signing out there is a cookie: %+v", cookies[0])
	}
	if got := eval[int](t, v.tab, `fetch("session").then(r => r.status)`); got != http.StatusUnauthorized {
		t.Errorf("GET /session after signing out: %d", got)
	}
}

// wantNoToken checks that no script can read a token: nothing of it is in the document, in a
// field, or stored.
func (v *visit) wantNoToken(t *testing.T, token string) {
	t.Helper()
	got := eval[string](t, v.tab, `(async () => JSON.stringify([
		document.cookie, document.documentElement.outerHTML, [...document.querySelectorAll("input")].map(e => e.value),
		{...localStorage}, {...sessionStorage}, history.state, location.href, await indexedDB.databases(), await caches.keys(),
	]))()`)
	for part := range strings.SplitSeq(token, ".") {
		if strings.Contains(got, part) {
			t.Errorf("the page holds %q of the token: %s", part, got)
		}
	}
	if got := eval[string](t, v.tab, "document.cookie"); got != "" {
		t.Errorf("scripts can read the cookie %q", got)
	}
}

func (v *visit) cookies(t *testing.T, url string) []*network.Cookie {
	t.Helper()
	result, err := chromedp.Call(v.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{url}})
	if err != nil {
		t.Fatal(err)
	}
	return result.Cookies
}

// wantCookie checks the cookie as Chromium has stored it.
func (v *visit) wantCookie(t *testing.T, url, token string) {
	t.Helper()
	cookies := v.cookies(t, url)
	if len(cookies) != 1 {
		t.Fatalf("there are %d cookies, want 1", len(cookies))
	}
	c := cookies[0]
	left := time.Until(time.Unix(int64(c.Expires), 0))
	if c.Name != "tidings" || c.Value != token || c.Path != "/" || c.Domain != "127.0.0.1" || !c.HTTPOnly || c.SameSite != "Strict" ||
		c.Session || left > time.Hour || left < 50*time.Minute {
		t.Errorf("the cookie is %+v", c)
	}
}

// When a token expires under an open stream, the page says so. With a new token it continues
// where it was.
func TestPageSaysThatThePermissionHasExpired(t *testing.T) {
	t.Parallel()
	m := newMint(t)
	s := startSite(t, m.config)
	v := visitSignedOut(t, newTab(t), s.URL)
	v.signIn(t, m.token(t, "ada", 8*time.Second))
	v.untilFilter(t, "users.ada.**")
	s.tell(t, "users.ada.inbox", "before")
	v.untilTexts(t, "before")
	v.wantSays(t, "Your permission to read this has expired. Sign in to go on.")
	if !v.seen(t, "#sign-in") || v.seen(t, "#signed-in") {
		t.Error("the page does not offer to sign in again")
	}
	s.tell(t, "users.ada.inbox", "meanwhile")
	v.signIn(t, m.token(t, "ada", time.Hour))
	v.untilState(t, "open")
	s.tell(t, "users.ada.inbox", "after")
	v.untilTexts(t, "before", "meanwhile", "after")

	// Another user does not see what the first one did.
	v.do(t, chromedp.Click(chromedp.CSS("#sign-out")))
	v.untilTexts(t)
	v.signIn(t, m.token(t, "bob", time.Hour))
	v.untilFilter(t, "users.bob.**")
	v.untilTexts(t)
}

// When a permission is taken away, the page says so, and does not come back by itself.
func TestPageSaysThatThePermissionWasTakenAway(t *testing.T) {
	t.Parallel()
	m := newMint(t)
	s := startSite(t, m.config)
	v := visitSignedOut(t, newTab(t), s.URL)
	v.signIn(t, m.token(t, "ada", time.Hour))
	v.untilFilter(t, "users.ada.**")
	if err := s.hub.Revoke(t.Context(), "jwt:ada", time.Now()); err != nil {
		t.Fatal(err)
	}
	v.wantSays(t, "Your permission to read this was taken away. Sign in to go on.")
	v.until(t, `document.querySelector("#sign-in-error").innerText === "The credential was revoked. Get a new one."`)
	if !v.seen(t, "#sign-in") || len(v.cookies(t, s.URL)) != 0 {
		t.Error("the page still has the session")
	}
	// The page works without the session.
	v.read(t, "public.**")
	v.untilFilter(t, "public.**")
}

// The page says what tidings.end says of a permission that has ended.
func TestPageSaysHowThePermissionEnded(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		hub.EndExpired: "Your permission to read this has expired. Sign in to go on.",
		hub.EndRevoked: "Your permission to read this was taken away. Sign in to go on.",
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			m, src := newMint(t), newSource()
			url, h := pageOverHub(t, src, m.config)
			v := visitSignedOut(t, newTab(t), url)
			v.signIn(t, m.token(t, "ada", time.Hour))
			st := src.next(t)
			st.send(t, openAt("0w3k7zq4m8tc-1"))
			v.untilState(t, "open")
			if err := h.Revoke(t.Context(), "jwt:ada", time.Now()); err != nil {
				t.Fatal(err)
			}
			// The stream stays open until the page has read the event.
			st.send(t, sse.Event{Type: hub.EndEventType, Retry: soon, Data: `{"reason":` + js(reason) + `}`, ID: "0w3k7zq4m8tc-7"})
			v.wantSays(t, want)
		})
	}
}

// An EventSource that the server refuses is closed for ever. The page says so, and recovers with
// a token that the server accepts.
func TestPageRecoversFromARefusal(t *testing.T) {
	t.Parallel()
	was, is := newMint(t), newMint(t)
	s := startSite(t, was.config)
	v := visitSignedOut(t, newTab(t), s.URL)
	v.signIn(t, was.token(t, "ada", time.Hour))
	v.untilFilter(t, "users.ada.**")
	s.stop()
	v.untilState(t, "reconnecting")
	is.config.Addr = s.config.Addr
	s = startSiteAgain(t, is.config)
	v.wantSays(t, "The credential is not accepted. The server's log says why. Sign in to go on.")
	v.signIn(t, is.token(t, "ada", time.Hour))
	v.untilFilter(t, "users.ada.**")
	s.tell(t, "users.ada.inbox", "back")
	v.untilTexts(t, "back")
}

// A page of another origin cannot use the cookie, neither to read nor to publish, and cannot sign
// a visitor in or out.
func TestPagesOfOtherOriginsCannotUseTheCookie(t *testing.T) {
	t.Parallel()
	m := newMint(t)
	page := func(host string) string {
		return strings.Replace(serve(t, withPage(http.NotFoundHandler())).URL, "127.0.0.1", host, 1)
	}
	sameSite, otherSite, listed := page("127.0.0.1"), page("localhost"), page("127.0.0.1")
	m.config.AllowOrigins = []string{listed}
	s := startSite(t, m.config)
	v := visitSignedOut(t, newTab(t), s.URL)
	token := m.token(t, "ada", time.Hour)
	v.signIn(t, token)
	v.untilFilter(t, "users.ada.**")

	const streams = `new Promise(done => {
		const es = new EventSource(%s + "/events?topic=users.ada.**", {withCredentials: true});
		es.onopen = () => { es.close(); done("open"); };
		es.onerror = () => done(es.readyState === EventSource.CLOSED ? "closed" : "connecting");
	})`
	const blind = `fetch(%s, {method: "POST", mode: "no-cors", credentials: "include", body: "forged"}).then(r => r.type, e => e.name)`
	const session = `fetch(%s + "/session", {method: %s, credentials: "include", headers: %s}).then(r => r.status + "", e => e.name)`
	for name, url := range map[string]string{"same site": sameSite, "other site": otherSite} {
		tb := v.another(t)
		tb.do(t, chromedp.Navigate(url))
		if got := eval[string](t, tb, streams, js(s.URL)); got != "closed" {
			t.Errorf("%s: a stream is %s", name, got)
		}
		eval[string](t, tb, blind, js(s.URL+"/topics/users.ada.inbox"))
		for _, tc := range []struct {
			method string
			header map[string]string
		}{
			{"GET", map[string]string{}}, {"DELETE", map[string]string{}}, {"POST", map[string]string{}},
			{"POST", map[string]string{"Authorization": "Bearer " + m.token(t, "mallory", time.Hour)}},
		} {
			if got := eval[string](t, tb, session, js(s.URL), js(tc.method), js(tc.header)); got != "TypeError" {
				t.Errorf("%s: %s /session with %d headers: %s", name, tc.method, len(tc.header), got)
			}
		}
	}
	v.wantCookie(t, s.URL, token)
	if topic, _, err := s.hub.Topic(t.Context(), "users.ada.inbox"); err == nil {
		t.Errorf("a page of another origin has published %d messages", topic.Count)
	}

	// A page of the same site that is listed uses the session.
	tb := v.another(t)
	tb.do(t, chromedp.Navigate(listed))
	if got := eval[string](t, tb, streams, js(s.URL)); got != "open" {
		t.Errorf("a page that is listed: a stream is %s", got)
	}
	if got := eval[string](t, tb, session, js(s.URL), js("GET"), "{}"); got != "200" {
		t.Errorf("a page that is listed: GET /session: %s", got)
	}
}

// A server with API keys only has no users who could sign in. The page reads what anyone may read.
func TestPageOfAServerWithAPIKeysOnly(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	_, k, err := auth.NewKey("shop")
	if err == nil {
		k.Subscribe = topics.MustFilters("**")
		err = auth.AddKey(file, k)
	}
	if err != nil {
		t.Fatal(err)
	}
	keys, err := auth.New(auth.Options{KeysFile: file, AnonymousSubscribe: topics.MustFilters("public.**")})
	if err != nil {
		t.Fatal(err)
	}
	s := startSite(t, server.Config{Auth: keys})
	v := visitPageUntil(t, newTab(t), s.URL, "closed")
	v.until(t, `document.querySelector("#filter-error").innerText === "This page may not read messages: the server has no sign-in for users."`)
	v.wantSays(t, "Nothing to read.")
	if v.seen(t, "#session") || v.seen(t, "#token") {
		t.Error("the page offers to sign in")
	}
	v.read(t, "public.**")
	v.untilFilter(t, "public.**")
	s.tell(t, "public.news", "for anyone")
	v.untilTexts(t, "for anyone")
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.ContainsFunc(v.requests, func(r string) bool { return strings.Contains(r, "/session") && !strings.HasSuffix(r, ".js") }) {
		t.Errorf("the page asks for a session: %q", v.requests)
	}
}

// Without credentials the page shows nothing of a session.
func TestPageWithoutCredentialsHasNoSession(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	if v.seen(t, "#session") || v.seen(t, "#token") {
		t.Error("the page offers to sign in")
	}
}

// A screen reader gets the names of the controls of a session.
func TestPageSessionForAScreenReader(t *testing.T) {
	t.Parallel()
	m := newMint(t)
	s := startSite(t, m.config)
	v := visitSignedOut(t, newTab(t), s.URL)
	want := func(roles ...[2]string) {
		t.Helper()
		nodes := accessibilityTree(t, v.tab)
		for _, w := range roles {
			if !slices.ContainsFunc(nodes, func(n seenNode) bool { return n.role == w[0] && n.name == w[1] }) {
				t.Errorf("there is no %s %q", w[0], w[1])
			}
		}
	}
	want([2]string{"region", "Your access"}, [2]string{"form", "Sign in"}, [2]string{"textbox", "Token"}, [2]string{"button", "Sign in"})
	v.signIn(t, m.token(t, "ada", time.Hour))
	v.untilWho(t, "jwt:ada")
	want([2]string{"region", "Your access"}, [2]string{"button", "Sign out"})
	if got := eval[string](t, v.tab, "document.activeElement.id"); got != "sign-out" {
		t.Errorf("after signing in the focus is at %q", got)
	}
}
