package server_test

import (
	"fmt"
	"math"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"example.com/tidings/internal/server"
)

func TestPageFiles(t *testing.T) {
	s := start(t, server.Config{})
	c := client(t, "HTTP/1.1")
	for at, contentType := range map[string]string{
		"/":           "text/html; charset=utf-8",
		"/style.css":  "text/css; charset=utf-8",
		"/app.js":     "text/javascript; charset=utf-8",
		"/feed.js":    "text/javascript; charset=utf-8",
		"/post.js":    "text/javascript; charset=utf-8",
		"/session.js": "text/javascript; charset=utf-8",
		"/stream.js":  "text/javascript; charset=utf-8",
		"/topics.js":  "text/javascript; charset=utf-8",
		"/icon.svg":   "image/svg+xml",
	} {
		t.Run(at, func(t *testing.T) {
			name := path.Base(at)
			if at == "/" {
				name = "index.html"
			}
			want, err := os.ReadFile("page/" + name)
			if err != nil {
				t.Fatal(err)
			}
			r := send(t, c, "GET", s.url+at, nil)
			if r.status != 200 || r.header.Get("Content-Type") != contentType || r.body != string(want) {
				t.Errorf("got %d, %q, %d bytes", r.status, r.header.Get("Content-Type"), len(r.body))
			}
			etag := r.header.Get("ETag")
			if etag == "" || r.header.Get("Cache-Control") != "no-cache" || r.header.Get("Referrer-Policy") != "no-referrer" {
				t.Errorf("headers %v", r.header)
			}
			if head := send(t, c, "HEAD", s.url+at, nil); head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(want)) {
				t.Errorf("HEAD: %v, %q", head.header, head.body)
			}
			for match, status := range map[string]int{etag: 304, "W/" + etag: 304, `"x", ` + etag: 304, "*": 304, `"x"`: 200, "": 200} {
				if r := send(t, c, "GET", s.url+at, nil, "If-None-Match", match); r.status != status {
					t.Errorf("If-None-Match: %s: %d, want %d", match, r.status, status)
				}
			}
		})
	}
}

func TestPageIsUnderAStrictPolicy(t *testing.T) {
	s := start(t, server.Config{})
	policy := send(t, client(t, "HTTP/1.1"), "GET", s.url+"/", nil).header.Get("Content-Security-Policy")
	directives := map[string]string{}
	for d := range strings.SplitSeq(policy, "; ") {
		name, value, _ := strings.Cut(d, " ")
		directives[name] = value
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'", "img-src": "'self'",
		"base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'", "require-trusted-types-for": "'script'",
	} {
		if directives[name] != want {
			t.Errorf("%s %s, want %s", name, directives[name], want)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
		t.Errorf("policy: %s", policy)
	}
}

// The page works under its policy and without any other server: no inline
// script or style, no address but the files beside it.
func TestPageRefersOnlyToItsOwnFiles(t *testing.T) {
	html := pageFile(t, "index.html")
	for _, bad := range []string{"<style", "style=", " onclick", " onload", " onsubmit", "javascript:"} {
		if strings.Contains(html, bad) {
			t.Errorf("index.html contains %q", bad)
		}
	}
	if strings.Count(html, "<script") != strings.Count(html, "></script>") {
		t.Error("index.html has an inline script")
	}
	refs := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(html, -1)
	if len(refs) < 3 {
		t.Errorf("index.html refers to %q only", refs)
	}
	for _, ref := range refs {
		u, err := url.Parse(ref[1])
		if err != nil || u.IsAbs() || u.Host != "" || strings.HasPrefix(u.Path, "/") {
			t.Errorf("index.html refers to %q, want a relative path", ref[1])
			continue
		}
		pageFile(t, u.Path)
	}
	scripts, err := filepath.Glob("page/*.js")
	if err != nil || len(scripts) < 2 {
		t.Fatalf("the page has the scripts %q, %v", scripts, err)
	}
	for _, path := range append(scripts, "page/style.css", "page/index.html") {
		name := filepath.Base(path)
		if strings.Contains(strings.ReplaceAll(pageFile(t, name), "http://www.w3.org", ""), "://") {
			t.Errorf("%s has an absolute address", name)
		}
	}
	imported := regexp.MustCompile(`(?:from|import) "\./([^"]*)"`)
	for _, path := range scripts {
		name := filepath.Base(path)
		script := pageFile(t, name)
		for _, sink := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"} {
			if strings.Contains(script, sink) {
				t.Errorf("%s uses %s", name, sink)
			}
		}
		for _, other := range imported.FindAllStringSubmatch(script, -1) {
			pageFile(t, other[1])
		}
	}
}

func pageFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("page/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Text has a contrast of 4.5:1 (WCAG 2.2, 1.4.3). Borders of controls and the focus
// ring have a contrast of 3:1 (1.4.11).
func TestPageHasEnoughContrast(t *testing.T) {
	css := pageFile(t, "style.css")
	lightPart, darkPart, ok := strings.Cut(css, "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("style.css has no dark scheme")
	}
	darkPart, _, _ = strings.Cut(darkPart, "\n}\n")
	property := regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`)
	for scheme, part := range map[string]string{"light": lightPart, "dark": darkPart} {
		colours := map[string]float64{}
		for _, m := range property.FindAllStringSubmatch(part, -1) {
			colours[m[1]] = luminance(t, m[2])
		}
		for _, pair := range []struct {
			front, back string
			least       float64
		}{
			{"text", "page", 4.5}, {"text", "surface", 4.5},
			{"muted", "page", 4.5}, {"muted", "surface", 4.5},
			{"good", "page", 4.5}, {"warn", "page", 4.5}, {"bad", "page", 4.5},
			{"warn", "warn-surface", 4.5}, {"on-accent", "accent", 4.5},
			{"control", "surface", 3}, {"control", "page", 3}, {"accent", "page", 3}, {"accent", "surface", 3},
		} {
			front, ok1 := colours[pair.front]
			back, ok2 := colours[pair.back]
			if !ok1 || !ok2 {
				t.Errorf("%s: no colour %s or %s", scheme, pair.front, pair.back)
				continue
			}
			if ratio := (max(front, back) + 0.05) / (min(front, back) + 0.05); ratio < pair.least {
				t.Errorf("%s: %s on %s has a contrast of %.2f:1, want %g:1", scheme, pair.front, pair.back, ratio, pair.least)
			}
		}
	}
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	l := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		l += weight * c
	}
	return l
}
