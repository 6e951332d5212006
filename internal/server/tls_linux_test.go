package server_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"example.com/tidings/internal/server"
)

// A client that hangs up while it waits for its turn gets no answer: to compute one takes the time
// of others.
func TestClientThatHasLeftGetsNoHandshake(t *testing.T) {
	local, remote := net.Pipe()
	go func() {
		_ = tls.Client(local, &tls.Config{InsecureSkipVerify: true}).Handshake() // until the pipe is closed
	}()
	hello := make([]byte, 16<<10)
	n, err := remote.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	remote.Close()
	for name, tt := range map[string]struct{ leaves, answered bool }{"waits": {false, true}, "leaves": {true, false}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, server.Config{TLS: newPair(t).Pair})
			release := s.HoldTurns()
			conn := dial(t, s.addr).(*net.TCPConn)
			conn.Write(hello[:n])
			if tt.leaves {
				conn.CloseWrite() // so that the test sees whether there is an answer
			}
			for deadline := time.Now().Add(patience); s.Busy() == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("no connection waits for its turn")
				}
			}
			release()
			got, err := io.ReadFull(conn, make([]byte, 1))
			if answered := got > 0; answered != tt.answered {
				t.Errorf("answered: %v (%v)", answered, err)
			}
		})
	}
}
