package server_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.com/tidings/internal/auth"
	"example.com/tidings/internal/server"
	"example.com/tidings/topics"
)

// credentials are those of a server with API keys and tokens.
type credentials struct {
	*auth.Authenticator
	dir  string
	keys map[string]string // by what they may do
}

const tokenSecret = "0123456789abcdef0123456789abcdef"

func newCredentials(t *testing.T) *credentials {
	t.Helper()
	c := &credentials{dir: t.TempDir(), keys: map[string]string{}}
	file := filepath.Join(c.dir, "keys")
	for name, grant := range map[string]auth.Key{
		"publish":    {Publish: topics.MustFilters("a.**", "messages")},
		"subscribe":  {Subscribe: topics.MustFilters("a.**", "messages")},
		"administer": {Administer: true},
		"expired":    {Publish: topics.MustFilters("**"), Subscribe: topics.MustFilters("**"), Administer: true, Expires: time.Now().Add(-time.Second)},
	} {
		secret, k, err := auth.NewKey(name)
		if err != nil {
			t.Fatal(err)
		}
		k.Publish, k.Subscribe, k.Administer, k.Expires = grant.Publish, grant.Subscribe, grant.Administer, grant.Expires
		if err := auth.AddKey(file, k); err != nil {
			t.Fatal(err)
		}
		c.keys[name] = secret
	}
	secret := filepath.Join(c.dir, "secret")
	if err := os.WriteFile(secret, []byte(tokenSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := auth.ReadSigningKey("", secret)
	if err != nil {
		t.Fatal(err)
	}
	c.Authenticator, err = auth.New(auth.Options{
		KeysFile: file, Tokens: &auth.Tokens{Keys: []auth.SigningKey{key}, MaxAge: 24 * time.Hour},
		AnonymousSubscribe: topics.MustFilters("public.**"), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// token returns a token of a subject, as another library signs it, for a time.
func token(t *testing.T, sub string, life time.Duration, grants map[string]any) string {
	t.Helper()
	now := time.Now()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": sub, "iat": now.Unix(), "exp": now.Add(life).Unix(), "tidings": grants,
	}).SignedString([]byte(tokenSecret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What each route needs, and what failing looks like, on every path.
func TestWhatEachRouteNeeds(t *testing.T) {
	c := newCredentials(t)
	routes := []struct {
		method, path, body string
		needs              string
		elsewhere          string // the same route where no grant reaches
	}{
		{"GET", "/events?topic=a.b", "", "subscribe", "/events?topic=a.b&topic=b"},
		{"HEAD", "/events?topic=a.*", "", "subscribe", "/events?topic=*"},
		{"GET", "/topics?match=a.**", "", "subscribe", "/topics?after=a"},
		{"GET", "/topics/a.b", "", "subscribe", "/topics/none"},
		{"HEAD", "/topics/a.b", "", "subscribe", "/topics/none"},
		{"GET", "/topics/a.b/events", "", "subscribe", "/topics/b/events"},
		{"GET", "/topics/a.b/events/ID", "", "subscribe", "/topics/b/events/ID"},
		{"GET", "/history?topic=a.b", "", "subscribe", "/history?topic=a.b&topic=b"},
		{"HEAD", "/history?topic=a.*&order=desc", "", "subscribe", "/history?topic=*&order=desc"},
		{"GET", "/history?topic=a.**&order=desc&before=ID", "", "subscribe", "/history?topic=**&order=desc&before=ID"},
		{"GET", "/position", "", "any", ""},
		{"HEAD", "/position", "", "any", ""},
		{"POST", "/topics/a.b", "x", "publish", "/topics/b"},
		{"POST", "/batch", `{"topic":"a.b","data":1}`, "publish", ""},
		{"POST", "/messages", `{"user":"a","text":"b"}`, "publish", ""},
	}
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, server.Config{Auth: c.Authenticator})
			cl := client(t, protocol)
			do := func(method, path, body string, header ...string) reply {
				t.Helper()
				kind := "application/x-ndjson"
				if path == "/messages" {
					kind = "application/json"
				}
				header = append(header, "Content-Type", kind)
				if strings.HasPrefix(path, "/events") && method == "GET" {
					return begun(t, cl, s.url+path, header...)
				}
				var r io.Reader
				if body != "" {
					r = strings.NewReader(body)
				}
				return send(t, cl, method, s.url+path, r, header...)
			}
			bearer := func(credential string) []string { return []string{"Authorization", "Bearer " + credential} }
			id := do("POST", "/topics/a.b", "x", bearer(c.keys["publish"])...).header.Get("Location")
			id = id[strings.LastIndex(id, "/")+1:]
			if id == "" {
				t.Fatal("nothing is published")
			}
			refused := func(what string, r reply, method string, status int, kind, challenge string) {
				t.Helper()
				if r.status != status || !strings.Contains(r.header.Get("Www-Authenticate"), challenge) || r.header.Get("Etag") != "" || r.header.Get("Location") != "" {
					t.Errorf("%s: %d %v %s", what, r.status, r.header, r.body)
				}
				if method != "HEAD" {
					r.problem(t, status, kind)
				}
			}
			for _, rt := range routes {
				anyone := rt.needs == "any"
				if anyone {
					rt.needs = "publish"
				}
				path, elsewhere := strings.ReplaceAll(rt.path, "ID", id), strings.ReplaceAll(rt.elsewhere, "ID", id)
				what := rt.method + " " + rt.path
				for _, credential := range []string{c.keys[rt.needs], token(t, "ada", time.Hour, map[string]any{"publish": []string{"a.**", "messages"}, "subscribe": []string{"a.**"}, "administer": true})} {
					if r := do(rt.method, path, rt.body, bearer(credential)...); r.status/100 != 2 {
						t.Errorf("%s: %d %s", what, r.status, r.body)
					}
				}
				refused(what+" without a credential", do(rt.method, path, rt.body), rt.method, 401, "unauthenticated", `Bearer realm="tidings"`)
				for how, credential := range map[string]string{
					"a bad key": c.keys[rt.needs] + "x", "an expired key": c.keys["expired"], "nonsense": "x",
					"an unsigned token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "an expired token": token(t, "ada", -time.Second, map[string]any{"administer": true}),
				} {
					refused(what+" with "+how, do(rt.method, path, rt.body, append(bearer(credential), "If-None-Match", "*")...), rt.method, 401, "invalid-credential", `error="invalid_token"`)
				}
				// Who may do one thing may not do the others.
				for name, key := range c.keys {
					switch {
					case name == rt.needs || name == "expired":
					case anyone:
						if r := do(rt.method, path, rt.body, bearer(key)...); r.status != 200 {
							t.Errorf("%s with the key that may %s: %d %s", what, name, r.status, r.body)
						}
					default:
						refused(what+" with the key that may "+name, do(rt.method, path, rt.body, append(bearer(key), "If-None-Match", "*")...), rt.method, 403, "not-granted", `error="insufficient_scope"`)
					}
				}
				refused(what+" with two", do(rt.method, path, rt.body, append(bearer(c.keys[rt.needs]), bearer(c.keys[rt.needs])...)...), rt.method, 400, "ambiguous-credential", "")
				if elsewhere != "" {
					refused(what+" elsewhere", do(rt.method, elsewhere, rt.body, append(bearer(c.keys[rt.needs]), "If-None-Match", "*")...), rt.method, 403, "not-granted", `error="insufficient_scope"`)
				}
			}
			// Who may publish nothing is refused before the lines of a batch are read.
			refused("a batch without lines", do("POST", "/batch", "\n", bearer(c.keys["subscribe"])...), "POST", 403, "not-granted", `error="insufficient_scope"`)
			refused("a batch without lines, of nobody", do("POST", "/batch", "\n"), "POST", 401, "unauthenticated", "Bearer")
			// A batch is refused whole, and the line is named.
			r := do("POST", "/batch", `{"topic":"a.c","data":1}`+"\n"+`{"topic":"b","data":1}`, bearer(c.keys["publish"])...)
			if p := r.problem(t, 403, "not-granted"); p.Line != 2 {
				t.Errorf("%s", r.body)
			}
			if r := do("GET", "/topics/a.c", "", bearer(c.keys["subscribe"])...); r.status != 404 {
				t.Errorf("a part of the batch is stored: %d", r.status)
			}
			// No cache gives one client what another one may read.
			for path, want := range map[string]string{"/topics/a.b": "private, no-cache", "/topics/a.b/events": "no-store", "/topics?match=a.*": "no-store", "/topics/a.b/events/" + id: "no-store"} {
				if r := do("GET", path, "", bearer(c.keys["subscribe"])...); r.status != 200 || r.header.Get("Cache-Control") != want {
					t.Errorf("%s: %d %v, want %s", path, r.status, r.header, want)
				}
			}
			// Anyone may read what is public, and only that.
			if r := do("GET", "/events?topic=public.x", ""); r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
			if r := do("GET", "/history?topic=public.x&order=desc", ""); r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
			refused("the history of public.** and more", do("GET", "/history?topic=public.x&topic=a.b&order=desc", ""), "GET", 401, "unauthenticated", "Bearer")
			refused("public.** and more", do("GET", "/events?topic=public.x&topic=a", ""), "GET", 401, "unauthenticated", "Bearer")
			refused("public.** with a bad key", do("GET", "/events?topic=public.x", "", bearer("x")...), "GET", 401, "invalid-credential", "Bearer")
			if r := do("GET", "/", ""); r.status != 200 {
				t.Errorf("the page: %d", r.status)
			}
		})
	}
}

// begun returns the head of a response, with its body if it is no stream.
func begun(t *testing.T, c *http.Client, url string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := reply{status: res.StatusCode, header: res.Header}
	if res.StatusCode != 200 {
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		r.body = string(b)
	}
	return r
}

// A session keeps a token in a cookie that only this server gets.
func TestSession(t *testing.T) {
	c := newCredentials(t)
	for _, public := range []string{"", "https://hub.example.org"} {
		t.Run(public, func(t *testing.T) {
			s := start(t, server.Config{Auth: c.Authenticator, PublicURL: public})
			cl := client(t, "HTTP/1.1")
			name, attributes := "tidings", "; Path=/; Max-Age=3599; HttpOnly; SameSite=Strict"
			if public != "" {
				name, attributes = "__Host-tidings", "; Path=/; Max-Age=3599; HttpOnly; Secure; SameSite=Strict"
			}
			own := public
			if own == "" {
				own = s.url
			}
			tok := token(t, "ada", time.Hour, map[string]any{"subscribe": []string{"users.{sub}.**"}})
			at := s.url + "/session"
			r := send(t, cl, "POST", at, nil, "Authorization", "Bearer "+tok, "Origin", own)
			if r.status != 200 || r.header.Get("Set-Cookie") != name+"="+tok+attributes || r.header.Get("Cache-Control") != "no-store" ||
				!strings.HasPrefix(r.body, `{"subject":"jwt:ada","expiresIn":3599,"publish":[],"subscribe":["users.ada.**"],"administer":false}`) {
				t.Errorf("%d %v %s", r.status, r.header, r.body)
			}
			cookie := name + "=" + tok
			if r := send(t, cl, "GET", at, nil, "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); r.status != 200 || !strings.Contains(r.body, "jwt:ada") {
				t.Errorf("%d %s", r.status, r.body)
			}
			if r := begun(t, cl, s.url+"/events?topic=users.ada.x", "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
			}
			for what, bad := range map[string][]string{
				"401 unauthenticated: nothing":                  {},
				"401 invalid-credential: a bad cookie":          {"Cookie", cookie + "x"},
				"401 invalid-credential: an expired cookie":     {"Cookie", name + "=" + token(t, "ada", -time.Second, nil)},
				"400 ambiguous-credential: two cookies":         {"Cookie", cookie + "; " + cookie},
				"401 invalid-credential: the header wins":       {"Cookie", cookie, "Authorization", "Bearer x"},
				"403 origin-not-allowed: a page of the domain":  {"Cookie", cookie, "Sec-Fetch-Site", "same-site"},
				"403 origin-not-allowed: a page of another one": {"Cookie", cookie, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
				"403 origin-not-allowed: one without a cookie":  {"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
				"403 origin-not-allowed: one with a token":      {"Authorization", "Bearer " + tok, "Sec-Fetch-Site", "same-site"},
			} {
				var status int
				var kind string
				fmt.Sscanf(what, "%d %s", &status, &kind)
				send(t, cl, "GET", at, nil, bad...).problem(t, status, strings.TrimSuffix(kind, ":"))
				if kind != "401 unauthenticated:" {
					send(t, cl, "GET", s.url+"/events?topic=users.ada.x", nil, bad...).problem(t, status, strings.TrimSuffix(kind, ":"))
				}
			}
			if public != "" { // only its pages are the server's own
				send(t, cl, "GET", at, nil, "Cookie", cookie, "Origin", s.url).problem(t, 403, "origin-not-allowed")
			}
			// The token comes from the header, and nowhere else.
			for what, x := range map[string]reply{
				"401 unauthenticated":    send(t, cl, "POST", at, strings.NewReader("token="+tok), "Content-Type", "application/x-www-form-urlencoded"),
				"401 unauthenticated ":   send(t, cl, "POST", at+"?token="+tok, nil, "Cookie", cookie),
				"401 invalid-credential": send(t, cl, "POST", at, nil, "Authorization", "Bearer "+c.keys["subscribe"]),
				"400 cookie-too-large":   send(t, cl, "POST", at, nil, "Authorization", "Bearer "+token(t, strings.Repeat("x", 190), time.Hour, map[string]any{"publish": manyTopics(40)})),
			} {
				var status int
				var kind string
				fmt.Sscanf(what, "%d %s", &status, &kind)
				x.problem(t, status, kind)
				if x.header.Get("Set-Cookie") != "" {
					t.Errorf("%s: %v", what, x.header)
				}
			}
			for _, header := range [][]string{{}, {"Cookie", cookie}, {"Cookie", name + "=dead"}} {
				r := send(t, cl, "DELETE", at, nil, header...)
				if r.status != 204 || !strings.HasPrefix(r.header.Get("Set-Cookie"), name+"=; Path=/; Max-Age=0") {
					t.Errorf("%d %v", r.status, r.header)
				}
			}
		})
	}
}

// manyTopics returns filters that make a token long.
func manyTopics(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("topic-%d.%s.**", i, strings.Repeat("y", 80)))
	}
	return all
}

// A stream ends when the token does.
func TestStreamEndsWithItsToken(t *testing.T) {
	c := newCredentials(t)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			s := start(t, server.Config{Auth: c.Authenticator})
			tok := token(t, "ada", 2*time.Second, map[string]any{"subscribe": []string{"a"}})
			req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/events?topic=a", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+tok)
			res, err := client(t, protocol).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if text := string(b); err == nil || !strings.Contains(text, `"expiresIn":`) || !strings.Contains(text, "event: tidings.end\n") ||
				!strings.Contains(text, "data: {\"reason\":\"expired\"}\n") {
				t.Errorf("the stream ends with %v: %s", err, text)
			}
			if r := begun(t, client(t, protocol), s.url+"/events?topic=a", "Authorization", "Bearer "+tok); r.status != 401 {
				t.Errorf("the token is still taken: %d", r.status)
			}
		})
	}
}

// A token that was revoked has no session, and gets none.
func TestSessionOfARevokedSubject(t *testing.T) {
	s := start(t, server.Config{Auth: newCredentials(t).Authenticator})
	cl := client(t, "HTTP/1.1")
	tok := token(t, "ada", time.Hour, map[string]any{"subscribe": []string{"a"}})
	if err := s.hub.Revoke(t.Context(), "jwt:ada", time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "POST"} {
		r := send(t, cl, method, s.url+"/session", nil, "Authorization", "Bearer "+tok)
		r.problem(t, 401, "invalid-credential")
		if !strings.Contains(r.body, "The credential was revoked.") || r.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %v, %s", method, r.header, r.body)
		}
	}
	if r := send(t, cl, "DELETE", s.url+"/session", nil, "Cookie", "tidings="+tok); r.status != 204 {
		t.Errorf("DELETE: %d", r.status)
	}
}

// A revocation concerns the tokens that were signed before it, on each route.
func TestTokenThatIsNewerThanTheRevocation(t *testing.T) {
	s := start(t, server.Config{Auth: newCredentials(t).Authenticator})
	cl := client(t, "HTTP/1.1")
	tok := token(t, "ada", time.Hour, map[string]any{"subscribe": []string{"a.**"}, "publish": []string{"a.**", "messages"}})
	for _, before := range []time.Duration{time.Hour, 0} {
		if err := s.hub.Revoke(t.Context(), "jwt:ada", time.Now().Add(-before)); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]int{"/session": 200, "/topics?match=a.*": 200, "/topics/a.b": 404, "/topics/a.b/events": 200, "/events?topic=a.b": 200} {
			if before == 0 {
				want = 401
			}
			if r := begun(t, cl, s.url+path, "Authorization", "Bearer "+tok); r.status != want {
				t.Errorf("GET %s, revoked %v ago: %d %s", path, before, r.status, r.body)
			}
		}
		for path, body := range map[string]string{"/topics/a.c": "x", "/batch": `{"topic":"a.c","data":1}`, "/messages": `{"user":"a","text":"b"}`} {
			kind := map[bool]string{true: "application/json", false: "application/x-ndjson"}[path == "/messages"]
			if r := send(t, cl, "POST", s.url+path, strings.NewReader(body), "Authorization", "Bearer "+tok, "Content-Type", kind); (r.status == 401) != (before == 0) {
				t.Errorf("POST %s, revoked %v ago: %d %s", path, before, r.status, r.body)
			}
		}
	}
}

// The page is told whether it has to ask for its session: it does not if there is none, or if only
// services have credentials.
func TestPageOfAServerWithCredentials(t *testing.T) {
	cl := client(t, "HTTP/1.1")
	keys, err := auth.New(auth.Options{KeysFile: filepath.Join(newCredentials(t).dir, "keys")})
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]bool{}
	for want, a := range map[string]*auth.Authenticator{
		`<html lang="en">`: nil, `<html lang="en" data-session>`: newCredentials(t).Authenticator, `<html lang="en" data-session="none">`: keys,
	} {
		r := send(t, cl, "GET", start(t, server.Config{Auth: a}).url+"/", nil)
		if !strings.Contains(r.body, want+"\n") {
			t.Errorf("the page lacks %s", want)
		}
		tags[r.header.Get("ETag")] = true
	}
	if len(tags) != 3 {
		t.Errorf("the three pages have the tags %v", tags)
	}
}
