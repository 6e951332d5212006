package bench_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/bench"
)

// A way is how a bench reaches a hub.
type way struct {
	name       string
	tls        bool
	goroutines bool
}

var ways = []way{
	{"http", false, false}, // sockets on Linux
	{"http, goroutines", false, true},
	{"https", true, false},
}

// serve serves a handler until the test ends, and returns a configuration for it.
func serve(t *testing.T, w way, h http.Handler) bench.Config {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	cfg := bench.Config{Goroutines: w.goroutines, Timeout: patience, Linger: 40 * time.Millisecond}
	if w.tls {
		s.EnableHTTP2 = true // the bench must not use it
		s.StartTLS()
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		cfg.TLS = &tls.Config{RootCAs: roots}
	} else {
		s.Start()
	}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(s.Close)
	cfg.URL = s.URL
	return cfg
}

// patience is a limit that turns a hang into a failure.
const patience = 20 * time.Second

// realHub returns the API of a hub in memory.
func realHub(t *testing.T, opts *httpapi.Options) http.Handler {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	h, err := hub.New(t.Context(), eventlog.NewMemory(nil), &hub.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	if opts == nil {
		opts = new(httpapi.Options)
	}
	opts.Logger = log
	return httpapi.New(h, opts)
}

// run runs a bench.
func run(t *testing.T, cfg bench.Config) *bench.Report {
	t.Helper()
	rep, err := tryRun(t, t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func tryRun(t *testing.T, ctx context.Context, cfg bench.Config) (*bench.Report, error) {
	t.Helper()
	b, err := bench.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b.Run(ctx)
}

// Each kind of load runs and passes its checks, over each way.
func TestRunAgainstAHub(t *testing.T) {
	for _, w := range ways {
		for _, tt := range []struct {
			name string
			cfg  bench.Config
		}{
			{"one subscriber", bench.Config{Subscribers: 1, Messages: 1, Payload: bench.MinPayload}},
			{"messages alone", bench.Config{Subscribers: 20, Messages: 30}},
			{"some in flight", bench.Config{Subscribers: 20, Messages: 100, InFlight: 8}},
			{"more in flight than messages", bench.Config{Subscribers: 3, Messages: 10, InFlight: 1000}},
			{"at a rate", bench.Config{Subscribers: 10, Messages: 40, Rate: 500}},
			{"topics", bench.Config{Subscribers: 20, Topics: 7, Messages: 50, InFlight: 4}},
			{"a topic each", bench.Config{Subscribers: 10, Topics: 10, Messages: 35, Publishers: 3, InFlight: 20}},
			{"topics at a rate", bench.Config{Subscribers: 10, Topics: 5, Messages: 50, Publishers: 2, Rate: 1000}},
			{"large messages", bench.Config{Subscribers: 5, Messages: 10, Payload: 100_000, InFlight: 4}},
		} {
			t.Run(w.name+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				cfg := serve(t, w, realHub(t, nil))
				tt.cfg.URL, tt.cfg.TLS, tt.cfg.Goroutines, tt.cfg.Timeout, tt.cfg.Linger = cfg.URL, cfg.TLS, cfg.Goroutines, cfg.Timeout, cfg.Linger
				rep := run(t, tt.cfg)
				want := 0 // deliveries
				for m := range tt.cfg.Messages {
					topics := max(tt.cfg.Topics, 1)
					want += (tt.cfg.Subscribers + topics - 1 - m%topics) / topics
				}
				if !rep.OK || rep.Opened != int64(tt.cfg.Subscribers) || rep.Published != int64(tt.cfg.Messages) || rep.Deliveries != int64(want) || len(rep.Problems) > 0 {
					t.Errorf("want %d deliveries, and got %+v", want, rep)
				}
				if rep.Connects <= 0 || rep.FirstEvent.P50 <= 0 || rep.Latency.P50 <= 0 || rep.Latency.P50 > rep.Latency.P99 || rep.Latency.P999 > rep.Latency.Max || rep.Acknowledged.Max <= 0 || rep.DeliveriesPerS <= 0 {
					t.Errorf("a measurement is missing: %+v", rep)
				}
				if per := float64(tt.cfg.Payload); rep.BytesPerDelivery < per || rep.BytesPerDelivery > per+5000 {
					t.Errorf("%v bytes for each delivery of %v", rep.BytesPerDelivery, per)
				}
			})
		}
	}
}

// Concurrent runs on the same hub do not affect each other.
func TestConcurrentRuns(t *testing.T) {
	cfg := serve(t, way{}, realHub(t, nil))
	cfg.Subscribers, cfg.Messages, cfg.InFlight = 10, 50, 4
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if rep, err := tryRun(t, t.Context(), cfg); err != nil || !rep.OK {
				t.Errorf("%+v %v", rep, err)
			}
		})
	}
	wg.Wait()
}

// The hub is below a path, and its clients need a token and a host name.
func TestRunBelowAPathWithHeaders(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			var hosts sync.Map
			api := http.StripPrefix("/some/hub", realHub(t, nil))
			cfg := serve(t, w, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				hosts.Store(r.Host, true)
				if r.Header.Get("Authorization") != "Bearer a, b" || r.Header.Get("X-Two") != "2" {
					http.Error(rw, "no", http.StatusUnauthorized)
					return
				}
				api.ServeHTTP(rw, r)
			}))
			cfg.URL += "/some/hub/"
			cfg.Subscribers, cfg.Messages = 3, 5
			if _, err := tryRun(t, t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "--header") {
				t.Errorf("without a token: %v", err)
			}
			cfg.Header = http.Header{"Authorization": {"Bearer a, b"}, "X-Two": {"2"}, "Host": {"hub.example"}}
			if rep := run(t, cfg); !rep.OK {
				t.Errorf("%+v", rep)
			}
			hosts.Range(func(host, _ any) bool {
				if host != "hub.example" && !strings.HasPrefix(host.(string), "127.0.0.1:") {
					t.Errorf("the host is %q", host)
				}
				return true
			})
			if _, ok := hosts.Load("hub.example"); !ok {
				t.Error("the host was not sent")
			}
		})
	}
}

// An interrupted run reports its results so far. The interruption is not an error.
func TestInterrupt(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			cfg := serve(t, w, realHub(t, nil))
			cfg.Subscribers, cfg.Messages, cfg.Rate = 5, 1_000_000, 100
			ctx, interrupt := context.WithCancel(t.Context())
			cfg.ProgressEvery = 100 * time.Millisecond
			cfg.Progress = func(line string) {
				if strings.Contains(line, "deliveries") {
					interrupt()
				}
			}
			rep, err := tryRun(t, ctx, cfg)
			if err != nil || !rep.Interrupted || !rep.OK || rep.Published == 0 || rep.Published > 1000 || rep.Deliveries < 5*rep.Published {
				t.Errorf("%+v %v", rep, err)
			}
		})
	}
}

// During a run, lines report its progress.
func TestProgress(t *testing.T) {
	cfg := serve(t, way{}, realHub(t, nil))
	cfg.Subscribers, cfg.Messages, cfg.Rate, cfg.ProgressEvery = 5, 100, 200, 50*time.Millisecond
	cfg.Idle = 120 * time.Millisecond
	var lines []string
	cfg.Progress = func(line string) { lines = append(lines, line) }
	run(t, cfg)
	all := strings.Join(lines, "\n")
	if len(lines) < 3 || !strings.Contains(all, "idle") || !strings.Contains(all, " of 100 messages") || !strings.Contains(all, "missing so far: 0") {
		t.Errorf("the lines are\n%s", all)
	}
}

// At a rate, latency counts from when a message was due. When the server stalls, all
// messages that were due meanwhile are late.
func TestAStallIsInTheLatency(t *testing.T) {
	api := realHub(t, nil)
	var once sync.Once
	cfg := serve(t, way{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			once.Do(func() { time.Sleep(700 * time.Millisecond) })
		}
		api.ServeHTTP(w, r)
	}))
	cfg.Subscribers, cfg.Messages, cfg.Rate = 1, 1000, 2000
	rep := run(t, cfg)
	// The message in the middle is due after 250 ms.
	if !rep.OK || rep.Latency.P50 < 400 || rep.Latency.Max < 690 {
		t.Errorf("latency %v of %+v", rep.Latency, rep)
	}
}

// The process of this test is also the process of the server.
func TestProcess(t *testing.T) {
	cfg := serve(t, way{}, realHub(t, nil))
	cfg.Subscribers, cfg.Messages, cfg.InFlight, cfg.PID, cfg.Idle = 200, 200, 8, os.Getpid(), time.Millisecond
	rep, err := tryRun(t, t.Context(), cfg)
	if runtime.GOOS != "linux" {
		if err == nil || !strings.Contains(err.Error(), "Linux") {
			t.Errorf("got %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if s := rep.Server; s == nil || s.CPU <= 0 || s.CPUSeconds <= 0 || s.MemoryBefore <= 0 || s.MemoryIdle <= 0 || s.MemoryAfter <= 0 || s.PerIdle == 0 {
		t.Errorf("%+v of %+v", s, rep)
	}
	cfg.PID = 1<<22 + 1 // above the largest PID
	if _, err := tryRun(t, t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "no such process") {
		t.Errorf("a process that is not there: %v", err)
	}
}

// A run leaves no file open.
func TestNoFileIsLeftOpen(t *testing.T) {
	count := func() int {
		files, err := filepath.Glob("/proc/self/fd/*")
		switch {
		case err != nil, len(files) == 0 && runtime.GOOS == "linux":
			t.Fatal("the files of this process cannot be counted")
		case len(files) == 0:
			t.Skip("there is no /proc")
		}
		return len(files)
	}
	cfg := serve(t, way{}, realHub(t, nil))
	cfg.Subscribers, cfg.Messages = 50, 2
	run(t, cfg) // the runtime opens some files only once
	before := count()
	run(t, cfg)
	for deadline := time.Now().Add(patience); count() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d files are open, but %d before the run", count(), before)
		}
	}
}
