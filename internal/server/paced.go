package server

import (
	"net"
	"runtime"
)

// acceptAtOnce is how many connections are accepted before those that were get a turn.
const acceptAtOnce = 16

// A pacedListener does not accept connections faster than they are served. When
// thousands come at once, others wait in the kernel, and not in the scheduler's queues,
// where everything else would have to wait behind them: the next message, too. It is
// used by one goroutine.
type pacedListener struct {
	net.Listener
	accepted int
}

func (l *pacedListener) Accept() (net.Conn, error) {
	if l.accepted++; l.accepted%acceptAtOnce == 0 {
		runtime.Gosched()
	}
	return l.Listener.Accept()
}
