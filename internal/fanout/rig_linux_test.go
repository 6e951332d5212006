package fanout_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/tidings/internal/fanout"
)

// patience catches hangs.
const patience = 20 * time.Second

// A note is a frame of the tests. Its second form is in brackets.
type note struct {
	position uint64
	text     string
	asked    func() // when it is about to be written
}

func (n *note) Position() uint64 { return n.position }

func (n *note) Wire(form uint8) []byte {
	if n.asked != nil {
		n.asked()
	}
	if form == 1 {
		return []byte("[" + n.text + "]")
	}
	return []byte(n.text)
}

// A desk is a feed that has everything it ever had, by set. What it appends it is told by
// append; what it is asked for it notes. Its fields are the shard's goroutine's.
type desk struct {
	shard *fanout.Shard
	sets  map[string]*fanout.Set
	had   map[string][]fanout.Frame
	last  uint64

	written   func(slot uint32) // instead of going on from the set
	resettle  func(slot uint32) // likewise
	gone      func(slot uint32, reason fanout.Reason)
	keepAlive func(slot uint32)

	ends    map[fanout.Stream]fanout.Reason
	vacated int

	mu      sync.Mutex
	arrived []func()
}

func (d *desk) Advance() {
	d.mu.Lock()
	arrived := d.arrived
	d.arrived = nil
	d.mu.Unlock()
	for _, f := range arrived {
		f()
	}
}

func (d *desk) settle(slot uint32) {
	position, set := d.shard.Position(slot), d.shard.SetOf(slot)
	had := d.had[set.Key.(string)]
	if position < set.From() {
		had = slices.DeleteFunc(slices.Clone(had), func(f fanout.Frame) bool {
			return f.Position() <= position || f.Position() > set.From()
		})
		d.shard.Prepend(set, had, position)
	}
	d.shard.Place(slot, position, position)
}

func (d *desk) Resettle(slot uint32) {
	if d.resettle != nil {
		d.resettle(slot)
		return
	}
	d.settle(slot)
}

func (d *desk) Written(slot uint32) {
	if d.written != nil {
		d.written(slot)
		return
	}
	d.settle(slot)
}

var keepAlive = [][]byte{[]byte("k;")}

func (d *desk) KeepAlive(slot uint32) ([][]byte, uint64) {
	if d.keepAlive != nil {
		d.keepAlive(slot)
	}
	return keepAlive, d.shard.Position(slot)
}

func (d *desk) Vacated(set *fanout.Set) {
	d.vacated++
	delete(d.sets, set.Key.(string))
}

func (d *desk) Gone(slot uint32, reason fanout.Reason) {
	d.ends[d.shard.Name(slot)] = reason
	if d.gone != nil {
		d.gone(slot, reason)
	}
}

// set returns the set of a name. It is for the shard's goroutine.
func (d *desk) set(name string) *fanout.Set {
	set := d.sets[name]
	if set == nil {
		set = d.shard.NewSet(name, d.last)
		d.sets[name] = set
	}
	return set
}

// add appends a frame to a set, if there is one. It is for the shard's goroutine.
func (d *desk) add(name, text string) *note {
	d.last++
	n := &note{position: d.last, text: text}
	d.had[name] = append(d.had[name], n)
	if set := d.sets[name]; set != nil {
		d.shard.Append(set, n)
	}
	return n
}

// A rig is a group of one shard.
type rig struct {
	*desk
	group *fanout.Group
}

func newRig(t *testing.T, opts fanout.Options) *rig {
	t.Helper()
	d := &desk{sets: map[string]*fanout.Set{}, had: map[string][]fanout.Frame{}, ends: map[fanout.Stream]fanout.Reason{}}
	opts.Shards = 1
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = patience
	}
	opts.Feed = func(s *fanout.Shard) fanout.Feed {
		d.shard = s
		return d
	}
	group, err := fanout.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	closeOnce := sync.OnceFunc(func() {
		if err := group.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(closeOnce)
	return &rig{d, group}
}

// do has the shard's goroutine call f, and waits for that.
func (r *rig) do(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !r.shard.Do(func() { defer close(done); f() }) {
		t.Fatal("the shard is closed")
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the shard does not come to it")
	}
}

// append appends frames to a set, as the source of a feed does.
func (r *rig) append(name string, texts ...string) {
	r.mu.Lock()
	r.arrived = append(r.arrived, func() {
		for _, text := range texts {
			r.add(name, text)
		}
	})
	r.mu.Unlock()
	r.shard.Wake()
}

// open makes a descriptor a stream of a set, which begins with an opening.
func (r *rig) open(t *testing.T, fd int, set string, form uint8, opening ...string) (st fanout.Stream) {
	t.Helper()
	r.do(t, func() { st = r.openHere(t, fd, set, form, opening...) })
	return st
}

// openHere is open on the shard's goroutine.
func (r *rig) openHere(t *testing.T, fd int, set string, form uint8, opening ...string) (st fanout.Stream) {
	r.group.Take()
	slot, ok := r.shard.Open(fd, r.set(set), form, 7)
	if !ok {
		t.Error("the shard does not take it")
		return st
	}
	st = r.shard.Name(slot)
	r.shard.Send(slot, pieces(opening...), r.last)
	return st
}

func pieces(texts ...string) (all [][]byte) {
	for _, text := range texts {
		all = append(all, []byte(text))
	}
	return all
}

// ended waits until a stream has ended, and compares why.
func (r *rig) ended(t *testing.T, st fanout.Stream, want fanout.Reason) {
	t.Helper()
	eventually(t, fmt.Sprintf("stream %v has ended", st), func() (ended bool) {
		r.do(t, func() {
			got, ok := r.ends[st]
			if ended = ok; ok && got != want {
				t.Errorf("stream %v has ended as %q, want %q", st, got, want)
			}
		})
		return ended
	})
}

// stats returns the figures of the shard.
func (r *rig) stats() fanout.Stats { return r.group.Stats()[0] }

// socket returns a descriptor as a shard gets it, and the client's end.
func socket(t *testing.T) (fd int, client *net.TCPConn) {
	t.Helper()
	server, client := connect(t)
	fd, err := fanout.Detach(server)
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
		t.Fatal("nothing was accepted")
	}
	return server, client
}

// want reads what comes next.
func want(t *testing.T, from io.Reader, text string) {
	t.Helper()
	got := make([]byte, len(text))
	n, err := io.ReadFull(from, got)
	if string(got[:n]) != text {
		i := 0
		for i < n && got[i] == text[i] {
			i++
		}
		t.Fatalf("after %d of %d bytes comes %.40q, want %.40q (%v)", i, len(text), got[i:n], text[i:], err)
	}
}

// wantEnd reads the final chunk and the end.
func wantEnd(t *testing.T, from io.Reader) {
	t.Helper()
	want(t, from, "0\r\n\r\n")
	if rest, err := io.ReadAll(from); len(rest) > 0 || err != nil {
		t.Fatalf("then comes %.40q, %v", rest, err)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to be that %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// descriptors returns how many the process has.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// sameDescriptors has the test fail that leaves descriptors behind. It comes first.
func sameDescriptors(t *testing.T) {
	t.Helper()
	var config net.ListenConfig // so that Go's poller has its own
	if l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	before := descriptors(t)
	t.Cleanup(func() {
		eventually(t, fmt.Sprintf("there are %d descriptors again", before), func() bool { return descriptors(t) == before })
	})
}

// stalling is more than the sockets of a connection hold of a stream.
const stalling = 2 << 20

// text returns a long text, no part of which is like another.
func text(label string, size int) string {
	b := make([]byte, 0, size+len(label)+20)
	for i := 0; len(b) < size; i++ {
		b = append(b, label...)
		b = append(b, '.')
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, ' ')
	}
	return string(b[:size])
}

// pipe returns a pipe that holds a page, and is a socket to a shard.
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
