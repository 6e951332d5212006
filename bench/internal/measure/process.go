//go:build linux

package measure

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of process times in Linux. It is the same on every
// architecture that Go supports.
const clockTick = 10 * time.Millisecond

// ProcessTime returns the user and system time that a process has used.
func ProcessTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseTime(string(text))
}

// parseTime returns the time in the text of /proc/PID/stat.
func parseTime(text string) (time.Duration, error) {
	// The name, in parentheses, may contain spaces. utime and stime are the 14th
	// and 15th fields, proc_pid_stat(5).
	_, after, _ := strings.Cut(text[strings.LastIndexByte(text, ')')+1:], " ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/PID/stat has %d fields after the name", len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// Memory is what a process has in memory, in bytes.
type Memory struct {
	RSS  int64 // all of it, mapped files included
	Anon int64 // what no file backs
}

// ProcessMemory returns the memory of a process.
func ProcessMemory(pid int) (Memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Memory{}, err
	}
	return parseMemory(string(text))
}

// parseMemory returns the memory in the text of /proc/PID/status.
func parseMemory(text string) (Memory, error) {
	rss, err := field(text, "VmRSS")
	if err != nil {
		return Memory{}, err
	}
	anon, err := field(text, "RssAnon")
	if err != nil {
		return Memory{}, err
	}
	return Memory{RSS: rss << 10, Anon: anon << 10}, nil
}

// Written returns how many bytes a process has had written to disk. Linux counts a
// page when it becomes dirty, so a page that changes again before it is written
// counts once.
func Written(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	return field(string(text), "write_bytes")
}

// field returns the number after a name and a colon, at the beginning of a line. A
// unit may follow.
func field(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			words := strings.Fields(rest)
			if len(words) == 0 {
				return 0, fmt.Errorf("%s has no value", name)
			}
			return strconv.ParseInt(words[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s is missing", name)
}
