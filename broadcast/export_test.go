package broadcast

// Waiting returns how many receivers are on the wait list.
func (c *Channel[T]) Waiting() int {
	return int(c.wait.length.Load())
}

// AddToken leaves a stale token for s.
func (s *Subscription[T]) AddToken() { s.token() }
