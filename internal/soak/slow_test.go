//go:build unix

package soak_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/tidings/sse"
)

// One client stops reading and another reads very slowly, while 60 MB are published.
// Healthy clients get everything while the first one still stalls, and the backlog
// takes no memory. When the stalled client reads again, or reconnects because the
// server has closed its connection, it gets every message in order. So does the slow
// client.
func TestSlowSubscriberHurtsNobody(t *testing.T) {
	rounds(t, func(t *testing.T, _ uint64, way path) {
		const messages, batch = 60_000, 200
		healthy := inSoak(10, 500)
		p := (&process{path: way}).serve(t)
		ledger := newLedger(kilobyte(messages, "feed"))
		pub := newPublisher(ledger, func() string { return p.addr }, false)
		defer pub.close()
		ctx, fail := context.WithCancelCause(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer fail(nil)
		check := func(err error) {
			t.Helper()
			if cause := context.Cause(ctx); cause != nil {
				t.Fatal(cause)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		follow := func(receiveBuffer int) *listener {
			t.Helper()
			l, err := listen(ctx, p.addr, "feed", ledger.plan, 0, 1, receiveBuffer)
			check(err)
			context.AfterFunc(ctx, func() { l.close() })
			return l
		}

		var reading sync.WaitGroup // the healthy clients
		for i := range healthy {
			l := follow(0)
			reading.Add(1)
			running.Go(func() {
				defer reading.Done()
				defer l.close()
				if _, err := l.until(ctx, messages, false); err != nil {
					fail(fmt.Errorf("healthy client %d: %w", i, err))
				}
			})
		}
		// One client stops, and the other reads a message now and then.
		stalled, slow := follow(4096), follow(32<<10)
		var hurry atomic.Bool
		var slowReturned int // the server may take a very slow client for a stalled one
		done := make(chan struct{})
		running.Go(func() {
			defer close(done)
			for slow.next < messages {
				n, err := slow.until(ctx, slow.next+1, true)
				if err != nil {
					fail(fmt.Errorf("the slow client: %w", err))
					return
				}
				slowReturned += n
				switch {
				case !hurry.Load():
					sleep(ctx, 5*time.Millisecond)
				case slow.buffer > 0: // reconnect with a larger buffer
					slow.buffer = 0
					slow.close()
				}
			}
		})

		m := watchMemory(p)
		for first, tick := 0, time.Tick(batch*time.Second/pace); first < messages; first += batch {
			<-tick
			check(publishAll(ctx, pub, first, first+batch, batch))
		}
		published := time.Now()
		reading.Wait()
		most, ok := m.stop()
		check(nil)
		t.Logf("%d healthy clients have everything %v after the last message; memory was at most %d MiB", healthy, time.Since(published).Round(time.Millisecond), most>>20)
		if ok && most > mostMemory+int64(healthy)<<17 {
			t.Errorf("the server takes %d MiB of memory", most>>20)
		}
		select {
		case <-done:
			t.Error("the slow client has everything: it is not slow")
		default:
		}

		// The server closes the stalled client's connection, some time after its last
		// complete write.
		awaitSubscribers(t, pub, p.addr, "feed", 1) // the slow one
		stalled.buffer = 0
		returned, err := stalled.until(ctx, messages, true)
		check(err)
		if returned == 0 {
			t.Error("the stalled client's connection was not closed")
		}
		hurry.Store(true)
		<-done
		check(nil)
		t.Logf("the stalled client has reconnected %d times, and the slow one %d times", returned, slowReturned)
		for _, l := range []*listener{stalled, slow} {
			for _, gap := range l.gaps {
				t.Errorf("there is a gap: %s", gap.Data)
			}
		}
	})
}

// pace is the number of messages of 1 kB published per second while clients stall.
// mostMemory is how much memory the server may take then, besides 128 kB for each
// healthy client. The log keeps its newest 4 MiB, the newest part of its index, and up to
// 40 MiB of Pebble. The window has 8,192 messages, 10 MB. A heap may be twice its contents,
// and sometimes a little more. An idle server takes 30 MB. If the server kept the unread messages of a stalled
// client, that would be 60 MB more, and also twice.
const (
	pace       = 3000
	mostMemory = 224 << 20
)

// A memoryWatch watches the memory of a process, in bytes.
type memoryWatch struct {
	begin int64 // the memory at the beginning, in bytes
	most  int64
	ok    bool
	quit  chan struct{}
	done  chan struct{}
}

func watchMemory(p *process) *memoryWatch {
	m := &memoryWatch{quit: make(chan struct{}), done: make(chan struct{})}
	m.begin, m.ok = p.memory()
	go func() {
		defer close(m.done)
		for tick := time.Tick(50 * time.Millisecond); ; {
			now, ok := p.memory()
			m.most, m.ok = max(m.most, now), m.ok && ok
			select {
			case <-tick:
			case <-m.quit:
				return
			}
		}
	}()
	return m
}

// stop returns the peak of memory. ok is false if the system does not tell.
func (m *memoryWatch) stop() (most int64, ok bool) {
	close(m.quit)
	<-m.done
	return m.most, m.ok
}

// awaitSubscribers waits until a topic has at most the given number of subscribers.
func awaitSubscribers(t *testing.T, pub *publisher, addr, topic string, most int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var info struct{ Subscribers int }
		if err := get(pub, addr, "/topics/"+topic, &info); err != nil {
			t.Fatal(err)
		}
		if info.Subscribers <= most {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %v topic %s has %d subscribers", patience, topic, info.Subscribers)
		}
	}
}

// A client stalls until retention has removed messages that it has not read, and then
// reads again on the same connection. It gets one gap with the number of missed
// messages, and then the rest in order.
func TestSlowSubscriberBeyondRetention(t *testing.T) {
	bothPaths(t, testSlowBeyondRetention)
}

func testSlowBeyondRetention(t *testing.T, way path) {
	const messages, batch = 30_000, 500
	for attempt := range 5 {
		p := (&process{args: []string{"--retention-bytes", "8MiB", "--buffer", "1000"}, path: way}).serve(t)
		ledger := newLedger(kilobyte(messages, "feed", "other"))
		pub := newPublisher(ledger, func() string { return p.addr }, false)
		defer pub.close()
		l, err := listen(t.Context(), p.addr, "feed", ledger.plan, 0, 2, 4096)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		begin := time.Now()
		if err := publishAll(t.Context(), pub, 0, messages, batch); err != nil {
			t.Fatal(err)
		}
		before := -2
		for l.next < messages && err == nil {
			if l.next >= 0 {
				before = l.next - l.step
			}
			gaps := len(l.gaps)
			if err = l.take(); err == nil && len(l.gaps) > gaps {
				if err = l.take(); err == nil {
					checkGap(t, ledger, l, before, sse.GapLag, uint64((l.next-l.step-before)/l.step-1))
				}
			}
		}
		if err == nil {
			if len(l.gaps) != 1 {
				t.Errorf("there are %d gaps: %+v", len(l.gaps), l.gaps)
			}
			return
		}
		if time.Since(begin) < 9*time.Second {
			t.Fatalf("after message %d of %d: %v", l.next, messages, err)
		}
		t.Logf("attempt %d: the machine is too slow, and the server has closed the connection: %v", attempt, err)
	}
	const why = "the machine is too slow to stall and read again within the write timeout"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// checkGap checks a listener's only gap. The listener must just have taken the first
// message after it.
func checkGap(t *testing.T, ledger *ledger, l *listener, before int, reason string, missed uint64) {
	t.Helper()
	if len(l.gaps) != 1 {
		t.Fatalf("there are %d gaps: %+v", len(l.gaps), l.gaps)
	}
	var gap struct {
		Reason, After, Next string
		Missed              uint64
	}
	if err := json.Unmarshal([]byte(l.gaps[0].Data), &gap); err != nil {
		t.Fatal(err)
	}
	seq := func(id string) uint64 {
		s, err := sequence(id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if gap.Reason != reason || gap.Missed != missed {
		t.Errorf("the gap is %s; it should be %q with %d missed", l.gaps[0].Data, reason, missed)
	}
	if l.gaps[0].ID != gap.Next {
		t.Errorf("the gap %s has the id %s", l.gaps[0].Data, l.gaps[0].ID)
	}
	// The positions must be in this order: the last message before the gap, the first
	// missed one, the last missed one, and the first message after the gap.
	first := l.next - l.step
	places := []uint64{seq(gap.After), seq(ledger.ids[before+l.step]) - 1, seq(ledger.ids[first-l.step]), seq(gap.Next), seq(ledger.ids[first]) - 1}
	if before >= 0 {
		places = append([]uint64{seq(ledger.ids[before])}, places...)
	}
	for i := 1; i < len(places); i++ {
		if places[i] < places[i-1] {
			t.Errorf("the gap %s between messages %d and %d is not between them: %d", l.gaps[0].Data, before, first, places)
		}
	}
}

// A client reconnects after retention has removed its last message. It gets one gap and
// then the rest in order.
func TestReturnBeyondRetention(t *testing.T) {
	bothPaths(t, testReturnBeyondRetention)
}

func testReturnBeyondRetention(t *testing.T, way path) {
	const messages, batch, seen = 30_000, 500, 100
	p := (&process{args: []string{"--retention-bytes", "8MiB", "--buffer", "1000"}, path: way}).serve(t)
	ledger := newLedger(kilobyte(messages, "feed", "other"))
	pub := newPublisher(ledger, func() string { return p.addr }, false)
	defer pub.close()
	l, err := listen(t.Context(), p.addr, "feed", ledger.plan, 0, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { l.close() }()
	if err := publishAll(t.Context(), pub, 0, seen, seen); err != nil {
		t.Fatal(err)
	}
	if _, err := l.until(t.Context(), seen, false); err != nil {
		t.Fatal(err)
	}
	l.close()
	if err := publishAll(t.Context(), pub, seen, messages, batch); err != nil {
		t.Fatal(err)
	}
	if err := l.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Take the gap and the first message after it.
	for range 2 {
		if err := l.take(); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.gaps) != 1 || l.gaps[0].Type != sse.GapEventType {
		t.Fatalf("there are %d gaps", len(l.gaps))
	}
	checkGap(t, ledger, l, seen-2, sse.GapExpired, 0)
	if _, err := l.until(t.Context(), messages, false); err != nil {
		t.Fatal(err)
	}
	if len(l.gaps) != 1 {
		t.Errorf("there are %d gaps: %+v", len(l.gaps), l.gaps)
	}
}
