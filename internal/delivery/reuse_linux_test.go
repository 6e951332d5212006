package delivery_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/internal/delivery"
)

// A new stream may have the slot and the descriptor number of an ended one. Whatever is left of
// the ended stream does not affect the new one: an event of epoll, a function in the inbox or
// an entry of the lagging queue.
func TestReusedSlotAndDescriptor(t *testing.T) {
	for name, event := range map[string]func(*net.TCPConn){
		"client sends": func(c *net.TCPConn) { c.Write([]byte("more")) },
		"half close":   func(c *net.TCPConn) { c.CloseWrite() },
		"reset":        func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"client reads": func(c *net.TCPConn) {
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // enough for all bytes
			io.Copy(io.Discard, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			sameDescriptors(t)
			r := newRig(t, delivery.Options{})
			fd, oldClient := socket(t)
			newFD, newClient := socket(t)
			// The socket has a second descriptor, so epoll goes on reporting its events
			// for the ended stream, like an event that comes just after the end.
			held, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(held)
			oldStream := r.open(t, fd, "a", 0, "open a ")
			want(t, oldClient, "open a ")
			r.append("a", longText("large", stallSize))
			eventually(t, "the old stream stalls", func() bool { return r.stats().Stalled == 1 })

			var newStream delivery.Stream
			r.do(t, func() {
				if r.shard.Is(oldStream) {
					r.shard.Break(oldStream.Slot, nil)
				}
				// F_DUPFD takes the lowest free number from fd on: fd itself, usually.
				n, err := unix.FcntlInt(uintptr(newFD), unix.F_DUPFD_CLOEXEC, fd)
				unix.Close(newFD)
				if err != nil || n != fd {
					t.Errorf("the new socket has descriptor %d, want %d: the test proves nothing (%v)", n, fd, err)
				}
				newStream = r.openHere(t, n, "b", 0, "open b ")
			})
			want(t, newClient, "open b ")
			if newStream.Slot != oldStream.Slot || newStream == oldStream {
				t.Fatalf("stream %v is followed by %v: the test proves nothing", oldStream, newStream)
			}
			// The new stream stalls too: an event of the old one would make the shard write.
			large := longText("b", stallSize)
			r.append("b", large)
			eventually(t, "the new stream stalls", func() bool { return r.stats().Stalled == 1 })
			writes := r.stats().Writes
			event(oldClient)
			for range 10 { // each turn of the shard polls epoll
				r.do(t, func() {
					if r.shard.Is(oldStream) {
						t.Error("Is reports the ended stream as open")
					}
					if reason, ended := r.ends[newStream]; ended {
						t.Errorf("an event of the old stream ended the new one: %v", reason)
					}
				})
			}
			if n := r.stats().Writes - writes; n > 0 {
				t.Errorf("an event of the old stream caused %d writes to the new one", n)
			}
			r.append("a", "for nobody ")
			want(t, newClient, large)
			r.append("b", "x ")
			want(t, newClient, "x ")
			// The old client gets nothing of the new stream.
			if name != "reset" {
				unix.Shutdown(held, unix.SHUT_RDWR)
				rest, _ := io.ReadAll(oldClient)
				if strings.Contains(string(rest), "b.") || strings.Contains(string(rest), "open") {
					t.Error("the old client gets bytes of the new stream")
				}
			}
		})
	}
}

// epoll reports two streams at once. When the first one ends, a third stream takes the slot
// and the descriptor number of the second one, before the second event is handled.
func TestSlotReusedBetweenTwoEvents(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	var fds [2]int
	var clients [2]*net.TCPConn
	var streams [2]delivery.Stream
	for i := range fds {
		fds[i], clients[i] = socket(t)
		streams[i] = r.open(t, fds[i], fmt.Sprint(i), 0, "open ")
		want(t, clients[i], "open ")
	}
	thirdFD, third := socket(t)
	var st delivery.Stream
	r.do(t, func() {
		for _, c := range clients {
			c.CloseWrite()
		}
		r.testFeed.gone = func(slot uint32, reason delivery.Reason) {
			r.testFeed.gone = nil
			other := streams[0]
			if slot == other.Slot {
				other = streams[1]
			}
			r.shard.Break(other.Slot, nil)
			st = r.openHere(t, thirdFD, "third", 0, "open ")
			if st.Slot != other.Slot {
				t.Errorf("the third stream has slot %d, want %d: the test proves nothing", st.Slot, other.Slot)
			}
		}
	})
	want(t, third, "open ")
	for range 10 {
		r.do(t, func() {
			if reason, ended := r.ends[st]; ended {
				t.Errorf("the third stream has ended: %v", reason)
			}
		})
	}
	r.append("third", "x ")
	want(t, third, "x ")
}

// A stream that ends while it is in the lagging queue leaves no entry there for the stream
// that takes its slot.
func TestQueuedStreamThatHasEnded(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	fd, _ := socket(t)
	oldStream := r.open(t, fd, "a", 0, "open ")
	newFD, newClient := socket(t)
	unix.SetsockoptInt(newFD, unix.SOL_SOCKET, unix.SO_SNDBUF, 64<<10)
	r.do(t, func() {
		for range 5000 {
			r.add("a", "x ")
		}
	})
	var newStream delivery.Stream
	r.do(t, func() {
		if r.shard.Is(oldStream) {
			r.shard.Break(oldStream.Slot, nil)
		}
		newStream = r.openHere(t, newFD, "b", 0, "open ")
	})
	want(t, newClient, "open ")
	if newStream.Slot != oldStream.Slot {
		t.Fatal("the new stream has another slot: the test proves nothing")
	}
	r.append("b", "y ")
	want(t, newClient, "y ")
	if s := r.stats(); s.Deliveries > 5001 {
		t.Errorf("%+v", s)
	}
}

// Many connections come and go under load. Each gets only the frames of its own set.
func TestDescriptorsReusedUnderLoad(t *testing.T) {
	sameDescriptors(t)
	const clients, rounds = 8, 60
	r := newRig(t, delivery.Options{})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // each set gets frames all the time
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			r.do(t, func() {
				for name := range r.sets {
					r.add(name, frameOf(name, n))
				}
			})
		}
	}()
	var running sync.WaitGroup
	for c := range clients {
		random := rand.New(rand.NewPCG(uint64(c), 1))
		running.Go(func() {
			for round := range rounds {
				fd, conn := socket(t)
				name := fmt.Sprintf("%d.%d", c, round)
				var st delivery.Stream
				opened := make(chan struct{})
				r.shard.Do(func() {
					defer close(opened)
					st = r.openHere(t, fd, name, 0, frameOf(name, 0))
				})
				<-opened
				got := make([]byte, 1+random.IntN(100_000))
				n, err := io.ReadFull(conn, got)
				if err != nil {
					t.Errorf("%s: after %d bytes: %v", name, n, err)
				}
				for _, line := range strings.Split(string(got[:n]), "\n") {
					if !strings.HasPrefix(line, name+":") && !strings.HasPrefix(name+":", line) {
						t.Errorf("client %s gets %.50q", name, line)
						break
					}
				}
				switch random.IntN(4) {
				case 0:
					conn.SetLinger(0)
				case 1:
					conn.Write([]byte("more"))
				case 2: // the shard ends the stream while the client closes
					r.shard.Do(func() {
						if r.shard.Is(st) {
							r.shard.Break(st.Slot, nil)
						}
					})
				}
				conn.Close()
			}
		})
	}
	running.Wait()
	close(stop)
	<-stopped
	eventually(t, "all streams have ended", func() bool { return r.stats().Streams() == 0 })
	if s := r.stats(); s.Sets != 0 || s.Stalled != 0 || s.Detached != 0 || s.Opened[delivery.Socket] != clients*rounds {
		t.Errorf("%+v", s)
	}
}

// frameOf returns a frame that begins with the name of its set.
func frameOf(name string, n int) string {
	return fmt.Sprintf("%s:%s\n", name, strings.Repeat("x", n%3000))
}
