package frameworks

import (
	"net/http"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/felixge/httpsnoop"
	"github.com/klauspost/compress/gzhttp"
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
	{name: "gzhttp", mount: withGzhttp, compresses: true, breaks: map[promise]string{
		headersFirst: "its Flush does nothing until something has been written",
	}},
	{name: "all of them", mount: func(h http.Handler) http.Handler {
		return withSession(withHTTPSnoop(withMetrics(withTracing(withCORS(h)))))
	}},
}

// A session's cookie is set in the response of a stream.
func TestSessionCookieIsSet(t *testing.T) {
	each(t, ways, func(t *testing.T, y way) {
		st := newSite(t, y, withSession(events(script("1"), nil))).open()
		if len(st.Cookies()) != 1 {
			t.Errorf("headers %v: no cookie of the session", st.Header)
		}
		st.want("1")
	})
}
