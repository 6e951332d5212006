package server_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/server"
	"example.com/tidings/internal/yield"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// A peer is a client of HTTP/2 whose connection is counted, in memory.
type peer struct {
	net.Conn
	counted net.Conn
	read    chan error // why the server's side has ended
}

// newPeer returns a peer that has sent its preface.
func newPeer(t *testing.T, floods *server.Floods) *peer {
	t.Helper()
	client, conn := net.Pipe()
	p := &peer{Conn: client, counted: server.Counted(conn, floods), read: make(chan error, 1)}
	go func() {
		_, err := io.Copy(io.Discard, p.counted)
		p.read <- err
	}()
	t.Cleanup(func() {
		client.Close()
		conn.Close()
	})
	io.WriteString(client, preface)
	return p
}

// send sends a frame n times, in few writes. It returns whether the server took them.
func (p *peer) send(frame []byte, n int) bool {
	for n > 0 {
		k := min(n, 100)
		if _, err := p.Write(bytes.Repeat(frame, k)); err != nil {
			return false
		}
		n -= k
	}
	synctest.Wait()
	select {
	case err := <-p.read:
		p.read <- err
		return false
	default:
		return true
	}
}

// The server takes a burst of control frames and so many a second. One more ends the connection.
func TestFloodOfControlFramesEndsTheConnection(t *testing.T) {
	for name, frame := range map[string][]byte{
		"ping":          frameOf(6, 0, 0, make([]byte, 8)...),
		"settings":      frameOf(4, 0, 0),
		"rst_stream":    frameOf(3, 0, 1, 0, 0, 0, 8),
		"priority":      frameOf(2, 0, 3, 0, 0, 0, 0, 1),
		"continuation":  frameOf(9, 0, 1, 'x'),
		"data":          padded(0, 200),
		"window_update": frameOf(8, 0, 0, 0, 0, 0, 1),
		"other":         frameOf(16, 0, 0, 0, 0, 0, 1, 'u'), // PRIORITY_UPDATE, RFC 9218
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				floods := server.NewFloods()
				p := newPeer(t, floods)
				if !p.send(frame, server.ControlBurst) {
					t.Fatalf("the connection ended within a burst: %v", floods.Closed())
				}
				for range 3 {
					time.Sleep(time.Second)
					if !p.send(frame, server.ControlRate) {
						t.Fatalf("the connection ended although the client keeps to the rate: %v", floods.Closed())
					}
				}
				go io.Copy(io.Discard, p) // the GOAWAY
				if p.send(frame, 1) {
					time.Sleep(time.Second)
				}
				if got, want := floods.Closed(), map[string]int{name: 1}; !maps.Equal(got, want) {
					t.Errorf("closed %v, want %v", got, want)
				}
				if err := <-p.read; err != nil {
					t.Errorf("the server gets %v, want io.EOF", err)
				}
			})
		})
	}
}

// What an honest client sends much of is no flood: requests, their bodies and the ends of both.
func TestRequestsAreNoFlood(t *testing.T) {
	for name, frame := range map[string][]byte{
		"requests":           frameOf(1, 5, 1, 0x82),
		"data":               frameOf(0, 0, 1, make([]byte, 16)...),
		"ends of bodies":     frameOf(0, 1, 1),
		"data with padding":  padded(16, 200),
		"large header block": frameOf(1, 5, 1, make([]byte, 10000)...),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				floods := server.NewFloods()
				if p := newPeer(t, floods); !p.send(frame, 10*server.ControlBurst) {
					t.Errorf("the connection ended: %v", floods.Closed())
				}
			})
		})
	}
}

// A client may send two WINDOW_UPDATEs for each 4 KiB that it was sent, and two for each smaller
// DATA frame.
func TestWindowUpdatesForDataAreNoFlood(t *testing.T) {
	update := frameOf(8, 0, 0, 0, 0, 8, 0)
	for _, tt := range []struct {
		name          string
		size, updates int // of a DATA frame
	}{
		{"16 KiB", 16 << 10, 8},
		{"10 bytes", 10, 2},
		{"empty", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				floods := server.NewFloods()
				p := newPeer(t, floods)
				go io.Copy(io.Discard, p)
				for range 1000 {
					if _, err := p.counted.Write(frameOf(0, 0, 1, make([]byte, tt.size)...)); err != nil {
						t.Fatal(err)
					}
				}
				if !p.send(update, 1000*tt.updates+server.ControlBurst) {
					t.Fatalf("the connection ended: %v", floods.Closed())
				}
				p.send(update, 1)
				time.Sleep(time.Second)
				if got := floods.Closed()["window_update"]; got != 1 {
					t.Errorf("%d floods after one more, want 1", got)
				}
			})
		})
	}
}

// Streams that the server resets count, because a client can make it reset them.
func TestResetsByTheServerCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		floods := server.NewFloods()
		p := newPeer(t, floods)
		go io.Copy(io.Discard, p)
		reset := frameOf(3, 0, 1, 0, 0, 0, 7)
		for i := range server.ControlBurst {
			if _, err := p.counted.Write(reset); err != nil {
				t.Fatalf("reset %d: %v", i, err)
			}
		}
		p.counted.Write(reset)
		if got := floods.Closed()["refused"]; got != 1 {
			t.Errorf("%d floods, want 1", got)
		}
	})
}

// A client that opens one connection after the other does not get a burst on each.
func TestBurstsOfAllConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		floods := server.NewFloods()
		ping := frameOf(6, 0, 0, make([]byte, 8)...)
		for range server.SharedBurst / (server.ControlBurst - server.OwnBurst) {
			if !newPeer(t, floods).send(ping, server.ControlBurst) {
				t.Fatal("a connection ended within its burst")
			}
		}
		late := newPeer(t, floods)
		go io.Copy(io.Discard, late)
		if !late.send(ping, server.OwnBurst) {
			t.Fatal("a connection has nothing of its own")
		}
		if late.send(ping, server.ControlBurst-server.OwnBurst) {
			t.Error("a burst goes on although others have used up what they share")
		}
		time.Sleep(time.Second)
		if !newPeer(t, floods).send(ping, server.ControlBurst) {
			t.Error("a second later there is no burst")
		}
	})
}

// The client is told why its connection ends, and which stream was the last.
func TestFloodIsAnsweredWithGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, server.NewFloods())
		p.send(frameOf(1, 5, 7, 0x82), 1)
		got := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(p)
			got <- b
		}()
		p.send(frameOf(4, 0, 0), server.ControlBurst+1)
		want := frameOf(7, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 0, 0, 7}, 11)...)
		if b := <-got; !bytes.Equal(b, want) {
			t.Errorf("got %x, want %x", b, want)
		}
	})
}

// A client that does not begin with the preface speaks another protocol.
func TestOtherProtocolsAreNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, conn := net.Pipe()
		defer client.Close()
		floods := server.NewFloods()
		go io.Copy(io.Discard, server.Counted(conn, floods))
		io.WriteString(client, preface[:10]+"x")
		for range 2 * server.ControlBurst {
			if _, err := client.Write(frameOf(6, 0, 0, make([]byte, 8)...)); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
	})
}

// A countedListener counts the frames of each connection.
type countedListener struct {
	net.Listener
	floods *server.Floods
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return server.Counted(conn, l.floods), nil
}

// The client of net/http reads and sends much without being taken for a flood.
func TestHonestClientIsNoFlood(t *testing.T) {
	floods := server.NewFloods()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const size = 24 << 20
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != size {
			t.Errorf("got %d bytes and %v", n, err)
		}
		for b := make([]byte, 4096); n > 0; n -= int64(len(b)) {
			w.Write(b)
		}
	})}
	srv.Protocols.SetUnencryptedHTTP2(true)
	go srv.Serve(countedListener{ln, floods})
	defer srv.Close()
	c := client(t, h2c)
	for range 2 {
		res, err := c.Post("http://"+ln.Addr().String(), "", bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{res.Body}, make([]byte, 512))
		if err != nil || n != size {
			t.Errorf("got %d bytes and %v", n, err)
		}
		res.Body.Close()
	}
	if len(floods.Closed()) > 0 {
		t.Errorf("floods: %v", floods.Closed())
	}
}

// A connection that has sent much waits for a turn, and has none while it waits for its client, or
// after its end.
func TestConnectionsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		floods := server.NewFloods()
		lane := floods.Lane()
		p := newPeer(t, floods)
		began := time.Now()
		ping := frameOf(6, 0, 0, make([]byte, 8)...)
		for range 100 {
			p.send(ping, 1)
		}
		synctest.Wait()
		if d := time.Since(began); d != 0 {
			t.Errorf("a connection alone waited for %v", d)
		}
		if n := lane.Used(); n != 0 {
			t.Errorf("%d turns are taken while the client sends nothing", n)
		}
		for range lane.Limit() { // others have all turns
			w := yield.In(lane)
			w.Did(math.MaxInt32)
		}
		p.send(ping, 1)
		p.send(ping, 1)
		if d := time.Since(began); d == 0 {
			t.Error("while others have all turns, it went on at once")
		}
		for p.send(ping, 100) {
		}
		p.Close()
		<-p.read
		time.Sleep(time.Second)
		synctest.Wait()
		if n := lane.Used(); n != 0 {
			t.Errorf("%d turns are taken in the end", n)
		}
	})
}
