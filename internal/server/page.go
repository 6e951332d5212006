package server

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strconv"

	"example.com/tidings/internal/auth"
	"example.com/tidings/internal/request"
)

//go:embed page
var pageFiles embed.FS

// contentSecurityPolicy lets the page load only its own files and talk only to
// its own server, with no inline script or style.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// contentTypes has the types of the files in page. The system's own table
// differs from machine to machine.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// An asset is a file of the page.
type asset struct {
	contentType string
	etag        string
	body        []byte
}

// The page asks for its session only if its first element says that the server takes tokens:
// otherwise each visit would begin with an answer of 404, or 401. If only services have
// credentials, API keys, nobody can sign in, and the page does not offer it.
const (
	firstElement       = `<html lang="en">`
	firstElementTokens = `<html lang="en" data-session>`
	firstElementKeys   = `<html lang="en" data-session="none">`
)

// pageAssets returns the page's files by path, index.html at "/". The page of a server with
// credentials says so. a is nil if there are none.
func pageAssets(a *auth.Authenticator) map[string]*asset {
	entries, err := pageFiles.ReadDir("page")
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	assets := make(map[string]*asset, len(entries))
	for _, e := range entries {
		body, err := pageFiles.ReadFile("page/" + e.Name())
		if err != nil {
			panic(err)
		}
		at := "/" + e.Name()
		if e.Name() == "index.html" {
			at = "/"
			first := firstElement
			switch {
			case a == nil:
			case a.AcceptsTokens():
				first = firstElementTokens
			default:
				first = firstElementKeys
			}
			body = bytes.Replace(body, []byte(firstElement), []byte(first), 1)
		}
		sum := sha256.Sum256(body)
		assets[at] = &asset{contentTypes[path.Ext(e.Name())], `"` + hex.EncodeToString(sum[:12]) + `"`, body}
	}
	return assets
}

// ServeHTTP answers with the file. A browser revalidates it at each use, so that
// an old page does not meet a new server for long.
func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", a.etag)
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	if request.MatchesETag(r.Header, a.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	w.Write(a.body) // net/http drops it for HEAD
}
