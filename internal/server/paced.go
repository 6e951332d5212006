package server

import (
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// acceptAtOnce is how many connections are accepted before those that were get a turn.
const acceptAtOnce = 16

// What a rush is, and how garbage is collected during one. A heap of a few megabytes is
// otherwise collected for each hundred connections, which stops everything each time.
const (
	rushConnections = 64
	rushWithin      = 50 * time.Millisecond
	rushOver        = time.Second
	rushPercent     = 300
)

// A pacedListener does not accept connections faster than they are served. When
// thousands come at once, others wait in the kernel, and not in the scheduler's queues,
// where everything else would have to wait behind them: the next message, too. Accept
// is called by one goroutine.
//
// It also tunes the garbage collection of the process, during a rush and after one. That
// is for a program to do: the packages of the library leave the process as it is.
type pacedListener struct {
	net.Listener
	giveBack giveBack
	accepted int
	since    time.Time // when the last rushConnections began

	mu     sync.Mutex
	normal int         // the percentage that is set again
	over   *time.Timer // while there is a rush
}

func newPacedListener(l net.Listener) *pacedListener {
	return &pacedListener{Listener: l, giveBack: giveBack{release: debug.FreeOSMemory}}
}

func (l *pacedListener) Accept() (net.Conn, error) {
	l.accepted++
	if l.accepted%acceptAtOnce == 0 {
		runtime.Gosched()
	}
	if l.accepted%rushConnections == 0 {
		now := time.Now()
		if now.Sub(l.since) < rushWithin {
			l.rush()
		}
		l.since = now
	}
	conn, err := l.Listener.Accept()
	if err == nil {
		l.giveBack.connected()
	}
	return conn, err
}

func (l *pacedListener) Close() error {
	l.giveBack.close()
	return l.Listener.Close()
}

// rush lets more garbage gather until the rush is over, unless somebody has said how
// much is to.
func (l *pacedListener) rush() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		l.over.Reset(rushOver)
		return
	}
	l.normal = debug.SetGCPercent(rushPercent)
	l.over = time.AfterFunc(rushOver, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		debug.SetGCPercent(l.normal)
		l.over = nil
	})
}
