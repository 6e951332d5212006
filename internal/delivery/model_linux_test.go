package delivery_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"example.com/tidings/internal/delivery"
)

// A member is a client of the model.
type member struct {
	st   delivery.Stream
	conn *net.TCPConn
	set  string
	form uint8

	lines *bufio.Reader
	ended bool
}

// A model does random things to a shard, and checks the result: a client gets all frames of
// its set since it came, each once and in order, whenever it reads and whether the frames come
// from the set or from the feed.
type model struct {
	*rig
	rand      *rand.Rand
	shardRand *rand.Rand // for the shard's goroutine
	members   []*member
	counts    map[string]int // number of frames, by set

	catchingUp map[delivery.Stream]bool // for the shard's goroutine: see catchUp
}

func TestRandomOperations(t *testing.T) {
	begin := time.Now()
	runs := uint64(0)
	for ; time.Since(begin) < 3*time.Second; runs++ {
		if !t.Run(fmt.Sprint(runs), func(t *testing.T) { runModel(t, runs) }) {
			return
		}
	}
	t.Logf("%d runs", runs)
}

func runModel(t *testing.T, seed uint64) {
	sameDescriptors(t)
	m := &model{
		rig:       newRig(t, delivery.Options{KeepAlive: -1}),
		rand:      rand.New(rand.NewPCG(seed, 4)),
		shardRand: rand.New(rand.NewPCG(seed, 5)),
		counts:    map[string]int{},

		catchingUp: map[delivery.Stream]bool{},
	}
	m.do(t, func() {
		m.testFeed.resettle = m.catchUpOrSettle
		m.testFeed.written = func(slot uint32) { // Send may be pending, not written
			if !m.catchingUp[m.shard.Name(slot)] {
				m.settle(slot)
			}
		}
	})
	largest := 1 << m.rand.IntN(18)
	for range 300 {
		switch m.rand.IntN(12) {
		case 0, 1:
			m.open(t)
		case 2:
			m.leave(t)
		case 3:
			m.forget(t)
		case 4:
			m.reset(t)
		case 5, 6:
			m.read(t)
		default:
			set := fmt.Sprint(m.rand.IntN(3))
			n := 1 + m.rand.IntN(4)
			if m.rand.IntN(20) == 0 {
				n, largest = 1000, min(largest, 1<<10) // so that some streams lag
			}
			var texts []string
			for range n {
				m.counts[set]++
				texts = append(texts, fmt.Sprintf("%s %d %s\n", set, m.counts[set], strings.Repeat("x", m.rand.IntN(1+m.rand.IntN(largest)))))
			}
			m.append(set, texts...)
		}
	}
	m.group.Drain()
	for _, c := range m.members {
		if c.ended {
			continue
		}
		if err := m.check(c, 1<<30); err != nil {
			t.Errorf("%v of set %s, form %d: %v", c.st, c.set, c.form, err)
		}
		c.conn.Close()
	}
	eventually(t, "all streams have ended", func() bool { return m.stats().Streams() == 0 })
	if s := m.stats(); s.Sets != 0 || s.Stalled != 0 || s.Detached != 0 || s.Ends[delivery.Broken]+s.Ends[delivery.Cut]+s.Ends[delivery.TimedOut] > 0 {
		t.Errorf("%+v", s)
	}
	m.group.Drained(nil)
}

// open adds a client.
func (m *model) open(t *testing.T) {
	fd, conn := socket(t)
	c := &member{conn: conn, set: fmt.Sprint(m.rand.IntN(3)), form: uint8(m.rand.IntN(2))}
	if m.rand.IntN(2) == 0 {
		conn.SetReadBuffer(128 << 10)
	}
	c.lines = bufio.NewReader(conn)
	m.do(t, func() {
		m.testFeed.Advance()
		// The client gets the frames after those that the set has had.
		c.st = m.openHere(t, fd, c.set, c.form, fmt.Sprintf("open %d ", len(m.history[c.set])), "\n")
	})
	m.members = append(m.members, c)
}

// pick returns a random client that has not left, or nil.
func (m *model) pick() *member {
	if len(m.members) == 0 {
		return nil
	}
	if c := m.members[m.rand.IntN(len(m.members))]; !c.ended {
		return c
	}
	return nil
}

// leave makes a client leave, in a random way.
func (m *model) leave(t *testing.T) {
	c := m.pick()
	if c == nil {
		return
	}
	c.ended = true
	switch m.rand.IntN(3) {
	case 0:
		c.conn.SetLinger(0)
	case 1:
		c.conn.Write([]byte("more"))
	}
	c.conn.Close()
}

// read makes a client read some bytes, and keeps them for check.
func (m *model) read(t *testing.T) {
	c := m.pick()
	if c == nil {
		return
	}
	c.conn.SetReadDeadline(time.Now().Add(time.Duration(1+m.rand.IntN(3)) * time.Millisecond))
	c.lines.Peek(m.rand.IntN(4096)) // fills the buffer and consumes nothing
	buffered := make([]byte, 1+m.rand.IntN(256<<10))
	n, _ := io.ReadFull(c.lines, buffered)
	c.lines = bufio.NewReader(io.MultiReader(strings.NewReader(string(buffered[:n])), c.lines))
	c.conn.SetReadDeadline(time.Now().Add(patience))
}

// check checks up to most frames, or all frames and the end.
func (m *model) check(c *member, most int) error {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	line, err := c.lines.ReadString('\n')
	var next int
	if _, scanErr := fmt.Sscanf(line, "open %d", &next); scanErr != nil {
		return fmt.Errorf("the first line is %.40q, %w", line, err)
	}
	for ; most > 0; most-- {
		line, err := c.lines.ReadString('\n')
		if strings.HasPrefix(strings.TrimPrefix(line, "]"), "stopping at ") {
			if err != io.EOF || next != m.counts[c.set] {
				return fmt.Errorf("the end comes after %d of %d frames, with %q, %w", next, m.counts[c.set], line, err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d frames: %.40q, %w", next, line, err)
		}
		next++
		line = strings.TrimPrefix(line, "]") // ends the frame before
		if c.form == 1 && !strings.HasPrefix(line, "[") {
			return fmt.Errorf("the frame is not in form 1: %.40q", line)
		}
		if !strings.HasPrefix(strings.TrimPrefix(line, "["), fmt.Sprintf("%s %d ", c.set, next)) {
			return fmt.Errorf("got %.40q, want frame %d", line, next)
		}
	}
	return nil
}

// forget makes each set drop all its frames, or all but the newest.
func (m *model) forget(t *testing.T) {
	m.do(t, func() {
		m.testFeed.Advance()
		for _, set := range m.sets {
			m.shard.Forget(set, m.last-min(m.last, uint64(m.shardRand.IntN(3))))
		}
	})
}

// reset detaches all streams, and drops all frames of the sets. The streams then catch up.
func (m *model) reset(t *testing.T) {
	m.do(t, func() {
		m.testFeed.Advance()
		m.shard.Streams(func(slot uint32) {
			if !m.shard.IsDetached(slot) && !m.shard.IsClosing(slot) {
				m.catchUp(slot, m.shard.Reached(slot, m.last))
			}
		})
		for _, set := range m.sets {
			m.shard.Reset(set, m.last)
		}
	})
}

// catchUpOrSettle returns a stream to its set, either at once or through catchUp.
func (m *model) catchUpOrSettle(slot uint32) {
	if m.shardRand.IntN(2) == 0 {
		m.settle(slot)
		return
	}
	m.catchUp(slot, m.shard.Position(slot))
}

// catchUp detaches a stream, and sends it some of the frames after a position with Send.
func (m *model) catchUp(slot uint32, position uint64) {
	m.shard.Detach(slot)
	st := m.shard.Name(slot)
	set, form := m.shard.SetOf(slot).Key.(string), m.shard.Form(slot)
	m.catchingUp[st] = true
	m.shard.Do(func() {
		delete(m.catchingUp, st)
		if !m.shard.Is(st) {
			return
		}
		var some []delivery.Frame
		for _, f := range m.history[set] {
			if f.Position() > position && len(some) < 5 {
				some = append(some, rawFrame(f.Wire(form)))
				position = f.Position()
			}
		}
		m.shard.Send(slot, some, position)
	})
}
