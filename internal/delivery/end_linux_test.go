package delivery_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/internal/delivery"
)

// However a client leaves, its stream ends at once. Other streams go on.
func TestClientsThatLeave(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn){
		"close":                func(c *net.TCPConn) { c.Close() },
		"half close":           func(c *net.TCPConn) { c.CloseWrite() },
		"reset":                func(c *net.TCPConn) { c.SetLinger(0); c.Close() },
		"bytes and close":      func(c *net.TCPConn) { c.Write([]byte("more")); c.Close() },
		"bytes and half close": func(c *net.TCPConn) { c.Write(make([]byte, 32<<10)); c.CloseWrite() },
	} {
		for _, state := range []string{"idle", "stalled", "detached", "finished"} {
			t.Run(name+", "+state, func(t *testing.T) {
				sameDescriptors(t)
				r := newRig(t, delivery.Options{})
				otherFD, other := socket(t)
				r.open(t, otherFD, "a", 0, "open ")
				fd, client := socket(t)
				if state == "detached" {
					r.do(t, func() { r.testFeed.written = func(uint32) {} })
				}
				st := r.open(t, fd, "b", 0, "open ")
				want(t, client, "open ")
				reason := delivery.Left
				switch state {
				case "stalled":
					r.append("b", longText("large", stallSize))
					eventually(t, "the stream stalls", func() bool { return r.stats().Stalled == 1 })
				case "finished":
					r.do(t, func() { r.shard.Finish(st.Slot, delivery.Finished) })
					wantEnd(t, client, delivery.Finished)
					reason = delivery.Finished
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

// The shard discards up to 64 KiB that a client sends after its request, and the stream goes on.
// It ends the stream of a client that sends more, and reads no more of that.
func TestClientsThatSendAfterTheRequest(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	fd, client := socket(t)
	st := r.open(t, fd, "a", 0, "open ")
	want(t, client, "open ")
	for i := range 64 {
		if _, err := client.Write(make([]byte, 1<<10)); err != nil {
			t.Fatal(err)
		}
		r.append("a", fmt.Sprintf("%d ", i))
		want(t, client, fmt.Sprintf("%d ", i))
	}
	flooded := make(chan int64)
	go func() {
		n, _ := io.CopyN(client, zeros{}, 64<<20)
		flooded <- n
	}()
	want(t, client, "limit at 64;")
	r.ended(t, st, delivery.Limit)
	if n := <-flooded; n > 32<<20 {
		t.Errorf("the kernel and the shard took %d bytes", n)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// A client that takes nothing during the write timeout gets a reset, so that the kernel drops
// the unsent bytes. A client that reads slowly or lacks nothing stays connected.
func TestWriteTimeout(t *testing.T) {
	sameDescriptors(t)
	const timeout = time.Second
	r := newRig(t, delivery.Options{WriteTimeout: timeout})
	idleFD, idle := socket(t)
	idleStream := r.open(t, idleFD, "idle", 0, "open ")
	fd, takesNothing := socket(t)
	st := r.open(t, fd, "a", 0, "open ")
	slowFD, slow := socket(t)
	slow.SetReadBuffer(256 << 10) // with a smaller buffer, TCP itself pauses for longer
	slowStream := r.open(t, slowFD, "a", 0, "open ")
	want(t, takesNothing, "open ")
	large := longText("large", 16<<20)
	begin := time.Now()
	r.append("a", large)
	stop := make(chan struct{})
	slowErr := make(chan error)
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := io.ReadFull(slow, buf); err != nil {
				slowErr <- err
				return
			}
			select {
			case <-stop:
				slowErr <- nil
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	r.ended(t, st, delivery.TimedOut)
	if took := time.Since(begin); took < timeout {
		t.Errorf("the client is timed out after %v, want at least %v", took, timeout)
	}
	if n, err := io.Copy(io.Discard, takesNothing); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after %d bytes the client gets %v, want a reset", n, err)
	}
	time.Sleep(2 * timeout) // the slow client goes on meanwhile
	close(stop)
	if err := <-slowErr; err != nil {
		t.Errorf("the slow client gets %v", err)
	}
	r.do(t, func() {
		if !r.shard.Is(idleStream) || !r.shard.Is(slowStream) {
			t.Errorf("the idle or the slow stream has ended: %v", r.ends)
		}
	})
	r.append("idle", "x ")
	want(t, idle, "open x ")
}

// When the shard itself is delayed for longer than the write timeout, it does not time out a
// client that has read meanwhile.
func TestDelayedShardTimesOutNoReader(t *testing.T) {
	sameDescriptors(t)
	const timeout = time.Second
	r := newRig(t, delivery.Options{WriteTimeout: timeout})
	fd, client := socket(t)
	r.open(t, fd, "a", 0, "open ")
	want(t, client, "open ")
	large := longText("large", stallSize)
	r.append("a", large)
	eventually(t, "the stream stalls", func() bool { return r.stats().Stalled == 1 })
	held, read := make(chan struct{}), make(chan struct{})
	begin := make([]byte, 128<<10)
	r.do(t, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.arrived = append(r.arrived, func() { close(held); <-read; time.Sleep(timeout + timeout/2) })
	})
	<-held
	if _, err := io.ReadFull(client, begin); err != nil || string(begin) != large[:len(begin)] {
		t.Errorf("the client got %.20q, %v", begin, err)
	}
	close(read)
	want(t, client, large[len(begin):])
}

// Drain sends each stream its frames and the last one. A stream that is not done delays
// Drained. Close cuts such a stream.
func TestDrainAndClose(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	idleFD, idle := socket(t)
	idleStream := r.open(t, idleFD, "a", 0, "open ")
	want(t, idle, "open ")
	stalledFD, stalled := socket(t)
	stalledStream := r.open(t, stalledFD, "b", 0, "open ")
	slowFD, slow := socket(t)
	slowStream := r.open(t, slowFD, "b", 0, "open ")
	r.do(t, func() { r.testFeed.written = func(uint32) {} })
	detachedFD, detached := socket(t)
	detachedStream := r.open(t, detachedFD, "a", 0, "open ")
	closingFD, closing := socket(t) // the client does not close it
	closingStream := r.open(t, closingFD, "a", 0, "open ")
	r.do(t, func() { r.testFeed.written = nil; r.shard.Finish(closingStream.Slot, delivery.Finished) })
	want(t, closing, "open ")
	wantEnd(t, closing, delivery.Finished)
	large := longText("large", stallSize)
	r.append("b", large)
	r.append("a", "x ")
	eventually(t, "two streams stall", func() bool { return r.stats().Stalled == 2 })
	r.group.Drain()
	want(t, idle, "x ")
	wantEnd(t, idle, delivery.Stopping)
	idle.Close()
	r.ended(t, idleStream, delivery.Stopping)
	r.ended(t, closingStream, delivery.Finished)
	want(t, slow, "open "+large)
	wantEnd(t, slow, delivery.Stopping)
	r.ended(t, slowStream, delivery.Stopping)
	stop := make(chan time.Time, 1)
	stop <- time.Now()
	r.group.Drained(stop)
	if len(stop) > 0 {
		t.Error("Drained returned, and two streams are left")
	}
	// The feed finishes the detached stream. The stalled client never reads.
	r.do(t, func() { r.shard.Finish(detachedStream.Slot, delivery.Stopping) })
	want(t, detached, "open ")
	wantEnd(t, detached, delivery.Stopping)
	r.ended(t, detachedStream, delivery.Stopping)
	if err := r.group.Close(); err != nil {
		t.Error(err)
	}
	if r.ends[stalledStream] != delivery.Cut {
		t.Errorf("the ends are %v, want the stalled stream cut", r.ends)
	}
	if n, err := io.Copy(io.Discard, stalled); n >= int64(len(large)) || err == nil && n == 0 {
		t.Errorf("the stalled client got %d bytes, %v", n, err)
	}
	r.group.Drained(nil) // returns at once
	if r.shard.Do(func() { t.Error("a closed shard called the function") }) {
		t.Error("a closed shard accepted a function")
	}
}

// A group without streams has drained at once. A later stream ends as soon as it has opened.
func TestDrainWithoutStreams(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	r.group.Drain()
	r.group.Drained(nil)
	fd, client := socket(t)
	st := r.open(t, fd, "a", 0, "open ")
	want(t, client, "open ")
	wantEnd(t, client, delivery.Stopping)
	r.ended(t, st, delivery.Stopping)
}

// Functions that a shard accepts before Close are called. A socket that comes too late is
// closed.
func TestOpenDuringClose(t *testing.T) {
	sameDescriptors(t)
	for range 20 {
		r := newRig(t, delivery.Options{})
		fd, client := socket(t)
		done := make(chan struct{})
		go func() {
			r.group.Take()
			if !r.shard.Do(func() {
				if slot, ok := r.shard.Open(fd, r.set("a"), 0, 0); ok {
					r.shard.Send(slot, rawFrames("open "), 0)
				} else {
					delivery.Close(fd)
				}
			}) {
				delivery.Close(fd)
			}
			close(done)
		}()
		r.group.Close()
		<-done
		if _, err := io.Copy(io.Discard, client); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client gets %v, want an end or a reset", err)
		}
	}
}

// When the process has no descriptor left, Detach fails and the connection goes on.
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
		t.Errorf("after Close the client gets %q, %v", rest, err)
	}
}

// A descriptor that epoll refuses stays the caller's, and its reservation is given back.
func TestRefusedSocket(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	file, err := os.Create(filepath.Join(t.TempDir(), "file")) // epoll watches no files
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := r.group.Sockets()
	r.group.Take()
	r.do(t, func() {
		if _, ok := r.shard.Open(int(file.Fd()), r.set("a"), 0, 0); ok {
			t.Error("the shard opens a stream")
		}
	})
	if got := r.group.Sockets(); got != before {
		t.Errorf("%d descriptors are reserved, want %d", got, before)
	}
	delivery.Write(int(file.Fd()), []byte("try later"))
	if b, err := os.ReadFile(file.Name()); string(b) != "try later" || err != nil {
		t.Errorf("the file has %q, %v", b, err)
	}
}

// A stream that is concluded before its full socket took anything still gets the head of its
// response, and then the last frame.
func TestHeadOfAConcludedStream(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	fd, client := pipe(t)
	unix.Write(fd, make([]byte, page))
	r.group.Take()
	var st delivery.Stream
	r.do(t, func() {
		slot, _ := r.shard.Open(fd, r.set("a"), 0, 0)
		st = r.shard.Name(slot)
		r.shard.SendHead(slot, []byte("head "))
		r.shard.Send(slot, rawFrames("open "), 0)
		r.shard.Conclude(slot, delivery.Expired)
	})
	if _, err := io.ReadFull(client, make([]byte, page)); err != nil {
		t.Fatal(err)
	}
	want(t, client, "head expired at 0;")
	client.Close()
	r.ended(t, st, delivery.Expired)
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

// Take reserves fewer descriptors than the limit. A stream that ends releases its descriptor.
func TestReservedDescriptors(t *testing.T) {
	sameDescriptors(t)
	var r *rig
	withLimit(t, 1000, func() error { r = newRig(t, delivery.Options{}); return nil })
	var taken []*delivery.Shard
	for s := r.group.Take(); s != nil; s = r.group.Take() {
		taken = append(taken, s)
	}
	if len(taken) != 1000-250 {
		t.Fatalf("with a limit of 1,000, %d descriptors are reserved, want 750", len(taken))
	}
	for _, s := range taken[1:] {
		s.Yield()
	}
	fd, client := socket(t)
	var st delivery.Stream
	r.do(t, func() { // uses the one reservation that is left
		slot, _ := r.shard.Open(fd, r.set("a"), 0, 0)
		st = r.shard.Name(slot)
	})
	taken = nil
	for s := r.group.Take(); s != nil; s = r.group.Take() {
		taken = append(taken, s)
	}
	if len(taken) != 1000-251 {
		t.Errorf("beside one stream, %d descriptors are reserved, want 749", len(taken))
	}
	client.Close()
	r.ended(t, st, delivery.Left)
	if r.group.Take() == nil {
		t.Error("the descriptor of an ended stream is still reserved")
	}
}
