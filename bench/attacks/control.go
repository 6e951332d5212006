//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// controlCommand makes this program the control group of a server.
const controlCommand = "control-group"

// A controlSize says how large the control group is.
type controlSize struct {
	Taken, Plain int           // subscribers on HTTP/1.1 and on HTTP/1.0, which stays with net/http
	Every        time.Duration // between two messages
}

var fullControl = controlSize{Taken: 50, Plain: 5, Every: 50 * time.Millisecond}

// A controlReport is what the control group has seen since its last report.
type controlReport struct {
	Delivery measure.Spread // from when a message was due until a subscriber had it
	Lost     int            // acknowledged messages that a subscriber has passed over
	Overdue  int            // acknowledged messages that have not come for longer than overdue
	Oldest   float64        // age of the oldest message that has not come or is not acknowledged, in milliseconds
	Twice    int            // messages that came again, or late
	Cut      int            // streams that the server has ended
	Gaps     int            // events tidings.gap
	Acked    []int          // numbers of the messages that were acknowledged since the beginning
	Newcomer newcomerReport
}

// overdue is the delay from which on a message counts as lost at the end of a trial.
const overdue = 3 * time.Second

// A control is a control group in a process of its own, so that the load of the attack does
// not delay its reading. Its methods must be called by one goroutine.
type control struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

// startControl starts a control group. It has all its subscribers when startControl returns.
func startControl(addr string, size controlSize) (*control, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(size)
	if err != nil {
		return nil, err
	}
	c := &control{cmd: exec.Command(self, controlCommand, addr, string(b))}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.lines = bufio.NewReaderSize(out, 1<<20)
	if _, err := c.lines.ReadString('\n'); err != nil {
		c.stop()
		return nil, fmt.Errorf("the control group: %w", err)
	}
	return c, nil
}

// report ends a phase, and returns what was seen in it.
func (c *control) report() (r controlReport, err error) {
	if _, err := fmt.Fprintln(c.in, "report"); err != nil {
		return r, err
	}
	line, err := c.lines.ReadBytes('\n')
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(line, &r)
}

func (c *control) stop() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// controlMain is the control group's process. It reports for each line of its stdin.
func controlMain(addr string, args []string) error {
	var size controlSize
	if len(args) != 1 {
		return fmt.Errorf("%s needs an address and a size", controlCommand)
	}
	if err := json.Unmarshal([]byte(args[0]), &size); err != nil {
		return err
	}
	g := &group{addr: addr, size: size}
	ctx := context.Background() // the process is killed
	for i := range size.Taken + size.Plain {
		m := &member{group: g, protocol: "1.1"}
		if i >= size.Taken {
			m.protocol = "1.0"
		}
		g.members = append(g.members, m)
		opened := make(chan struct{})
		go m.follow(ctx, opened)
		select {
		case <-opened:
		case <-time.After(10 * time.Second):
			return fmt.Errorf("subscriber %d has no stream", i)
		}
	}
	go g.publish(ctx)
	go g.newcomers.come(ctx, addr)
	fmt.Println("ready")
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := out.Encode(g.report(time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// controlTopic is the topic of the control group.
const controlTopic = "control.group"

// A group publishes numbered messages, and follows them with its members.
type group struct {
	addr      string
	size      controlSize
	members   []*member
	newcomers newcomers

	mu               sync.Mutex
	due              []time.Time // when each message had to be sent
	acked            []int       // the numbers of those that were acknowledged, ascending
	delays           []int64     // since the last report, in nanoseconds
	twice, cut, gaps int
}

// A member is a subscriber that comes back when its stream ends.
type member struct {
	group    *group
	protocol string

	// Guarded by group.mu.
	got     []bool // by number
	checked int    // how many of group.acked were looked for in got
}

// publish publishes a message at each time that one is due, on a connection that it keeps, as
// publishers do. A slow server does not make the others due later. (Newcomers have a new
// connection each time.)
func (g *group) publish(ctx context.Context) {
	client := &http.Client{Timeout: 20 * time.Second}
	begin := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		due := begin.Add(time.Duration(n) * g.size.Every)
		time.Sleep(time.Until(due))
		g.mu.Lock()
		g.due = append(g.due, due)
		g.mu.Unlock()
		if g.send(ctx, client, n) {
			g.mu.Lock()
			g.acked = append(g.acked, n)
			g.mu.Unlock()
		}
	}
}

// send publishes the nth message, and reports whether it is stored. The key lets the client send
// it again if the server has closed the connection.
func (g *group) send(ctx context.Context, client *http.Client, n int) bool {
	body := fmt.Sprintf("n%d", n)
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+g.addr+"/topics/"+controlTopic, strings.NewReader(body))
	if err != nil {
		panic(err) // the address is wrong
	}
	req.Header.Set("Idempotency-Key", body)
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	return res.StatusCode == http.StatusCreated || res.StatusCode == http.StatusOK
}

// follow reads the stream, again and again. It closes opened when it has one.
func (m *member) follow(ctx context.Context, opened chan struct{}) {
	lastID := ""
	for ctx.Err() == nil {
		conn, err := dialTo(m.group.addr, 0, 10*time.Second)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		extra := ""
		if lastID != "" {
			extra = "Last-Event-ID: " + lastID + "\r\n"
		}
		fmt.Fprintf(conn, "GET /events?topic=%s HTTP/%s\r\nHost: localhost\r\n%s\r\n", controlTopic, m.protocol, extra)
		for r := bufio.NewReader(conn); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				break
			}
			if id, ok := strings.CutPrefix(line, "id: "); ok {
				lastID = strings.TrimSpace(id)
				if opened != nil {
					close(opened)
					opened = nil
				}
			}
			m.take(line)
		}
		conn.Close()
		m.group.mu.Lock()
		m.group.cut++
		m.group.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
	}
}

// take takes a line of the stream.
func (m *member) take(line string) {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if strings.HasPrefix(line, "event: tidings.gap") {
		g.gaps++
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(line), "data: n")
	n, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil || n >= len(g.due):
	case n < len(m.got):
		g.twice++
	default:
		g.delays = append(g.delays, int64(time.Since(g.due[n])))
		m.got = append(m.got, make([]bool, n+1-len(m.got))...)
		m.got[n] = true
	}
}

// report returns what was seen since the last report. A message that is under way, or that
// could not be published yet, counts with the delay that it has already.
func (g *group) report(now time.Time) controlReport {
	newcomer := g.newcomers.report(now)
	g.mu.Lock()
	defer g.mu.Unlock()
	r := controlReport{Twice: g.twice, Cut: g.cut, Gaps: g.gaps, Acked: g.acked, Newcomer: newcomer}
	pending := len(g.due) > len(g.acked) && (len(g.acked) == 0 || g.acked[len(g.acked)-1] < len(g.due)-1)
	for _, m := range g.members {
		for ; m.checked < len(g.acked) && g.acked[m.checked] < len(m.got); m.checked++ {
			if !m.got[g.acked[m.checked]] {
				r.Lost++
			}
		}
		for _, n := range g.acked[m.checked:] {
			age := now.Sub(g.due[n])
			g.delays = append(g.delays, int64(age))
			r.Oldest = max(r.Oldest, milliseconds(age))
			if age > overdue {
				r.Overdue++
			}
		}
		if n := len(g.due) - 1; pending {
			age := now.Sub(g.due[n])
			g.delays = append(g.delays, int64(age))
			r.Oldest = max(r.Oldest, milliseconds(age))
		}
	}
	r.Delivery = measure.NewSpread(g.delays)
	g.delays, g.twice, g.cut, g.gaps = nil, 0, 0, 0
	return r
}
