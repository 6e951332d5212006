package frameworks

import (
	"context"
	"iter"
	"net/http"
	"testing"

	"example.com/tidings/sse"
	"github.com/alexedwards/scs/v2"
	"github.com/felixge/httpsnoop"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/cors"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

// withMetrics counts the requests and measures them.
func withMetrics(events http.Handler) http.Handler {
	labels := []string{"code", "method"}
	inFlight := prometheus.NewGauge(prometheus.GaugeOpts{Name: "in_flight"})
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total"}, labels)
	untilHeader := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "header_seconds"}, labels)
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "duration_seconds"}, labels)
	size := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "size_bytes"}, labels)

	h := promhttp.InstrumentHandlerResponseSize(size, events)
	h = promhttp.InstrumentHandlerDuration(duration, h)
	h = promhttp.InstrumentHandlerTimeToWriteHeader(untilHeader, h)
	h = promhttp.InstrumentHandlerCounter(requests, h)
	return promhttp.InstrumentHandlerInFlight(inFlight, h)
}

func withCORS(events http.Handler) http.Handler {
	return cors.New(cors.Options{AllowedOrigins: []string{"https://page.example"}, AllowCredentials: true}).Handler(events)
}

func withHTTPSnoop(events http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpsnoop.CaptureMetrics(events, w, r)
	})
}

func withHTTPSnoopHooks(events http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		events.ServeHTTP(httpsnoop.Wrap(w, httpsnoop.Hooks{
			Write: func(next httpsnoop.WriteFunc) httpsnoop.WriteFunc { return next },
			Flush: func(next httpsnoop.FlushFunc) httpsnoop.FlushFunc { return next },
		}), r)
	})
}

func withTracing(events http.Handler) http.Handler {
	return otelhttp.NewHandler(events, "events")
}

// sessions is made outside all bubbles: its store has a goroutine.
var sessions = scs.New()

// withSession sets a cookie when the headers go out, through a writer that has
// Unwrap and no Flush.
func withSession(events http.Handler) http.Handler {
	return sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sessions.Put(r.Context(), "seen", true)
		events.ServeHTTP(w, r)
	}))
}

func withGzhttp(events http.Handler) http.Handler { return gzhttp.GzipHandler(events) }

// mountGzhttp leaves event streams as they are.
func mountGzhttp(events http.Handler) http.Handler {
	compress, err := gzhttp.NewWrapper(gzhttp.ExceptContentTypes([]string{"text/event-stream"}))
	if err != nil {
		panic(err)
	}
	return compress(events)
}

var (
	gzhttpBreaks = map[promise]string{
		headersThrough: flushesOnlyFlushers,
	}
	gzhttpLate = map[promise]string{
		headersFirst: "Flush does nothing until something has been written",
	}
)

var netHTTPStacks = []stack{
	{name: "net/http", mount: func(h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("GET /events", h)
		return mux
	}},
	{name: "rs/cors", mount: withCORS},
	{name: "httpsnoop.CaptureMetrics", mount: withHTTPSnoop},
	{name: "httpsnoop.Wrap", mount: withHTTPSnoopHooks},
	{name: "promhttp", mount: withMetrics},
	{name: "otelhttp", mount: withTracing},
	{name: "scs", mount: withSession},
	{name: "gzhttp", mount: withGzhttp, compresses: true, breaks: gzhttpBreaks, breaksGzip: gzhttpLate},
	{name: "gzhttp, not of streams", mount: mountGzhttp, breaks: gzhttpBreaks, breaksGzip: gzhttpLate},
	{name: "all of them", mount: func(h http.Handler) http.Handler {
		return withSession(withHTTPSnoop(withMetrics(withTracing(withCORS(h)))))
	}},
}

// A session's cookie is set in the response of a stream, also where the session
// is around what flushes only a writer with Flush.
func TestSessionCookieIsSet(t *testing.T) {
	for name, mount := range map[string]func(http.Handler) http.Handler{
		"handler":          func(h http.Handler) http.Handler { return h },
		"gin":              mountGin,
		"chi: Compress(5)": chiWith(chimiddleware.Compress(5)),
		"gzhttp":           withGzhttp,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, ways, func(t *testing.T, y way) {
				st := newSite(t, y, withSession(mount(events(waiting("1"), nil))), nil).open()
				if len(st.Cookies()) != 1 {
					t.Errorf("headers %v: no cookie of the session", st.Header)
				}
				st.want("1")
			})
		})
	}
}

// gzhttp prefers zstd where the client accepts it, as browsers do.
func TestGzhttpZstd(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "h2c"} { // not in a bubble: the encoders are pooled
		t.Run(proto, func(t *testing.T) {
			next := make(chan string, 1)
			next <- "1"
			h := events(func(context.Context) iter.Seq2[sse.Event, error] {
				return func(yield func(sse.Event, error) bool) {
					for data := range next {
						if !yield(sse.Event{Data: data}, nil) {
							return
						}
					}
				}
			}, nil)
			site := newSite(t, way{"tcp", proto, "gzip, deflate, br, zstd"}, withGzhttp(h), nil)
			res, _, err := site.do("GET", "/events")
			if err != nil {
				t.Fatal(err)
			}
			if e := res.Header.Get("Content-Encoding"); e != "zstd" {
				t.Fatalf("Content-Encoding %q", e)
			}
			z, err := zstd.NewReader(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			defer z.Close()
			n := 0
			for ev, err := range sse.Decode(z, nil) {
				if err != nil {
					t.Fatal(err)
				}
				if n++; n == 3 {
					close(next)
				} else {
					next <- ev.Data + "1"
				}
			}
			if n != 3 {
				t.Errorf("%d events", n)
			}
		})
	}
}
