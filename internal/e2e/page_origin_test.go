package e2e_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"example.com/tidings/internal/server"

	"github.com/chromedp/chromedp"
)

// A page on another port, such as one from a development server, can use the server
// only if --allow-origin lists its origin.
func TestOtherOrigins(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		host string // of the page, whose server listens on 127.0.0.1
	}{
		{"same site", "127.0.0.1"},
		{"other site", "localhost"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			page := func() string {
				s := serve(t, withPage(http.NotFoundHandler()))
				return strings.Replace(s.URL, "127.0.0.1", tc.host, 1)
			}
			listed, unlisted := page(), page()
			s := startSite(t, server.Config{AllowOrigins: []string{"http://localhost:5173", listed}})

			allowed := newTab(t)
			allowed.do(t, chromedp.Navigate(listed))
			allowed.follow(t, "es", s.URL+"/events")
			allowed.wantLog(t, "es", opened)

			refused := newTab(t)
			refused.do(t, chromedp.Navigate(unlisted))
			refused.follow(t, "es", s.URL+"/events")
			refused.wantLog(t, "es", closed)

			// Each page posts, first the page that is not listed.
			const post = `fetch(%s, {method: "POST", headers: {"Content-Type": %s}, body: JSON.stringify({user: "Ada", text: %s})})
				.then(async r => r.status + " " + await r.text(), e => e.name)`
			for _, contentType := range []string{"application/json", "text/plain"} { // without and with a preflight
				if got := eval[string](t, refused, post, js(s.URL+"/messages"), js(contentType), js("forged")); got != "TypeError" {
					t.Errorf("the page that is not listed posts %s and gets %q", contentType, got)
				}
			}
			// The server also refuses a request whose response the page cannot read.
			const blind = `fetch(%s, {method: "POST", mode: "no-cors", body: JSON.stringify({user: "Ada", text: "forged"})}).then(r => r.type, e => e.name)`
			if got := eval[string](t, refused, blind, js(s.URL+"/messages")); got != "opaque" && got != "TypeError" {
				t.Errorf("a blind post gives %q", got)
			}
			if got := eval[string](t, allowed, post, js(s.URL+"/messages"), js("application/json"), js("hello")); got != "200 queued" {
				t.Errorf("the page that is listed posts and gets %q", got)
			}
			got := allowed.log(t, "es", 2)
			if want := (dispatched{Type: "message", Data: `{"user":"Ada","text":"hello"}`, ID: got[1].ID}); len(got) != 2 || got[1] != want || want.ID == "" {
				t.Errorf("the page that is listed gets %s", js(got))
			}
			// The page that is not listed must not hold a stream open.
			s.wantSubscribers(t, 1)
			// A listed page can read the headers that a client of the API needs.
			const location = `fetch(%s, {method: "POST", body: "hello"}).then(r => r.status + " " + (r.headers.get("Location") ?? "").includes("/topics/orders/events/"), e => e.name)`
			if got := eval[string](t, allowed, location, js(s.URL+"/topics/orders")); got != "201 true" {
				t.Errorf("the page that is listed publishes and gets %q", got)
			}
			const list = `fetch(%s).then(r => r.status + "", e => e.name)`
			for tb, want := range map[*tab]string{allowed: "200", refused: "TypeError"} {
				if got := eval[string](t, tb, list, js(s.URL+"/topics")); got != want {
					t.Errorf("a page lists the topics and gets %q, want %q", got, want)
				}
			}
		})
	}
}

// Behind nginx with a public name, configured as documented, the server distinguishes
// its own pages from pages of other sites.
func TestNginxPassesTheNameOn(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{AllowHosts: []string{"tidings.example.org"}})
	url := startProxy(t, nginx, s.URL)
	for _, tc := range []struct {
		origin string
		status int
	}{
		{"http://tidings.example.org", http.StatusOK},
		{"https://tidings.example.org", http.StatusOK}, // TLS ends at nginx
		{"http://attacker.example", http.StatusForbidden},
	} {
		// An older browser sends no Sec-Fetch-Site: the server can compare only the name.
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/messages", strings.NewReader(`{"user":"Ada","text":"hello"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "tidings.example.org"
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Origin", tc.origin)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tc.status {
			t.Errorf("a post from %s: %s, want %d\n%s", tc.origin, resp.Status, tc.status, body)
		}
	}
}
