//go:build unix

package soak_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// After a server is killed while it stores a batch, the log has the beginning of the
// batch, in order and without a hole. When the client sends the batch again with its
// keys, the server stores the rest, and no message twice.
func TestBatchCutInTheMiddle(t *testing.T) {
	const messages, attempts = 10_000, 8 // the largest batch has 10,000 messages
	cuts := 0
	for attempt := range attempts {
		stored, err := cutBatch(t, path(attempt)%paths, messages)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("attempt %d: killed after %d messages of %d were stored", attempt, stored, messages)
		if stored > 0 && stored < messages {
			if cuts++; cuts == 2 {
				return
			}
		}
	}
	if cuts == 0 {
		t.Errorf("in %d attempts no batch was cut in the middle", attempts)
	}
}

// cutBatch kills a server while it stores a batch, checks the stored messages, and sends
// the batch again. It returns how many messages were stored before.
func cutBatch(t *testing.T, way path, messages int) (stored int, err error) {
	t.Helper()
	plan := make([]message, messages)
	for i := range plan {
		plan[i] = message{Topic: "feed", Data: fmt.Sprintf("%d %s", i, strings.Repeat("of a batch ", 60)), Key: fmt.Sprintf("key-%d", i)}
	}
	ledger := newLedger(plan)
	p := (&process{path: way}).serve(t)
	addr := p.addr
	pub := newPublisher(ledger, func() string { return addr }, false)
	defer pub.close()
	l, err := listen(t.Context(), addr, "feed", plan, 0, 1, 0)
	if err != nil {
		return 0, err
	}
	defer func() { l.close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	posted := make(chan error, 1)
	go func() {
		err := pub.batch(ctx, 0, messages)
		if err != nil {
			l.close() // otherwise it would wait for ever
		}
		posted <- err
	}()
	// When a first message arrives, some messages are stored.
	if err := l.take(); err != nil {
		return 0, fmt.Errorf("%w; the batch: %v", err, <-posted)
	}
	p.kill()
	if err := <-posted; err == nil {
		return messages, nil
	}
	l.close()
	if err := p.start(); err != nil {
		return 0, err
	}
	var info, after struct{ Count int }
	if err := get(pub, addr, "/topics/feed", &info); err != nil {
		return 0, err
	}
	whole := &listener{addr: addr, query: url.Values{"topic": {"feed"}, "from": {"start"}}, plan: plan, step: 1}
	if err := whole.open(t.Context()); err != nil {
		return 0, err
	}
	defer whole.close()
	// The stored messages come in order, without a hole, and unchanged.
	if _, err := whole.until(t.Context(), info.Count, false); err != nil {
		return 0, err
	}
	if err := pub.batch(ctx, 0, messages); err != nil {
		return 0, err
	}
	order, err := ledger.order()
	if err != nil {
		return 0, err
	}
	for i, o := range order {
		if o.n != i || o.seq != order[0].seq+uint64(i) {
			return 0, fmt.Errorf("message %d of the batch is stored with the sequence number %d, as %s", o.n, i, o.id)
		}
	}
	// Then the rest comes, once, to a connected client and to one that reconnects.
	if err := l.open(t.Context()); err != nil {
		return 0, err
	}
	for _, each := range []*listener{whole, l} {
		if _, err := each.until(t.Context(), messages, false); err != nil {
			return 0, err
		}
		if each.lastID != order[messages-1].id {
			return 0, fmt.Errorf("the last message comes as %s, but was acknowledged as %s", each.lastID, order[messages-1].id)
		}
		if len(each.gaps) > 0 {
			return 0, fmt.Errorf("there is a gap: %s", each.gaps[0].Data)
		}
	}
	if err := get(pub, addr, "/topics/feed", &after); err != nil || after.Count != messages {
		return 0, fmt.Errorf("the topic has %d messages, want %d (%v)", after.Count, messages, err)
	}
	return info.Count, nil
}
