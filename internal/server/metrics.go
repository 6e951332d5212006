package server

import (
	"log"
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/problem"
)

// The metrics of a hub. docs/http-api.md lists them.
var (
	subscribersMetric   = prometheus.NewDesc("tidings_subscribers", "Current subscribers.", nil, nil)
	streamsMetric       = prometheus.NewDesc("tidings_streams", "Current streams, by path: through net/http, or taken over from it.", []string{"path"}, nil)
	begunMetric         = prometheus.NewDesc("tidings_streams_begun_total", "Streams that have begun, by path.", []string{"path"}, nil)
	invalidMetric       = prometheus.NewDesc("tidings_invalid_messages_total", "Messages in the log that cannot be sent as an event.", nil, nil)
	failedMetric        = prometheus.NewDesc("tidings_log_failed", "1 when the log has failed and stores nothing more, otherwise 0.", nil, nil)
	troubleMetric       = prometheus.NewDesc("tidings_log_trouble", "1 while somebody has to repair the NATS stream, or its messages do not reach the server, otherwise 0.", nil, nil)
	stalledMetric       = prometheus.NewDesc("tidings_delivery_stalled_streams", "Current streams whose client reads nothing.", []string{"shard"}, nil)
	catchingUpMetric    = prometheus.NewDesc("tidings_delivery_catching_up_streams", "Current streams that are starting or catching up from the log.", []string{"shard"}, nil)
	shardMetric         = prometheus.NewDesc("tidings_delivery_streams", "Current streams of a shard.", []string{"shard"}, nil)
	deliveriesMetric    = prometheus.NewDesc("tidings_delivery_messages_total", "Messages delivered to streams from the window.", []string{"shard"}, nil)
	writesMetric        = prometheus.NewDesc("tidings_delivery_writes_total", "Writes to streams.", []string{"shard"}, nil)
	shortMetric         = prometheus.NewDesc("tidings_delivery_short_writes_total", "Writes of which the socket took only a part.", []string{"shard"}, nil)
	bytesMetric         = prometheus.NewDesc("tidings_delivery_written_bytes_total", "Bytes written to streams.", []string{"shard"}, nil)
	logBytesMetric      = prometheus.NewDesc("tidings_log_bytes", "Size of the stored records in files.", nil, nil)
	verifiedMetric      = prometheus.NewDesc("tidings_log_verified_bytes", "Of these bytes, those that were read and checked since the start, or written since.", nil, nil)
	lostMetric          = prometheus.NewDesc("tidings_log_lost_messages", "Retained messages that are known to be lost.", nil, nil)
	budgetUsedMetric    = prometheus.NewDesc("tidings_budget_used", "What clients have of a budget, in bytes; of reads, how many are under way; of index-nodes, tokens of filters.", []string{"budget"}, nil)
	budgetLimitMetric   = prometheus.NewDesc("tidings_budget_limit", "What clients may have of a budget together.", []string{"budget"}, nil)
	budgetRefusedMetric = prometheus.NewDesc("tidings_budget_refused_total", "Times that a budget was used up.", []string{"budget"}, nil)
	openMetric          = prometheus.NewDesc("tidings_connections", "Open connections, those of streams included.", nil, nil)
	mostOpenMetric      = prometheus.NewDesc("tidings_connections_limit", "The most connections that may be open.", nil, nil)
	closedMetric        = prometheus.NewDesc("tidings_connections_closed_total", "Connections that were closed to make room, by why it was they.", []string{"reason"}, nil)
	floodsMetric        = prometheus.NewDesc("tidings_http2_floods_total", "Connections of HTTP/2 that were closed because the client sent too many control frames, by the kind of the last one.", []string{"kind"}, nil)
	endsMetric          = prometheus.NewDesc("tidings_delivery_ends_total", "Streams that have ended, by reason.", []string{"shard", "reason"}, nil)
)

// A hubCollector collects the metrics of a hub.
type hubCollector struct{ hub *hub.Hub }

func (c hubCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c hubCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	stats := c.hub.Stats()
	gauge(subscribersMetric, stats.Subscribers)
	for path, p := range stats.Paths {
		gauge(streamsMetric, p.Streams, path)
		count(begunMetric, p.Begun, path)
	}
	count(invalidMetric, stats.Invalid)
	for _, b := range stats.Budgets {
		gauge(budgetUsedMetric, int(b.Used), b.Name)
		gauge(budgetLimitMetric, int(b.Limit), b.Name)
		count(budgetRefusedMetric, b.Refused, b.Name)
	}
	if l := stats.Log; l != nil {
		gauge(logBytesMetric, int(l.Bytes))
		gauge(verifiedMetric, int(l.Verified))
		gauge(lostMetric, int(l.Lost))
	}
	failed := 0
	if c.hub.Err() != nil {
		failed = 1
	}
	gauge(failedMetric, failed)
	if stats.Trouble != nil {
		trouble := 0
		if *stats.Trouble {
			trouble = 1
		}
		gauge(troubleMetric, trouble)
	}
	for i, s := range stats.Shards {
		shard := strconv.Itoa(i)
		gauge(shardMetric, s.Streams, shard)
		gauge(stalledMetric, s.Stalled, shard)
		gauge(catchingUpMetric, s.CatchingUp, shard)
		count(deliveriesMetric, s.Deliveries, shard)
		count(writesMetric, s.Writes, shard)
		count(shortMetric, s.ShortWrites, shard)
		count(bytesMetric, s.Bytes, shard)
		for reason, n := range s.Ends {
			count(endsMetric, n, shard, reason)
		}
	}
}

// Describe implements [prometheus.Collector].
func (f *floods) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(f, ch) }

// Collect implements [prometheus.Collector].
func (f *floods) Collect(ch chan<- prometheus.Metric) {
	for kind := range f.closed {
		ch <- prometheus.MustNewConstMetric(floodsMetric, prometheus.CounterValue, float64(f.closed[kind].Load()), floodNames[kind])
	}
}

// Describe implements [prometheus.Collector].
func (c *connections) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements [prometheus.Collector].
func (c *connections) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	open := c.count()
	c.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(openMetric, prometheus.GaugeValue, float64(open))
	ch <- prometheus.MustNewConstMetric(mostOpenMetric, prometheus.GaugeValue, float64(c.limits.Connections))
	for reason, n := range map[string]*atomic.Uint64{"waited": &c.waited, "lasted": &c.lasted, "no room": &c.refused} {
		ch <- prometheus.MustNewConstMetric(closedMetric, prometheus.CounterValue, float64(n.Load()), reason)
	}
}

// forAdministrators answers only who has [httpapi.ActionAdminister].
func (s *Server) forAdministrators(next http.Handler) http.Handler {
	return errorHandler(func(w http.ResponseWriter, r *http.Request) error {
		if err := s.authorize(r, httpapi.Access{Action: httpapi.ActionAdminister}); err != nil {
			return err
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// metrics answers GET /metrics with the metrics of the hub, the Go runtime and the
// process, in Prometheus's text format.
func (s *Server) metrics(h *hub.Hub) http.Handler {
	scrapes := &scrapes{collect: s.collect(h)}
	return errorHandler(func(w http.ResponseWriter, r *http.Request) error {
		res, err := scrapes.get(r.Context())
		if err != nil {
			return problem.Unavailable.With("The server is busy with other requests for its metrics. Try again later.").Set("Retry-After", "1")
		}
		maps.Copy(w.Header(), res.header)
		w.Header().Set("Content-Length", strconv.Itoa(res.body.Len()))
		w.WriteHeader(res.status)
		_, _ = w.Write(res.body.Bytes()) // a client that has left is no error
		return nil
	})
}

// collect returns a function that returns the metrics. Calls must not overlap.
func (s *Server) collect(h *hub.Hub) func() *response {
	registry := prometheus.NewRegistry()
	dropped := s.cfg.DroppedLines
	if dropped == nil {
		dropped = func() uint64 { return 0 }
	}
	registry.MustRegister(
		hubCollector{h},
		s.conns,
		s.floods,
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "tidings_log_lines_dropped_total",
			Help: "Lines of the server's own log that were dropped, because nobody read them.",
		}, func() float64 { return float64(dropped()) }),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	if a := s.cfg.Auth; a != nil {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "tidings_keys_reload_failures_total",
			Help: "Times that the changed keys file could not be used.",
		}, func() float64 { return float64(a.Failures()) }))
	}
	if s.handshakes != nil {
		registry.MustRegister(s.handshakes)
	}
	show := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:           log.New(s.warnings, "", 0),
		ErrorHandling:      promhttp.ContinueOnError,
		DisableCompression: true,
	})
	return func() *response {
		res := &response{status: http.StatusOK, header: http.Header{}}
		show.ServeHTTP(res, &http.Request{}) // which accepts the text format
		return res
	}
}
