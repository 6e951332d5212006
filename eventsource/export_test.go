package eventsource

import "time"

// SetClock makes the client read another clock.
func (c *Client) SetClock(now func() time.Time) { c.now = now }
