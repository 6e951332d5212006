package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// A process reads the figures of the server's process from /proc.
type process struct{ dir string }

// tick is the unit of times in /proc, on every architecture that Go supports.
const tick = 10 * time.Millisecond

// newProcess returns the process with a PID. Its error says in one line why the
// process cannot be measured.
func newProcess(pid int) (*process, error) {
	p := &process{dir: "/proc/" + strconv.Itoa(pid)}
	_, err := p.cpu()
	if err == nil {
		_, err = p.memory()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("--pid %d: there is no such process", pid)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("--pid %d: only its user and root may read its memory; run the bench as one of them, or leave --pid out", pid)
	case err != nil:
		return nil, fmt.Errorf("--pid %d: %w", pid, err)
	}
	return p, nil
}

// cpu returns the user and system time of the process, with a resolution of 10 ms
// (proc(5), stat).
func (p *process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(p.dir + "/stat")
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold spaces and parentheses.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("%s/stat is cut short", p.dir)
	}
	user, err1 := strconv.ParseInt(string(f[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// memory returns the proportional set size of the process, in bytes: its own pages
// and its share of shared pages.
func (p *process) memory() (int64, error) {
	b, err := os.ReadFile(p.dir + "/smaps_rollup")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "Pss:" {
			kib, err := strconv.ParseInt(string(f[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s/smaps_rollup names no PSS", p.dir)
}
