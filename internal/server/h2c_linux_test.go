package server_test

import (
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/stats"
	"example.com/tidings/internal/server"
)

// Connections of HTTP/1 stay plain TCP although those of HTTP/2 are counted: one that is not
// would switch take-over off for the whole hub.
func TestTakeOverStaysOnWithAllLimits(t *testing.T) {
	cfg := server.Config{H2C: true, Limits: server.Limits{Connections: 100, Requests: 50, Subscribers: 100}}
	s := startOn(t, cfg, eventlog.NewMemory(nil), hub.Options{TakeOver: true, MaxSubscribers: 100})
	for range 3 {
		listen(t, client(t, h2c), s.url)
		listen(t, client(t, "HTTP/1.1"), s.url)
	}
	paths := s.hub.Stats().Paths
	if n := paths[stats.PathTakenOver].Streams; n != 3 {
		t.Errorf("%d streams were taken over, want 3", n)
	}
	if n := paths[stats.PathNetHTTP].Streams; n != 3 {
		t.Errorf("net/http serves %d streams, want 3", n)
	}
}
