package soak_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// An auditor measures the resources of a process. It is for one goroutine.
type auditor struct {
	p      *process
	client *http.Client
}

// audit returns an auditor. It keeps one connection open until the test ends.
func audit(t *testing.T, p *process) *auditor {
	a := &auditor{p, &http.Client{Transport: &http.Transport{}, Timeout: patience}}
	t.Cleanup(a.close)
	return a
}

func (a *auditor) close() { a.client.CloseIdleConnections() }

// figures has the metrics of a process, by name and labels.
type figures map[string]float64

// sum adds up the figures with a name and labels.
func (f figures) sum(name string, labels ...string) int {
	n := 0.0
next:
	for key, v := range f {
		if key != name && !strings.HasPrefix(key, name+"{") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(key, label) {
				continue next
			}
		}
		n += v
	}
	return int(n)
}

// timedOut returns how many streams were closed because their clients did not read.
func (f figures) timedOut() int {
	return f.sum("tidings_delivery_ends_total", `reason="write timeout"`)
}

// left returns how many streams ended because their clients left.
func (f figures) left() int { return f.sum("tidings_delivery_ends_total", `reason="client left"`) }

// figures returns the process's metrics.
func (a *auditor) figures(t *testing.T) figures {
	t.Helper()
	res, err := a.client.Get("http://" + a.p.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	f := figures{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		line := lines.Text()
		i := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		if f[line[:i]], err = strconv.ParseFloat(line[i+1:], 64); err != nil {
			t.Fatal(err)
		}
	}
	if res.StatusCode != http.StatusOK || len(f) == 0 {
		t.Fatalf("GET /metrics: %s", res.Status)
	}
	return f
}

// An account has the resources of a process, for its clients and otherwise.
type account struct {
	streams    int // streams that were taken over
	portable   int // streams that were not taken over
	sockets    int // sockets, without those of streams
	files      int // descriptors, without those of streams
	goroutines int
}

// account returns the current account.
func (a *auditor) account(t *testing.T) account {
	t.Helper()
	f := a.figures(t)
	streams := f.sum("tidings_streams", `path="taken over"`)
	return account{
		streams:    streams,
		portable:   f.sum("tidings_streams", `path="net/http"`),
		sockets:    a.p.sockets(t) - streams,
		files:      f.sum("process_open_fds") - streams,
		goroutines: f.sum("go_goroutines"),
	}
}

// rest waits until the account of a process does not change any more, and returns it.
func (a *auditor) rest(t *testing.T) account {
	t.Helper()
	last, same := account{}, 0
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		now := a.account(t)
		same++
		if now.streams != last.streams || now.sockets != last.sockets || now.goroutines > last.goroutines+slack || now.goroutines < last.goroutines-slack {
			same, last = 0, now
		}
		if same == 3 {
			return last
		}
		if time.Now().After(end) {
			t.Fatalf("after %v the server is not at rest: %+v", patience, now)
		}
	}
}

// slack is how much the number of goroutines, and of files that are no sockets, may vary
// without clients: the log and its index open and close files.
const slack = 10

// awaitReturn waits until the process has its former account again. Up to mayEnd streams
// may have ended.
func (a *auditor) awaitReturn(t *testing.T, was account, mayEnd int) {
	t.Helper()
	begin := time.Now()
	for {
		now := a.account(t)
		if now.streams <= was.streams && now.streams >= was.streams-mayEnd && now.portable == was.portable && now.sockets == was.sockets &&
			now.files <= was.files+slack && now.goroutines <= was.goroutines+slack {
			t.Logf("after %v the server has its former account: %+v", time.Since(begin).Round(time.Millisecond), now)
			return
		}
		if time.Since(begin) > patience {
			t.Fatalf("after %v the server does not have its former account:\n\t%+v, was\n\t%+v", patience, now, was)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// sockets returns how many sockets the process has.
func (p *process) sockets(t *testing.T) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd/", p.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink(dir + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// cpu returns the processor time of the process, user and system.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// The name, in parentheses, is the second field; times are in hundredths of a
	// second (proc(5)).
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	ticks := 0
	for _, field := range fields[11:13] {
		n, ok := natural(field)
		if !ok {
			t.Fatalf("%q is not a processor time", field)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
