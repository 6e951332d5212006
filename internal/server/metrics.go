package server

import (
	"log/slog"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
)

// The metrics of a hub. docs/http-api.md lists them.
var (
	subscribersMetric = prometheus.NewDesc("tidings_subscribers", "Subscribers at the moment.", nil, nil)
	streamsMetric     = prometheus.NewDesc("tidings_streams", "Streams at the moment, by the way they take: through net/http, or taken over from it.", []string{"path"}, nil)
	begunMetric       = prometheus.NewDesc("tidings_streams_begun_total", "Streams that have begun, by the way they take.", []string{"path"}, nil)
	invalidMetric     = prometheus.NewDesc("tidings_invalid_messages_total", "Messages in the log that cannot be sent as an event.", nil, nil)
	stalledMetric     = prometheus.NewDesc("tidings_fanout_stalled_streams", "Streams at the moment whose client takes nothing.", []string{"shard"}, nil)
	awayMetric        = prometheus.NewDesc("tidings_fanout_away_streams", "Streams at the moment that begin, or catch up from the log.", []string{"shard"}, nil)
	shardMetric       = prometheus.NewDesc("tidings_fanout_streams", "Streams at the moment that a shard serves.", []string{"shard"}, nil)
	deliveriesMetric  = prometheus.NewDesc("tidings_fanout_deliveries_total", "Messages that a shard has handed to streams from the window.", []string{"shard"}, nil)
	writesMetric      = prometheus.NewDesc("tidings_fanout_writes_total", "Writes to streams.", []string{"shard"}, nil)
	shortMetric       = prometheus.NewDesc("tidings_fanout_short_writes_total", "Writes of which the client did not take all.", []string{"shard"}, nil)
	bytesMetric       = prometheus.NewDesc("tidings_fanout_written_bytes_total", "Bytes written to streams.", []string{"shard"}, nil)
	endsMetric        = prometheus.NewDesc("tidings_fanout_ends_total", "Streams that have ended, by why.", []string{"shard", "reason"}, nil)
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
	gauge(streamsMetric, stats.NetHTTP, hub.PathNetHTTP)
	gauge(streamsMetric, stats.TakenOver, hub.PathTakenOver)
	count(begunMetric, stats.NetHTTPBegun, hub.PathNetHTTP)
	count(begunMetric, stats.TakenOverBegun, hub.PathTakenOver)
	count(invalidMetric, stats.Invalid)
	for i, s := range stats.Shards {
		shard := strconv.Itoa(i)
		gauge(shardMetric, s.Streams, shard)
		gauge(stalledMetric, s.Stalled, shard)
		gauge(awayMetric, s.Away, shard)
		count(deliveriesMetric, s.Deliveries, shard)
		count(writesMetric, s.Writes, shard)
		count(shortMetric, s.Short, shard)
		count(bytesMetric, s.Bytes, shard)
		for reason, n := range s.Ends {
			count(endsMetric, n, shard, reason)
		}
	}
}

// metrics answers GET /metrics with the figures of the hub, the Go runtime and the
// process, in the form of Prometheus. They are for whoever may administer.
func (s *Server) metrics(h *hub.Hub) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		hubCollector{h},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	show := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ErrorHandling: promhttp.ContinueOnError,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusal := s.authorize(r, httpapi.Access{Action: httpapi.Administer}); refusal != nil {
			refusal.ServeHTTP(w, r)
			return
		}
		show.ServeHTTP(w, r)
	})
}
