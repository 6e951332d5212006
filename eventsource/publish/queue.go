package publish

import "context"

// A call is one call of Publish.
type call struct {
	item     *item
	finished chan struct{} // closed when the item has its result
	group    *group        // the request that has taken it, if any
}

// A group is the calls whose messages are in one request.
type group struct {
	calls  []*call
	left   int // calls that still wait; guarded by the client's lock
	cancel context.CancelFunc
}

// enqueue adds a call to those that wait for a request. It starts a goroutine
// that ends when none waits any more.
func (c *Client) enqueue(call *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, call)
	if !c.sending {
		c.sending = true
		go c.sendWaiting()
	}
}

func (c *Client) sendWaiting() {
	for {
		g, ctx := c.take()
		if g == nil {
			return
		}
		items := make([]*item, len(g.calls))
		for i, call := range g.calls {
			items[i] = call.item
		}
		c.deliver(ctx, items)
		g.cancel()
		c.mu.Lock()
		for _, call := range g.calls {
			close(call.finished)
		}
		c.mu.Unlock()
	}
}

// take takes the calls of the next request.
func (c *Client) take() (*group, context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.sending, c.waiting = false, nil
		return nil, nil
	}
	n, bytes := 0, 0
	for n < len(c.waiting) && n < batchMessages {
		bytes += len(c.waiting[n].item.line)
		if n > 0 && bytes > batchBytes {
			break
		}
		n++
	}
	g := &group{calls: c.waiting[:n:n], left: n}
	c.waiting = c.waiting[n:]
	for _, call := range g.calls {
		call.group = g
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	return g, ctx
}

// leave takes a call back whose context is done. If its message is in a request
// that is under way, the message may be stored. When all calls of a request have
// left, the request is broken off.
func (c *Client) leave(call *call, cause error) Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-call.finished:
		return call.item.result
	default:
	}
	r := Result{Key: call.item.result.Key, Err: cause}
	if g := call.group; g != nil {
		r.Outcome = Unknown
		if g.left--; g.left == 0 {
			g.cancel()
		}
		return r
	}
	for i, other := range c.waiting {
		if other == call {
			c.waiting = append(c.waiting[:i:i], c.waiting[i+1:]...)
			break
		}
	}
	return r
}
