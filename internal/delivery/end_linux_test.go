package delivery_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/internal/delivery"
)

// However a client leaves, its stream ends at once, and nobody else's.
func TestClientsThatLeave(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn){
		"close":                func(c *net.TCPConn) { c.Close() },
		"half close":           func(c *net.TCPConn) { c.CloseWrite() },
		"reset":                func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"bytes and close":      func(c *net.TCPConn) { c.Write([]byte("more")); c.Close() },
		"bytes and half close": func(c *net.TCPConn) { c.Write(make([]byte, 1<<20)); c.CloseWrite() },
	} {
		for _, state := range []string{"idle", "stalled", "away", "finished"} {
			t.Run(name+", "+state, func(t *testing.T) {
				sameDescriptors(t)
				r := newRig(t, delivery.Options{})
				otherFD, other := socket(t)
				r.open(t, otherFD, "a", 0, "open ")
				fd, client := socket(t)
				if state == "away" {
					r.do(t, func() { r.desk.written = func(uint32) {} })
				}
				st := r.open(t, fd, "b", 0, "open ")
				want(t, client, "open ")
				reason := delivery.Left
				switch state {
				case "stalled":
					r.append("b", text("large", stalling))
					eventually(t, "it stalls", func() bool { return r.stats().Stalled == 1 })
				case "finished":
					r.do(t, func() { r.shard.Finish(st.Slot) })
					wantEnd(t, client)
					reason = delivery.Ended
				}
				leave(client)
				r.ended(t, st, reason)
				r.append("a", "x ")
				want(t, other, "open x ")
				if s := r.stats(); s.Streams() != 1 || s.Sets != 1 || s.Stalled != 0 || s.Detached != 0 {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

// What a client sends after its request is thrown away, and its stream goes on,
// however much it is.
func TestClientsThatSendMore(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	fd, client := socket(t)
	st := r.open(t, fd, "a", 0, "open ")
	want(t, client, "open ")
	flooded := make(chan int64)
	go func() {
		n, _ := io.CopyN(client, zeros{}, 10<<20)
		flooded <- n
	}()
	for i := range 200 {
		r.append("a", fmt.Sprintf("%d ", i))
		want(t, client, fmt.Sprintf("%d ", i))
	}
	if n := <-flooded; n < 10<<20 {
		t.Errorf("of 10 MiB %d bytes were taken", n)
	}
	r.append("a", "end ")
	want(t, client, "end ")
	client.Close()
	r.ended(t, st, delivery.Left)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// Who takes nothing for the write timeout is closed, so that its kernel forgets what it
// was sent; who takes little at a time is not, nor who is owed nothing.
func TestWriteTimeout(t *testing.T) {
	sameDescriptors(t)
	const timeout = 400 * time.Millisecond
	r := newRig(t, delivery.Options{WriteTimeout: timeout})
	idleFD, idle := socket(t)
	idleStream := r.open(t, idleFD, "idle", 0, "open ")
	fd, takesNothing := socket(t)
	st := r.open(t, fd, "a", 0, "open ")
	slowFD, slow := socket(t)
	slow.SetReadBuffer(256 << 10) // with less TCP itself waits for longer
	slowStream := r.open(t, slowFD, "a", 0, "open ")
	want(t, takesNothing, "open ")
	large := text("large", 16<<20)
	begin := time.Now()
	r.append("a", large)
	stop := make(chan struct{})
	slowly := make(chan error)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := io.ReadFull(slow, buf); err != nil {
				slowly <- err
				return
			}
			select {
			case <-stop:
				slowly <- nil
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	r.ended(t, st, delivery.TimedOut)
	if took := time.Since(begin); took < timeout {
		t.Errorf("it is closed after %v", took)
	}
	if n, err := io.Copy(io.Discard, takesNothing); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after %d bytes the client gets %v, want a reset", n, err)
	}
	time.Sleep(3 * timeout) // for which the other one goes on
	close(stop)
	if err := <-slowly; err != nil {
		t.Errorf("who takes little at a time gets %v", err)
	}
	r.do(t, func() {
		if !r.shard.Is(idleStream) || !r.shard.Is(slowStream) {
			t.Errorf("the ends are %v", r.ends)
		}
	})
	r.append("idle", "x ")
	want(t, idle, "open x ")
}

// A process that was held up for longer than the write timeout does not take it for
// that of clients that have read on meanwhile.
func TestShardThatIsHeldUp(t *testing.T) {
	sameDescriptors(t)
	const timeout = 200 * time.Millisecond
	r := newRig(t, delivery.Options{WriteTimeout: timeout})
	fd, client := socket(t)
	r.open(t, fd, "a", 0, "open ")
	want(t, client, "open ")
	large := text("large", stalling)
	r.append("a", large)
	eventually(t, "it stalls", func() bool { return r.stats().Stalled == 1 })
	held, read := make(chan struct{}), make(chan struct{})
	begin := make([]byte, 128<<10)
	r.do(t, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.arrived = append(r.arrived, func() { close(held); <-read; time.Sleep(2 * timeout) })
	})
	<-held
	if _, err := io.ReadFull(client, begin); err != nil || string(begin) != large[:len(begin)] {
		t.Errorf("it begins with %.20q, %v", begin, err)
	}
	close(read)
	want(t, client, large[len(begin):])
}

// Drain sends what is owed, and then the final chunk; who is not done holds it up, and
// Close cuts that.
func TestDrainAndClose(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	idleFD, idle := socket(t)
	idleStream := r.open(t, idleFD, "a", 0, "open ")
	want(t, idle, "open ")
	stalledFD, stalled := socket(t)
	stalledStream := r.open(t, stalledFD, "b", 0, "open ")
	readsOnFD, readsOn := socket(t)
	readsOnStream := r.open(t, readsOnFD, "b", 0, "open ")
	r.do(t, func() { r.desk.written = func(uint32) {} })
	awayFD, away := socket(t)
	awayStream := r.open(t, awayFD, "a", 0, "open ")
	closingFD, closing := socket(t) // never closes
	closingStream := r.open(t, closingFD, "a", 0, "open ")
	r.do(t, func() { r.desk.written = nil; r.shard.Finish(closingStream.Slot) })
	want(t, closing, "open 0\r\n\r\n")
	large := text("large", stalling)
	r.append("b", large)
	r.append("a", "x ")
	eventually(t, "two stall", func() bool { return r.stats().Stalled == 2 })
	r.group.Drain()
	want(t, idle, "x ")
	wantEnd(t, idle)
	idle.Close()
	r.ended(t, idleStream, delivery.Ended)
	r.ended(t, closingStream, delivery.Ended)
	want(t, readsOn, "open "+large)
	wantEnd(t, readsOn)
	r.ended(t, readsOnStream, delivery.Ended)
	stop := make(chan time.Time, 1)
	stop <- time.Now()
	r.group.Drained(stop)
	if len(stop) > 0 {
		t.Error("it has drained, and two are left")
	}
	// One is told that it may end, the other never reads.
	r.do(t, func() { r.shard.Finish(awayStream.Slot) })
	want(t, away, "open ")
	wantEnd(t, away)
	r.ended(t, awayStream, delivery.Ended)
	if err := r.group.Close(); err != nil {
		t.Error(err)
	}
	if r.ends[stalledStream] != delivery.Cut {
		t.Errorf("the stalled one has ended as %v", r.ends)
	}
	if n, err := io.Copy(io.Discard, stalled); n >= int64(len(large)) || err == nil && n == 0 {
		t.Errorf("it has got %d bytes, %v", n, err)
	}
	r.group.Drained(nil) // it does not wait
	if r.shard.Do(func() { t.Error("this is called") }) {
		t.Error("a shard that is closed still takes what is to do")
	}
}

// A group that has nothing drains at once, and what comes after that ends at once.
func TestDrainOfNothing(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	r.group.Drain()
	r.group.Drained(nil)
	fd, client := socket(t)
	st := r.open(t, fd, "a", 0, "open ")
	want(t, client, "open ")
	wantEnd(t, client)
	r.ended(t, st, delivery.Ended)
}

// What is asked of a shard before it is closed is done, and a socket that comes too late
// is closed.
func TestOpenAsTheGroupCloses(t *testing.T) {
	sameDescriptors(t)
	for range 20 {
		r := newRig(t, delivery.Options{})
		fd, client := socket(t)
		given := make(chan struct{})
		go func() {
			r.group.Take()
			if !r.shard.Do(func() {
				if slot, ok := r.shard.Open(fd, r.set("a"), 0, 0); ok {
					r.shard.Send(slot, pieces("open "), 0)
				}
			}) {
				delivery.Close(fd)
			}
			close(given)
		}()
		r.group.Close()
		<-given
		if _, err := io.Copy(io.Discard, client); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client gets %v", err)
		}
	}
}

// A process that has no descriptor left keeps the connections that it has.
func TestNoDescriptorLeft(t *testing.T) {
	sameDescriptors(t)
	server, client := connect(t)
	defer server.Close()
	err := withLimit(t, 3, func() error {
		_, err := delivery.Detach(server)
		return err
	})
	if !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.EINVAL) {
		t.Fatalf("Detach: %v", err)
	}
	if _, err := server.Write([]byte("still here")); err != nil {
		t.Error(err)
	}
	want(t, client, "still here")
	fd, err := delivery.Detach(server)
	if err != nil {
		t.Fatal(err)
	}
	unix.Write(fd, []byte("here, too"))
	want(t, client, "here, too")
	delivery.Close(fd)
	if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
		t.Errorf("then comes %q, %v", rest, err)
	}
}

// withLimit lowers the limit of open files while f runs.
func withLimit(t *testing.T, limit uint64, f func() error) error {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	return f()
}

// There are fewer streams than descriptors, and each one that ends gives its place back.
func TestPlaces(t *testing.T) {
	sameDescriptors(t)
	var r *rig
	withLimit(t, 1000, func() error { r = newRig(t, delivery.Options{}); return nil })
	var taken []*delivery.Shard
	for s := r.group.Take(); s != nil; s = r.group.Take() {
		taken = append(taken, s)
	}
	if len(taken) != 1000-250 {
		t.Fatalf("with 1,000 descriptors there are places for %d streams", len(taken))
	}
	for _, s := range taken[1:] {
		s.Yield()
	}
	fd, client := socket(t)
	var st delivery.Stream
	r.do(t, func() { // in the place that is still taken
		slot, _ := r.shard.Open(fd, r.set("a"), 0, 0)
		st = r.shard.Name(slot)
	})
	taken = nil
	for s := r.group.Take(); s != nil; s = r.group.Take() {
		taken = append(taken, s)
	}
	if len(taken) != 1000-251 {
		t.Errorf("beside one stream there are places for %d", len(taken))
	}
	client.Close()
	r.ended(t, st, delivery.Left)
	if r.group.Take() == nil {
		t.Error("the place of a stream that has ended is not free")
	}
}
