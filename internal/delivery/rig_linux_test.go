package delivery_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/internal/delivery"
)

// newRig returns a group of one shard with sockets.
func newRig(t *testing.T, opts delivery.Options) *rig {
	t.Helper()
	opts.Sockets = true
	return newPortableRig(t, opts)
}

// open makes a descriptor a stream of a set. The stream first gets the opening frames.
func (r *rig) open(t *testing.T, fd int, set string, form uint8, opening ...string) (st delivery.Stream) {
	t.Helper()
	r.do(t, func() { st = r.openHere(t, fd, set, form, opening...) })
	return st
}

// openHere does the same as open. It must be called on the shard's goroutine.
func (r *rig) openHere(t *testing.T, fd int, set string, form uint8, opening ...string) (st delivery.Stream) {
	r.group.Take()
	slot, ok := r.shard.Open(fd, r.set(set), form, 7)
	if !ok {
		t.Error("the shard does not open a stream")
		return st
	}
	st = r.shard.Name(slot)
	r.shard.Send(slot, rawFrames(opening...), r.last)
	return st
}

// socket returns a descriptor for a shard, and the client's end of its connection.
func socket(t *testing.T) (fd int, client *net.TCPConn) {
	t.Helper()
	server, client := connect(t)
	fd, err := delivery.Detach(server)
	if err != nil {
		t.Fatal(err)
	}
	return fd, client
}

// connect returns both ends of a connection.
func connect(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, _ := l.Accept()
		accepted <- conn
	}()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client = conn.(*net.TCPConn)
	t.Cleanup(func() { client.Close() })
	client.SetDeadline(time.Now().Add(patience))
	server, _ = (<-accepted).(*net.TCPConn)
	if server == nil {
		t.Fatal("the connection was not accepted")
	}
	return server, client
}

// want checks the next bytes.
func want(t *testing.T, from io.Reader, text string) {
	t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(from, got)
	if string(got[:n]) != text {
		i := 0
		for i < n && got[i] == text[i] {
			i++
		}
		t.Fatalf("after %d of %d bytes: got %.40q, want %.40q (%v)", i, len(text), got[i:n], text[i:], err)
	}
}

// wantEnd checks that the last frame of a stream comes next, and then the end. The final chunk
// comes before that if nothing more will follow.
func wantEnd(t *testing.T, from io.Reader, reason delivery.Reason) {
	t.Helper()
	rest, err := io.ReadAll(from)
	text, final := strings.CutSuffix(string(rest), "0\r\n\r\n")
	if !strings.HasPrefix(text, reason.String()+" at ") || strings.Index(text, ";") != len(text)-1 || final != (reason == delivery.Finished) || err != nil {
		t.Fatalf("a stream ends as %q with %.60q, %v", reason, rest, err)
	}
}

// descriptors returns how many descriptors the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// sameDescriptors makes a test fail that leaks descriptors. The test calls it first.
func sameDescriptors(t *testing.T) {
	t.Helper()
	var config net.ListenConfig // the poller opens its descriptors before the count
	if l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	before := descriptors(t)
	t.Cleanup(func() {
		eventually(t, fmt.Sprintf("there are %d descriptors again", before), func() bool { return descriptors(t) == before })
	})
}

// stallSize is larger than the socket buffers of a connection.
const stallSize = 2 << 20

// longText returns a text in which no two parts are the same.
func longText(label string, size int) string {
	b := make([]byte, 0, size+len(label)+20)
	for i := 0; len(b) < size; i++ {
		b = append(b, label...)
		b = append(b, '.')
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, ' ')
	}
	return string(b[:size])
}

// pipe returns a pipe that holds one page. A shard can use it as a socket.
func pipe(t *testing.T) (fd int, client *os.File) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(ends[1]), unix.F_SETPIPE_SZ, page); err != nil {
		t.Fatal(err)
	}
	client = os.NewFile(uintptr(ends[0]), "pipe")
	t.Cleanup(func() { client.Close() })
	client.SetDeadline(time.Now().Add(patience))
	return ends[1], client
}

const page = 4096
