package server

import (
	"context"
	"net/http"
	"time"

	"example.com/tidings/internal/yield"
)

// hangUpEvery is how often the server looks whether clients of streams that net/http serves have hung
// up. net/http finds out by reading, which it stops once such a client has sent something.
const hangUpEvery = 2 * time.Second

// cancellable returns the request of a stream with a context that ends when the client has hung up, and
// a function that ends it.
func (c *connections) cancellable(r *http.Request) (*http.Request, context.CancelFunc) {
	if r.ProtoMajor != 1 { // net/http reads on from a connection of HTTP/2
		return r, func() {}
	}
	ctx, cancel := context.WithCancel(r.Context())
	k := connectionOf(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if k != nil && !k.gone {
		k.cancel = cancel
		c.lookLater()
	}
	return r.WithContext(ctx), cancel
}

// lookLater has the server look soon. The caller has c.mu.
func (c *connections) lookLater() {
	if !c.looking {
		c.looking = true
		time.AfterFunc(hangUpEvery, c.look)
	}
}

// look ends the streams whose clients have hung up.
func (c *connections) look() {
	var streams []*connection
	c.mu.Lock()
	for _, k := range c.known {
		if k.streams > 0 && k.cancel != nil {
			streams = append(streams, k)
		}
	}
	c.looking = false
	if len(streams) > 0 {
		c.lookLater()
	}
	c.mu.Unlock()
	var work yield.Work
	for _, k := range streams {
		if hungUp(k.conn) {
			c.cancelStream(k)
		}
		work.Did(pollNanos)
	}
}

// pollNanos is about what it costs to ask for the state of a connection.
const pollNanos = 1000

// cancelStream ends the stream of a connection, if there is one still.
func (c *connections) cancelStream(k *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.streams > 0 && k.cancel != nil {
		k.cancel()
	}
}
