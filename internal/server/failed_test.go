package server_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
)

// A failedLog fails when failed is closed. Its Close hangs until hang is closed.
type failedLog struct {
	eventlog.Log
	failed, hang chan struct{}
}

var errDisk = errors.New("the disk has failed; check it")

func (l failedLog) Failed() <-chan struct{} { return l.failed }

func (l failedLog) Err() error {
	select {
	case <-l.failed:
		return errDisk
	default:
		return nil
	}
}

func (l failedLog) Close() error {
	<-l.hang
	return l.Log.Close()
}

// When the log has failed, the server delivers what is stored, ends streams cleanly and
// stops within 5 seconds with the log's reason, even if the disk hangs.
func TestServerStopsWhenTheLogFails(t *testing.T) {
	for name, hangs := range map[string]bool{"log that closes": false, "log that hangs": true} {
		t.Run(name, func(t *testing.T) {
			log := failedLog{eventlog.NewMemory(nil), make(chan struct{}), make(chan struct{})}
			if !hangs {
				close(log.hang)
			}
			cfg := server.Config{Addr: "127.0.0.1:0", DefaultTopic: "messages", Logger: slog.New(slog.DiscardHandler)}
			s, err := server.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Listen(t.Context()); err != nil {
				t.Fatal(err)
			}
			h := newHub(t, cfg, log, hub.Options{})
			ran := make(chan error, 1)
			go func() { ran <- s.Run(context.Background(), h) }()
			c := client(t, "HTTP/1.1")
			l := listen(t, c, s.URL())
			post(t, c, s.URL(), "alice", "last words")
			start := time.Now()
			close(log.failed)
			l.want(t, l.event(1, "alice", "last words"))
			l.wantEnd(t, 1)
			select {
			case err = <-ran:
			case <-time.After(patience):
				t.Fatal("the server goes on")
			}
			if took := time.Since(start); err != errDisk || took > 5*time.Second {
				t.Errorf("after %v Run returned %v", took, err)
			}
			if hangs {
				close(log.hang)
				if err := h.Close(); err != nil { // which Run has begun
					t.Error(err)
				}
			}
		})
	}
}
