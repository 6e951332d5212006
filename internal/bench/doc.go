// Package bench is the load generator behind "tidings bench". It subscribes many
// times to topics of its own on a hub that is running, publishes to them, checks
// that every subscriber gets every message once and in order, and measures what
// that takes.
//
//	b, err := bench.New(bench.Config{Subscribers: 5000, Messages: 100, InFlight: 1})
//	...
//	report, err := b.Run(ctx)
//	report.WriteTable(os.Stdout)
//
// It speaks the HTTP API of docs/http-api.md over HTTP/1.1. It may share its
// processors with the server, so a delivery costs it little: on Linux the
// subscribers of a plain HTTP server are bare sockets under few epolls, and
// nothing is allocated for an event.
package bench
