package soak_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// reused has clients that reset their connection and at once open another one, to
// another topic. The server gets the same descriptor for it. No message of the old topic
// may come to the new stream, live or from the log.
func (ft *faultTest) reused(t *testing.T) {
	const topics, clients, each = 8, 32, 40
	var traffics []*traffic
	for i := range topics {
		tr := newTraffic(t, ft.server.addr, fmt.Sprintf("reused-%d", i), 20)
		tr.flow(t, 5*time.Millisecond, 2)
		traffics = append(traffics, tr)
	}
	var messages atomic.Int64
	var running sync.WaitGroup
	failed := make(chan error, clients)
	begin := time.Now()
	for range clients {
		running.Go(func() {
			at := rand.IntN(topics)
			for range each {
				at = (at + 1 + rand.IntN(topics-1)) % topics
				n, err := visit(traffics[at])
				messages.Add(int64(n))
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	running.Wait()
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
	t.Logf("%d connections with %d messages in %v", clients*each, messages.Load(), time.Since(begin).Round(time.Millisecond))
	for _, tr := range traffics {
		tr.close()
	}
	ft.check(t)
}

// visit subscribes to a traffic's topic, takes some messages, and resets the
// connection. Every message must be of that topic, and none may be missing.
func visit(tr *traffic) (messages int, err error) {
	c, err := newCrowd(tr.pub.addr())
	if err != nil {
		return 0, err
	}
	defer c.close()
	members, err := c.join(tr.topic, 1, connectOptions{start: rand.IntN(2) == 0})
	if err != nil {
		return 0, err
	}
	m, want := members[0], rand.IntN(4)
	err = c.until(fmt.Sprintf("%d messages have come", want), func() bool {
		messages = 0
		if m.first >= 0 {
			messages = m.next - m.first
		}
		return messages >= want || m.end != nil
	})
	c.do(func() {
		if m.end != nil {
			err = errors.Join(err, fmt.Errorf("a stream has ended: %w", m.end))
			return
		}
		m.cut()
	})
	if err == nil && m.first >= 0 {
		// The acknowledgement may come after the message.
		for end := time.Now().Add(patience); tr.acked() < m.next; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				return messages, fmt.Errorf("message %d of %s has come but is not acknowledged", m.next-1, tr.topic)
			}
		}
		err = m.beganRight(tr.ledger)
	}
	return messages, err
}
