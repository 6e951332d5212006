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

// What still is to come of a stream that has ended does nothing to the one that has its
// slot, and its descriptor's number: an event of epoll, a request in the inbox, a turn
// among those that are owed much.
func TestSlotAndDescriptorThatAreUsedAgain(t *testing.T) {
	for name, event := range map[string]func(*net.TCPConn){
		"it sends":   func(c *net.TCPConn) { c.Write([]byte("more")) },
		"half close": func(c *net.TCPConn) { c.CloseWrite() },
		"reset":      func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"it reads on": func(c *net.TCPConn) {
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // all that there is
			io.Copy(io.Discard, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			sameDescriptors(t)
			r := newRig(t, delivery.Options{})
			fd, before := socket(t)
			nextFD, next := socket(t)
			// With another descriptor of the same socket epoll goes on telling of it,
			// under the name of the stream that has ended: as if it had just done so.
			held, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(held)
			was := r.open(t, fd, "a", 0, "open a ")
			want(t, before, "open a ")
			r.append("a", text("large", stalling))
			eventually(t, "it stalls", func() bool { return r.stats().Stalled == 1 })

			var is delivery.Stream
			sameNumber := false
			for !sameNumber {
				r.do(t, func() {
					if r.shard.Is(was) {
						r.shard.Break(was.Slot, nil)
					}
					// The lowest number that is free is mostly that one.
					unix.Close(fd2(nextFD, &fd, &sameNumber))
					is = r.openHere(t, fd, "b", 0, "open b ")
					if !sameNumber {
						r.shard.Break(is.Slot, nil)
						t.Error("another descriptor had the number")
						sameNumber = true
					}
				})
			}
			want(t, next, "open b ")
			if is.Slot != was.Slot || is == was {
				t.Fatalf("stream %v is followed by %v: the test is blind", was, is)
			}
			// The new one stalls too, so that a write for the old one would be its.
			large := text("b", stalling)
			r.append("b", large)
			eventually(t, "it stalls", func() bool { return r.stats().Stalled == 1 })
			writes := r.stats().Writes
			event(before)
			for range 10 { // the shard looks at epoll's events in each turn
				r.do(t, func() {
					if r.shard.Is(was) {
						t.Error("the stream that has ended is said to be there")
					}
					if reason, ended := r.ends[is]; ended {
						t.Errorf("the other's event has ended the new stream: %v", reason)
					}
				})
			}
			if n := r.stats().Writes - writes; n > 0 {
				t.Errorf("the other's event had the new stream written to %d times", n)
			}
			r.append("a", "for nobody ")
			want(t, next, large)
			r.append("b", "x ")
			want(t, next, "x ")
			// Nothing of it went to the old one.
			if name != "reset" {
				unix.Shutdown(held, unix.SHUT_RDWR)
				rest, _ := io.ReadAll(before)
				if strings.Contains(string(rest), "b.") || strings.Contains(string(rest), "open") {
					t.Error("the old client gets what is the new one's")
				}
			}
		})
	}
}

// fd2 gives the socket in from the number that is free, if that is the one wanted.
func fd2(from int, number *int, same *bool) (other int) {
	n, err := unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, *number)
	*same = err == nil && n == *number
	*number = n
	return from
}

// Two streams end at once, and when the first is gone a third one has the second's slot
// and number, before its event is looked at.
func TestSlotThatIsUsedAgainBetweenTwoEvents(t *testing.T) {
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
		r.desk.gone = func(slot uint32, reason delivery.Reason) {
			r.desk.gone = nil
			other := streams[0]
			if slot == other.Slot {
				other = streams[1]
			}
			r.shard.Break(other.Slot, nil)
			st = r.openHere(t, thirdFD, "third", 0, "open ")
			if st.Slot != other.Slot {
				t.Errorf("it has slot %d: the test is blind", st.Slot)
			}
		}
	})
	want(t, third, "open ")
	for range 10 {
		r.do(t, func() {
			if reason, ended := r.ends[st]; ended {
				t.Errorf("the third one has ended: %v", reason)
			}
		})
	}
	r.append("third", "x ")
	want(t, third, "x ")
}

// A stream that ends in the queue of those that are owed much leaves no turn there to
// the one that has its slot.
func TestTurnOfAStreamThatHasEnded(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	fd, _ := socket(t)
	was := r.open(t, fd, "a", 0, "open ")
	nextFD, next := socket(t)
	unix.SetsockoptInt(nextFD, unix.SOL_SOCKET, unix.SO_SNDBUF, 64<<10)
	r.do(t, func() {
		for range 5000 {
			r.add("a", "x ")
		}
	})
	var is delivery.Stream
	r.do(t, func() {
		if r.shard.Is(was) {
			r.shard.Break(was.Slot, nil)
		}
		is = r.openHere(t, nextFD, "b", 0, "open ")
	})
	want(t, next, "open ")
	if is.Slot != was.Slot {
		t.Fatal("the slot is another: the test is blind")
	}
	r.append("b", "y ")
	want(t, next, "y ")
	if s := r.stats(); s.Deliveries > 5001 {
		t.Errorf("%+v", s)
	}
}

// Connections come and go at once, with traffic: each gets its own frames, and no other's.
func TestDescriptorsThatAreReusedUnderLoad(t *testing.T) {
	sameDescriptors(t)
	const clients, rounds = 8, 60
	r := newRig(t, delivery.Options{})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // everyone's set gets frames all the time
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
					t.Errorf("%s: after %d bytes %v", name, n, err)
				}
				for _, line := range strings.Split(string(got[:n]), "\n") {
					if !strings.HasPrefix(line, name+":") && !strings.HasPrefix(name+":", line) {
						t.Errorf("%s gets %.50q", name, line)
						break
					}
				}
				switch random.IntN(4) {
				case 0:
					conn.SetLinger(0)
				case 1:
					conn.Write([]byte("more"))
				case 2: // the server ends it while the client's end is on the way
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
	eventually(t, "all have ended", func() bool { return r.stats().Streams() == 0 })
	if s := r.stats(); s.Sets != 0 || s.Stalled != 0 || s.Detached != 0 || s.Opened[delivery.Socket] != clients*rounds {
		t.Errorf("%+v", s)
	}
}

// frameOf returns a frame that says whose it is.
func frameOf(name string, n int) string {
	return fmt.Sprintf("%s:%s\n", name, strings.Repeat("x", n%3000))
}
