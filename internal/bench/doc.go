// Package bench is the load generator behind "tidings bench". It opens many
// subscriptions to topics of its own on a running hub, and publishes to them. It
// checks that every subscriber gets every message once and in order, and measures
// latency, throughput and cost.
//
//	b, err := bench.New(bench.Config{Subscribers: 5000, Messages: 100, InFlight: 1})
//	...
//	report, err := b.Run(ctx)
//	report.WriteTable(os.Stdout)
//
// It speaks the HTTP API of docs/http-api.md over HTTP/1.1. It may share its
// processors with the server, so a delivery must cost it little. On Linux, without
// TLS, its subscribers are bare sockets in a few epolls, and it allocates nothing
// for an event.
package bench
