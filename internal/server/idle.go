package server

import "time"

// How long a connection may be idle.
//
// net/http closes one of HTTP/1 after idleTimeout. It would do the same with one of HTTP/2, but its timer
// begins again whenever the last stream ends, even with the connection. All that net/http has of a connection, with
// its tables of HPACK and its buffers, would then stay in memory for idleTimeout. So it has no
// such timer here, and retire ends these connections.
const (
	idleTimeout  = 2 * time.Minute
	retiresEvery = time.Second // at most so often
)

// retireLater has idle connections of HTTP/2 retired. The caller has c.mu.
func (c *connections) retireLater(after time.Duration) {
	if !c.retiring {
		c.retiring = true
		time.AfterFunc(max(retiresEvery, after), c.retire)
	}
}

// retire ends the connections of HTTP/2 that have been idle for idleTimeout.
func (c *connections) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retiring = false
	now := uptime()
	for _, q := range [...]*queue{&c.fresh, &c.idle} {
		for k := q.root.next; k != &q.root; {
			left := idleTimeout - (now - k.since)
			if left > 0 {
				c.retireLater(left)
				break
			}
			next := k.next
			if k.http2 != nil && !k.http2.retire(k.newest) {
				c.wait(k) // net/http is about to get a request
			}
			k = next
		}
	}
}

// idleEvery is how often endIdle looks.
const idleEvery = 50 * time.Millisecond

// endIdle closes connections of HTTP/2 that have no request, until done is closed. The server has told
// their clients that it goes away (RFC 9113, section 6.8), and net/http would wait for them for a second.
func (c *connections) endIdle(done <-chan struct{}) {
	ticker := time.NewTicker(idleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-done:
			return
		}
		c.mu.Lock()
		for _, q := range [...]*queue{&c.fresh, &c.idle} {
			for k := q.root.next; k != &q.root; {
				next := k.next
				if k.http2 != nil { // net/http closes those of HTTP/1
					k.close()
				}
				k = next
			}
		}
		c.mu.Unlock()
	}
}
