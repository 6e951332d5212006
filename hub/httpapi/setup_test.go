package httpapi_test

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/leak"
	"example.com/tidings/internal/memhttp"
	"example.com/tidings/internal/streamtest"
)

func TestMain(m *testing.M) { leak.Main(m) }

var update = flag.Bool("update", false, "write the golden files anew")

// A site is a hub and its API, served in memory.
type site struct {
	hub    *hub.Hub
	mem    *memhttp.Server
	client *http.Client
	base   string // of URLs
}

// A setting says what a site differs in from the defaults.
type setting struct {
	noDefaultTopic bool // otherwise it is "messages"
	h2             bool // HTTP/2 without TLS, otherwise HTTP/1.1
	log            eventlog.Log
	hub            hub.Options
	api            httpapi.Options
	mount          func(api http.Handler) http.Handler
	at             string // the path of the mount
	http           func(*http.Server)
}

// serve opens a site that ends with the test, which is in a bubble.
func serve(t *testing.T, set setting) *site {
	t.Helper()
	if set.log == nil {
		set.log = eventlog.NewMemory(nil)
	}
	if set.hub.Logger == nil {
		set.hub.Logger = slog.New(slog.DiscardHandler)
	}
	if set.api.Logger == nil {
		set.api.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := hub.New(t.Context(), set.log, &set.hub)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		time.Sleep(time.Second) // net/http lingers where it has not read all of a body
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	if !set.noDefaultTopic {
		set.api.DefaultTopic = "messages"
	}
	api := httpapi.New(h, &set.api)
	if set.mount != nil {
		api = set.mount(api)
	}
	mem := memhttp.New(t, api, set.http)
	return &site{h, mem, mem.Client(t, set.h2), mem.URL() + set.at}
}

// bubble runs a test in a bubble of time.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// protocols runs a test over each.
func protocols(t *testing.T, f func(t *testing.T, h2 bool)) {
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "h2c"}[h2], func(t *testing.T) {
			bubble(t, func(t *testing.T) { f(t, h2) })
		})
	}
}

// A reply is a response that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// request sends a request, whose response is not read yet. header alternates
// names and values.
func (s *site) request(t *testing.T, method, path string, body io.Reader, header ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); res.Body.Close() })
	return res
}

func (s *site) send(t *testing.T, method, path, body string, header ...string) reply {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	res := s.request(t, method, path, r, header...)
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

func (s *site) get(t *testing.T, path string, header ...string) reply {
	t.Helper()
	return s.send(t, "GET", path, "", header...)
}

// publish publishes through the API, and returns the id.
func (s *site) publish(t *testing.T, path, data string, header ...string) string {
	t.Helper()
	r := s.send(t, "POST", path, data, header...)
	if r.status != 201 {
		t.Fatalf("POST %s: %d %s", path, r.status, r.body)
	}
	var published struct{ ID, Topic string }
	decode(t, r.body, &published)
	return published.ID
}

func (s *site) batch(t *testing.T, lines string) reply {
	t.Helper()
	return s.send(t, "POST", "/batch", lines, "Content-Type", "application/x-ndjson")
}

// A problem is an RFC 9457 object, with the members that Tidings adds.
type problem struct {
	Type, Title, Detail, Field string
	Status, Line, Column       int
}

// problem checks that the reply is one of the given type and returns it.
func (r reply) problem(t *testing.T, status int, name string) problem {
	t.Helper()
	var p problem
	if r.status != status || r.header.Get("Content-Type") != "application/problem+json" || r.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d with %v, want the problem %d %s; body: %s", r.status, r.header, status, name, r.body)
	}
	decode(t, r.body, &p)
	if p.Type != "urn:tidings:problem:"+name || p.Status != status {
		t.Errorf("got the problem %s with status %d, want %s with %d", p.Type, p.Status, name, status)
	}
	if p.Title == "" || !strings.HasSuffix(p.Detail, ".") || strings.Contains(p.Detail, "hub:") {
		t.Errorf("title %q, detail %q: want a title and a sentence", p.Title, p.Detail)
	}
	return p
}

// headers returns the headers of a reply but for those of any response, one a
// line.
func (r reply) headers() string {
	var lines []string
	for name, values := range r.header {
		if name != "Date" && name != "Content-Length" {
			lines = append(lines, name+": "+strings.Join(values, " | "))
		}
	}
	slices.Sort(lines)
	return mask(strings.Join(lines, "\n"))
}

func decode(t *testing.T, data string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), to); err != nil {
		t.Fatalf("%.200q: %v", data, err)
	}
}

const epoch = streamtest.Epoch

func mask(s string) string { return streamtest.Mask(s) }

// golden compares with a file byte for byte, but for the epoch and the day.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = strings.ReplaceAll(got, "2000-01-01T", "2026-01-31T")
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(mask(got)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := mask(got); got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// patience is more than anything takes, in a bubble.
const patience = time.Hour
