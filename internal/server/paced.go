package server

import (
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// acceptAtOnce is how many connections Accept returns before it yields to their goroutines.
const acceptAtOnce = 16

// A rush starts with rushConnections within rushWithin, and ends rushOver after the last
// time that so many came. Meanwhile GOGC is rushPercent: otherwise a heap of a few megabytes
// is collected for each hundred connections, which stops everything each time.
const (
	rushConnections = 64
	rushWithin      = 50 * time.Millisecond
	rushOver        = time.Second
	rushPercent     = 300
)

// A pacedListener does not accept connections faster than they are served. When
// thousands come at once, most of them wait in the kernel. In the scheduler's queues they
// would delay everything else, such as the next message. Accept is for one goroutine.
//
// It also tunes the garbage collection of the process, during a rush and after one. Only
// a program should do that: the packages of the library leave the process as it is.
type pacedListener struct {
	net.Listener
	giveBack giveBack
	accepted int
	since    time.Time // when the last rushConnections began

	mu     sync.Mutex
	normal int         // GOGC outside of a rush
	over   *time.Timer // ends the rush; nil outside of one
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

// rush raises GOGC until the rush is over, unless the environment sets GOGC or
// GOMEMLIMIT.
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
