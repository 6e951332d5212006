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

// A member is a client of the model, and what it is to have read at the end.
type member struct {
	st   delivery.Stream
	conn *net.TCPConn
	set  string
	form uint8

	lines *bufio.Reader
	ended bool
}

// A model does things to a shard at random, and knows what has to come of it: of each
// set a client gets all the frames from when it came, each once and in order, whatever
// it reads when and wherever they come from.
type model struct {
	*rig
	rand    *rand.Rand
	inside  *rand.Rand // the shard's goroutine's
	members []*member
	counts  map[string]int // frames of a set

	strolling map[delivery.Stream]bool // those for which something is looked for; inside, too
}

func TestWhateverHappens(t *testing.T) {
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
		rig:    newRig(t, delivery.Options{KeepAlive: -1}),
		rand:   rand.New(rand.NewPCG(seed, 4)),
		inside: rand.New(rand.NewPCG(seed, 5)),
		counts: map[string]int{},

		strolling: map[delivery.Stream]bool{},
	}
	m.do(t, func() {
		m.desk.resettle = m.strollOrSettle
		m.desk.written = func(slot uint32) { // it may be the rest of a frame
			if !m.strolling[m.shard.Name(slot)] {
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
				n, largest = 1000, min(largest, 1<<10) // so that some are far behind
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
	eventually(t, "all have ended", func() bool { return m.stats().Streams() == 0 })
	if s := m.stats(); s.Sets != 0 || s.Stalled != 0 || s.Detached != 0 || s.Ends[delivery.Broken]+s.Ends[delivery.Cut]+s.Ends[delivery.TimedOut] > 0 {
		t.Errorf("%+v", s)
	}
	m.group.Drained(nil)
}

// open has one more client come.
func (m *model) open(t *testing.T) {
	fd, conn := socket(t)
	c := &member{conn: conn, set: fmt.Sprint(m.rand.IntN(3)), form: uint8(m.rand.IntN(2))}
	if m.rand.IntN(2) == 0 {
		conn.SetReadBuffer(128 << 10)
	}
	c.lines = bufio.NewReader(conn)
	m.do(t, func() {
		m.desk.Advance()
		// What follows is after all that there was.
		c.st = m.openHere(t, fd, c.set, c.form, fmt.Sprintf("open %d ", len(m.had[c.set])), "\n")
	})
	m.members = append(m.members, c)
}

// pick returns one of those that are still there, or nil.
func (m *model) pick() *member {
	if len(m.members) == 0 {
		return nil
	}
	if c := m.members[m.rand.IntN(len(m.members))]; !c.ended {
		return c
	}
	return nil
}

// leave has a client leave, somehow.
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

// read has a client read some of what it was sent, and checks that.
func (m *model) read(t *testing.T) {
	c := m.pick()
	if c == nil {
		return
	}
	c.conn.SetReadDeadline(time.Now().Add(time.Duration(1+m.rand.IntN(3)) * time.Millisecond))
	c.lines.Peek(m.rand.IntN(4096)) // so that what is read of a line is kept
	buffered := make([]byte, 1+m.rand.IntN(256<<10))
	n, _ := io.ReadFull(c.lines, buffered)
	c.lines = bufio.NewReader(io.MultiReader(strings.NewReader(string(buffered[:n])), c.lines))
	c.conn.SetReadDeadline(time.Now().Add(patience))
}

// check reads up to so many frames, or to the end.
func (m *model) check(c *member, most int) error {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	line, err := c.lines.ReadString('\n')
	var next int
	if _, scanErr := fmt.Sscanf(line, "open %d", &next); scanErr != nil {
		return fmt.Errorf("it begins with %.40q, %w", line, err)
	}
	for ; most > 0; most-- {
		line, err := c.lines.ReadString('\n')
		if strings.TrimSuffix(line, "\r\n") == "0" || line == "]0\r\n" {
			rest, err := io.ReadAll(c.lines)
			if string(rest) != "\r\n" || err != nil || next != m.counts[c.set] {
				return fmt.Errorf("the end comes after %d of %d frames, with %q, %w", next, m.counts[c.set], rest, err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d frames: %.40q, %w", next, line, err)
		}
		next++
		line = strings.TrimPrefix(line, "]") // of the frame before
		if c.form == 1 && !strings.HasPrefix(line, "[") {
			return fmt.Errorf("it has no form 1: %.40q", line)
		}
		if !strings.HasPrefix(strings.TrimPrefix(line, "["), fmt.Sprintf("%s %d ", c.set, next)) {
			return fmt.Errorf("when %d is next comes %.40q", next, line)
		}
	}
	return nil
}

// forget has a set drop what it has, or some of it.
func (m *model) forget(t *testing.T) {
	m.do(t, func() {
		m.desk.Advance()
		for _, set := range m.sets {
			m.shard.Forget(set, m.last-min(m.last, uint64(m.inside.IntN(3))))
		}
	})
}

// reset has everyone leave the sets, for a while.
func (m *model) reset(t *testing.T) {
	m.do(t, func() {
		m.desk.Advance()
		m.shard.Streams(func(slot uint32) {
			if !m.shard.IsDetached(slot) && !m.shard.IsClosing(slot) {
				m.stroll(slot, m.shard.Reached(slot, m.last))
			}
		})
		for _, set := range m.sets {
			m.shard.Reset(set, m.last)
		}
	})
}

// strollOrSettle finds the place of a stream again, or has it go for it.
func (m *model) strollOrSettle(slot uint32) {
	if m.inside.IntN(2) == 0 {
		m.settle(slot)
		return
	}
	m.stroll(slot, m.shard.Position(slot))
}

// stroll has a stream get some of its frames by Send, after a position.
func (m *model) stroll(slot uint32, position uint64) {
	m.shard.Detach(slot)
	st := m.shard.Name(slot)
	set, form := m.shard.SetOf(slot).Key.(string), m.shard.Form(slot)
	m.strolling[st] = true
	m.shard.Do(func() {
		delete(m.strolling, st)
		if !m.shard.Is(st) {
			return
		}
		var some []delivery.Frame
		for _, f := range m.had[set] {
			if f.Position() > position && len(some) < 5 {
				some = append(some, piece(f.Wire(form)))
				position = f.Position()
			}
		}
		m.shard.Send(slot, some, position)
	})
}
