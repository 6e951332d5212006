package server_test

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/server"
)

// A nextListener returns from Accept at once.
type nextListener struct{ net.Listener }

func (nextListener) Accept() (net.Conn, error) { return nil, nil }
func (nextListener) Close() error              { return nil }

// The server gives memory back once, after many connections and then a quiet time.
func TestMemoryIsGivenBackAfterManyConnections(t *testing.T) {
	const many, quiet = server.ManyConnections, server.QuietFor
	type step struct {
		connections int
		wait        time.Duration
		released    int32 // total number of releases after the step
	}
	for _, tt := range []struct {
		rule  string
		steps []step
	}{
		{"not after a few", []step{{many - 1, time.Hour, 0}}},
		{"once after many", []step{{many, quiet - 1, 0}, {0, 2, 1}, {0, time.Hour, 1}}},
		{"after those that come slowly, too", []step{{many / 2, time.Hour, 0}, {many / 2, quiet + 1, 1}}},
		{"not while more come", []step{{many, quiet / 2, 0}, {1, quiet / 2, 0}, {1, quiet - 1, 0}, {0, 2, 1}}},
		{"again after as many again", []step{{many, quiet + 1, 1}, {many - 1, time.Hour, 1}, {1, quiet + 1, 2}}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var released atomic.Int32
				l := server.Paced(nextListener{}, func() { released.Add(1) })
				for i, s := range tt.steps {
					for range s.connections {
						if _, err := l.Accept(); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(s.wait)
					synctest.Wait()
					if n := released.Load(); n != s.released {
						t.Fatalf("step %d: %d times, want %d", i, n, s.released)
					}
				}
			})
		})
	}
	t.Run("not once the listener is closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := server.Paced(nextListener{}, func() { t.Error("memory is given back") })
			for range many {
				l.Accept()
			}
			l.Close()
			time.Sleep(2 * quiet)
			synctest.Wait()
		})
	})
}
