package bench_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/tidings/internal/bench"
	"example.com/tidings/internal/problem"
)

// The error for a wrong setting is one line that names the flag.
func TestSettings(t *testing.T) {
	header := func(name, value string) bench.Config { return bench.Config{Header: http.Header{name: {value}}} }
	for _, tt := range []struct {
		name string
		cfg  bench.Config
		says string // "" if the setting is right
	}{
		{"the defaults", bench.Config{}, ""},
		{"https and a path", bench.Config{URL: "https://hub.example/some/path/"}, ""},
		{"an IPv6 address", bench.Config{URL: "http://[::1]:8080"}, ""},
		{"no scheme", bench.Config{URL: "127.0.0.1:8080"}, "--url"},
		{"another scheme", bench.Config{URL: "ftp://127.0.0.1"}, "--url"},
		{"no host", bench.Config{URL: "http://:8080"}, "--url"},
		{"a query", bench.Config{URL: "http://127.0.0.1/?a=b"}, "--url"},
		{"a password", bench.Config{URL: "http://me:secret@127.0.0.1"}, "--header"},
		{"both loops", bench.Config{InFlight: 1, Rate: 1}, "--in-flight and --rate exclude each other"},
		{"a negative rate", bench.Config{Rate: -1}, "--rate"},
		{"a rate beyond all bounds", bench.Config{Rate: 1e9}, "--rate"},
		{"a negative number in flight", bench.Config{InFlight: -1}, "--in-flight"},
		{"a negative number of subscribers", bench.Config{Subscribers: -1}, "--subscribers"},
		{"a payload without room for the marker", bench.Config{Payload: bench.MinPayload - 1}, fmt.Sprintf("--payload: want a number from %d", bench.MinPayload)},
		{"a payload that is too large", bench.Config{Payload: bench.MaxPayload + 1}, "--payload"},
		{"more topics than subscribers", bench.Config{Subscribers: 3, Topics: 4}, "--topics 4 is more than --subscribers 3"},
		{"more publishers than topics", bench.Config{Publishers: 2}, "--publishers 2 is more than --topics 1"},
		{"a negative timeout", bench.Config{Timeout: -1}, "--timeout"},
		{"a header", header("Authorization", "Bearer x"), ""},
		{"a header's name with a space", header("A B", "x"), "--header"},
		{"a header without a name", header("", "x"), "--header"},
		{"a header of two lines", header("A", "x\r\nB: y"), "--header"},
		{"a header that is ours", header("content-length", "1"), "Content-Length"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.says = strings.ReplaceAll(tt.says, "Content-Length", "content-length")
			switch _, err := bench.New(tt.cfg); {
			case tt.says == "" && err != nil:
				t.Errorf("got %v", err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n")):
				t.Errorf("got %v, want %q", err, tt.says)
			case err != nil && strings.Contains(err.Error(), "secret"):
				t.Errorf("%v contains a secret", err)
			}
		})
	}
}

// The error names a server that is not a hub or refuses access, before the run starts.
func TestUnreachableServers(t *testing.T) {
	answer := func(f http.HandlerFunc) http.Handler { return f }
	for _, tt := range []struct {
		name    string
		handler http.Handler
		says    []string
	}{
		{"401 with a problem", answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(401)
			w.Write([]byte(`{"title":"No","detail":"The token\nis missing."}`))
		}), []string{"401 Unauthorized: The token is missing.", "--header"}},
		{"403", problem.Forbidden.With("You may not."), []string{"403 Forbidden: You may not.", "--header"}},
		{"404 without a problem", http.NotFoundHandler(), []string{"404 Not Found", "--url"}},
		{"a redirection", http.RedirectHandler("/hub/", http.StatusMovedPermanently), []string{"301 Moved Permanently", `"/hub/"`, "--url"}},
		{"a page", answer(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }), []string{"text/html", "--url"}},
		{"a stream that is compressed", answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Content-Encoding", "gzip")
		}), []string{`"gzip"`}},
		{"a stream that is held back", answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}), []string{"no first event", "buffer"}},
		{"silence", answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), []string{"does not answer"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := serve(t, way{}, tt.handler)
			cfg.Timeout = patience
			if tt.name == "silence" || strings.Contains(tt.name, "held back") {
				cfg.Timeout = 200 * time.Millisecond
			}
			says(t, cfg, tt.says...)
		})
	}
	t.Run("nothing listens", func(t *testing.T) {
		s := httptest.NewServer(nil)
		s.Close()
		says(t, bench.Config{URL: s.URL}, "nothing listens at "+strings.TrimPrefix(s.URL, "http://"), "--url")
	})
	t.Run("http where https is asked for", func(t *testing.T) {
		cfg := serve(t, way{}, http.NotFoundHandler())
		cfg.URL = strings.Replace(cfg.URL, "http", "https", 1)
		says(t, cfg, "does not speak TLS")
	})
	t.Run("a certificate of nobody", func(t *testing.T) {
		cfg := serve(t, way{tls: true}, http.NotFoundHandler())
		cfg.TLS = nil
		says(t, cfg, "certificate", "cannot be verified")
	})
}

// says fails unless a run's error is one line with these words.
func says(t *testing.T, cfg bench.Config, words ...string) {
	t.Helper()
	rep, err := tryRun(t, t.Context(), cfg)
	if err == nil {
		t.Fatalf("no error, but %+v", rep)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than a line", err)
	}
}

// The error names the limit of open files and the number that the run needs.
func TestLimitOfFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no such limit")
	}
	if raised(t) {
		t.Skip("this user may raise the limit")
	}
	cfg := serve(t, way{}, http.NotFoundHandler())
	cfg.Subscribers = bench.MaxSubscribers
	says(t, cfg, "1000001 connections", "ulimit -n 1000065", "--subscribers")
}

// On loopback, the bench uses more source addresses when one has no more ports.
func TestSources(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("loopback has one address here")
	}
	for _, tt := range []struct {
		peer  string
		index int
		want  string
	}{
		{"127.0.0.1", 0, ""},
		{"127.0.0.1", 19_999, ""},
		{"127.0.0.1", 20_000, "127.0.2.1"},
		{"127.0.0.1", 999_999, "127.0.50.1"},
		{"::1", 50_000, ""},
		{"192.0.2.1", 50_000, ""},
	} {
		got := bench.SourceOf(netip.MustParseAddr(tt.peer), tt.index)
		if s := got.String(); tt.want == "" && got.IsValid() || tt.want != "" && s != tt.want {
			t.Errorf("subscriber %d to %s has the source %s, want %q", tt.index, tt.peer, s, tt.want)
		}
	}
}

func TestPause(t *testing.T) {
	for _, d := range []time.Duration{-1, 0, 100 * time.Microsecond, 5 * time.Millisecond} {
		start := time.Now()
		if bench.Pause(d); time.Since(start) < d {
			t.Errorf("a pause of %v took %v", d, time.Since(start))
		}
	}
}
