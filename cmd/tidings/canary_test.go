//go:build unix

package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// canaries are credentials that are searched for in what the server says.
type canaries struct {
	dir, keys, secret string   // files
	operator          string   // an API key that may administer
	credentials       []string // good and bad ones
}

func newCanaries(t *testing.T) *canaries {
	t.Helper()
	c := &canaries{dir: t.TempDir()}
	c.keys, c.secret = filepath.Join(c.dir, "keys"), filepath.Join(c.dir, "secret")
	must := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, nil, args...)
		if code != 0 {
			t.Fatalf("%v: %s", args, stderr)
		}
		return strings.TrimSpace(stdout)
	}
	must("keygen", "--secret", c.secret)
	c.operator = must("key", "new", "--keys", c.keys, "--administer", "ops")
	key := must("key", "new", "--keys", c.keys, "--publish", "orders.**", "--subscribe", "orders.**", "canary")
	token := must("token", "--key", c.secret, "--publish", "orders.**", "--subscribe", "orders.**", "canary")
	other := func(s string) string { // another credential of the same form
		return s[:len(s)-10] + strings.Repeat("Q", 10)
	}
	c.credentials = []string{key, other(key), token, other(token)}
	return c
}

// parts returns what must not be found: each credential as a whole, the secret part of a key, the signature of
// a token, and the hashes.
func (c *canaries) parts(t *testing.T) []string {
	t.Helper()
	signing, err := os.ReadFile(c.secret)
	if err != nil {
		t.Fatal(err)
	}
	parts := []string{strings.TrimSpace(string(signing)), c.operator}
	for _, credential := range append(c.credentials, c.operator) {
		sum := sha256.Sum256([]byte(credential))
		parts = append(parts, credential, hex.EncodeToString(sum[:]), credential[strings.LastIndexAny(credential[:len(credential)-40], "_.")+1:])
		if segments := strings.Split(credential, "."); len(segments) == 3 {
			parts = append(parts, segments[1], segments[2])
		}
	}
	return parts
}

// requests returns a request for each place into which a client can write a credential.
func (c *canaries) requests(t *testing.T, base, credential string) (all []*http.Request) {
	t.Helper()
	add := func(method, path, body string, header ...string) {
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body == "" {
			r.Body, r.ContentLength = nil, 0
		}
		for i := 0; i < len(header); i += 2 {
			if header[i] == "Host" {
				r.Host = header[i+1]
			}
			r.Header.Add(header[i], header[i+1])
		}
		all = append(all, r)
	}
	bearer, operator := "Bearer "+credential, "Bearer "+c.operator
	for _, header := range [][]string{
		{"Authorization", bearer}, {"Authorization", credential}, {"Authorization", "Basic " + credential},
		{"Authorization", bearer, "Authorization", bearer}, {"Cookie", "tidings=" + credential}, {"Cookie", credential},
		{"Cookie", "tidings=" + credential + "; tidings=" + credential}, {"Cookie", "tidings=" + credential, "Origin", "http://" + credential + ".example"},
		{"X-Token", credential}, {"Host", credential}, {"Origin", "http://" + credential}, {"Referer", base + "/?token=" + credential},
		{"User-Agent", credential}, {"If-None-Match", credential}, {"Last-Event-ID", credential}, {"Proxy-Authorization", bearer},
	} {
		add("HEAD", "/events?topic=orders.1", "", header...)
		for _, path := range []string{"/", "/topics?match=orders.**", "/topics/orders.1", "/topics/orders.1/events", "/topics/other", "/session", "/metrics", "/readyz", "/history?topic=orders.**", "/history?topic=other", "/position"} {
			add("GET", path, "", header...)
		}
		add("POST", "/topics/orders.1", "x", append(header, "Idempotency-Key", credential[:20])...)
		add("POST", "/topics/other", "x", header...)
		add("POST", "/session", "", header...)
		add("DELETE", "/session", "", header...)
		add("PUT", "/subjects/key:canary/revocation", `{"before":"2000-01-01T00:00:00Z"}`, header...)
	}
	for _, name := range []string{"token", "access_token", "authorization", "topic", "topics", "match", "from", "lastEventId", "lag", "format", "limit", "after", "before", "order", "live", "type"} {
		query := "?" + name + "=" + url.QueryEscape(credential)
		for _, path := range []string{"/events" + query, "/events" + query + "&topic=orders.1", "/history" + query, "/history" + query + "&topic=orders.1", "/position" + query} {
			add("GET", path, "", "Authorization", bearer)
		}
		add("GET", "/topics"+query, "")
		add("GET", "/topics/orders.1/events"+query, "", "Authorization", bearer)
		add("POST", "/topics/orders.1"+query, "x", "Authorization", bearer)
		add("GET", "/topics?"+url.QueryEscape(credential)+"=1", "", "Authorization", bearer)
	}
	for _, path := range []string{"/%s", "/events/%s", "/topics/%s", "/topics/%s/events", "/topics/orders.1/events/%s", "/topics/x.%s", "/subjects/%s", "/session/%s", "/*.%s"} {
		path = fmt.Sprintf(path, url.PathEscape(credential))
		add("GET", path, "")
		add("GET", path, "", "Authorization", bearer)
		add("POST", path, "x", "Authorization", bearer)
		add("PUT", path, "x", "Authorization", operator)
	}
	for _, subject := range []string{"%s", "jwt:%s", "key:%s"} {
		subject = "/subjects/" + url.PathEscape(fmt.Sprintf(subject, credential))
		for _, authorization := range []string{bearer, operator} {
			add("DELETE", subject+"/streams", "", "Authorization", authorization)
			add("PUT", subject+"/revocation", "", "Authorization", authorization)
			add("GET", subject+"/streams", "", "Authorization", authorization)
		}
	}
	for _, body := range []string{credential, `"` + credential + `"`, `{"` + credential + `":1}`, `{"before":"` + credential + `"}`, `{"user":"` + credential + `"}`, `{"topic":"` + credential + `","data":1}`, `{"topic":"orders.1","` + credential + `":1}`} {
		add("POST", "/topics/orders.1", body, "Authorization", bearer)
		add("POST", "/batch", body, "Authorization", bearer, "Content-Type", "application/x-ndjson")
		add("POST", "/messages", body, "Authorization", bearer, "Content-Type", "application/json")
		add("POST", "/messages", body, "Authorization", bearer, "Content-Type", credential, "Content-Encoding", credential)
		add("POST", "/session", body)
		add("PUT", "/subjects/jwt:canary/revocation", body, "Authorization", operator)
	}
	return all
}

// A credential is nowhere in what the server logs, in its problems and in its metrics, wherever a
// client writes it, whatever carries the streams, and at every level of the log.
func TestCanary(t *testing.T) {
	t.Parallel()
	c := newCanaries(t)
	parts := c.parts(t)
	search := func(t *testing.T, where, text string) {
		t.Helper()
		for _, part := range parts {
			if i := strings.Index(text, part); i >= 0 {
				t.Errorf("%s: a credential, or a part of one: …%s", where, text[max(0, i-200):min(len(text), i+len(part)+50)])
				return
			}
		}
	}
	for _, takeOver := range []string{"true", "false"} {
		for i, level := range []string{"debug", "info", "warn", "error"} {
			t.Run(level+", take-over="+takeOver, func(t *testing.T) {
				t.Parallel()
				p := serve(t, nil, "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--memory", "--keys", c.keys, "--jwt-key", c.secret, "--jwt-key", "second="+c.secret,
					"--log-level", level, "--log-format", []string{"text", "json"}[i%2], "--take-over="+takeOver)
				refused := 0
				credentials := c.credentials
				if level != "debug" { // which logs all that the others do
					credentials = []string{credentials[0], credentials[3]}
				}
				for _, credential := range credentials {
					for _, r := range c.requests(t, p.url, credential) {
						res, err := http.DefaultClient.Do(r)
						if err != nil {
							t.Fatalf("%s %s: %v", r.Method, r.URL, err)
						}
						var body []byte
						if res.Header.Get("Content-Type") != "text/event-stream" { // a stream does not end
							body, err = io.ReadAll(res.Body)
						}
						res.Body.Close()
						if err != nil {
							t.Fatal(err)
						}
						if strings.Contains(res.Header.Get("Content-Type"), "problem") {
							refused++
							search(t, r.Method+" "+r.URL.Path+": the problem", string(body)+fmt.Sprint(res.Header))
						}
					}
					openAndLeave(t, p.url, credential)
				}
				if refused < 100 {
					t.Errorf("%d requests were refused: does this test still reach the refusals?", refused)
				}
				search(t, "the metrics", p.metrics(t))
				p.signal(t, syscall.SIGTERM)
				if err := p.wait(t); err != nil {
					t.Error(err)
				}
				lines := p.stderr.String()
				search(t, "the log", lines)
				if level == "debug" && strings.Count(lines, "(credential)") < 20 {
					t.Errorf("the log names few paths: does this test still reach it?\n%.2000s", lines)
				}
			})
		}
	}
}

// openAndLeave opens a stream with a credential, and leaves it after its first event.
func openAndLeave(t *testing.T, base, credential string) {
	t.Helper()
	res := get(t, base+"/events?topic=orders.**", "Authorization", "Bearer "+credential)
	io.ReadAtLeast(res.Body, make([]byte, 64), 1)
	res.Body.Close()
}
