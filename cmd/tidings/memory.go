package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

	"example.com/tidings/internal/server"
)

// The memory of the process, in bytes.
const (
	// leastMemory is the smallest limit with which the server runs.
	leastMemory = 48 << 20

	// fixedMargin and a tenth of the limit of the cgroup or the machine are left for memory that is
	// not Go's, such as the program itself, and for a while in which the collector is late.
	fixedMargin = 32 << 20
)

// A memoryPlan says how much memory each part of the server may have.
type memoryPlan struct {
	limit   int64 // of the process; math.MaxInt64 means none
	from    string
	set     bool // whether the runtime does not have the limit yet
	window  int  // hub.Options.WindowBytes
	clients int  // hub.Options.ClientBytes
	index   int64
}

// The parts of the limit, and what they are without one. With 512 MiB each part has its default.
const (
	windowPart, mostWindow   = 8, 64 << 20
	clientsOf8, mostClients  = 3, 96 << 20 // eighths
	indexPart, mostIndex     = 8, 40 << 20
	leastIndex               = 4 << 20
	notLimited               = math.MaxInt64
	goMemLimit, flagOfMemory = "GOMEMLIMIT", "max-memory"
)

// validMemory validates --max-memory.
func validMemory(s string) error {
	if n, err := parseSize(s); err != nil || n >= leastMemory {
		return err
	}
	return fmt.Errorf("that is too little memory to run; give %s or more", formatSize(leastMemory))
}

// planMemory plans with the value of --max-memory, or else the environment's GOMEMLIMIT, of which
// inRuntime is what the runtime has read, or else the limit of the cgroup or the machine. If both are
// given, the smaller one counts for the parts, and GOMEMLIMIT for the runtime. flag is 0, and env
// empty, if it is not given.
func planMemory(flag int64, env string, inRuntime int64, system fs.FS, logger *slog.Logger) (memoryPlan, error) {
	p := memoryPlan{limit: notLimited}
	if env != "" {
		p.limit, p.from = inRuntime, goMemLimit
	}
	if flag > 0 && flag < p.limit {
		p.limit, p.from, p.set = flag, "--"+flagOfMemory, env == ""
	}
	if p.limit < leastMemory {
		return p, fmt.Errorf("%s %s is too little memory to run; give %s or more", p.from, formatSize(p.limit), formatSize(leastMemory))
	}
	if p.limit == notLimited {
		p.useSystem(system, logger)
		p.set = p.set && env == ""
	}
	p.window = int(min(mostWindow, p.limit/windowPart))
	p.clients = int(min(mostClients, p.limit/8*clientsOf8))
	p.index = min(mostIndex, max(leastIndex, p.limit/indexPart))
	return p, nil
}

// useSystem sets the limit from that of the cgroup or the machine, if one is known.
func (p *memoryPlan) useSystem(system fs.FS, logger *slog.Logger) {
	var most int64
	if most, p.from = systemMemory(system); most == notLimited {
		return
	}
	p.set = true
	p.limit = most - most/10 - fixedMargin
	if p.limit < leastMemory {
		logger.Warn("there is little memory for the server", "memory", mebibytes(most), "of", p.from, "takes", mebibytes(leastMemory))
		p.limit = leastMemory
	}
}

// apply gives the runtime its limit, unless the environment did. Only a program should do that:
// the packages of the library leave the process as it is.
func (p memoryPlan) apply() {
	if p.set {
		debug.SetMemoryLimit(p.limit)
	}
}

// tell logs what was chosen.
func (p memoryPlan) tell(logger *slog.Logger, subscribers int, limits server.Limits) {
	most := any(subscribers)
	if subscribers == 0 {
		most = "no limit"
	}
	limit := "none"
	if p.limit != notLimited {
		limit = mebibytes(p.limit)
	}
	logger.Info("limits", "memory", limit, "from", p.from, "window", mebibytes(int64(p.window)), "client_bytes", mebibytes(int64(p.clients)),
		"max_subscribers", most, "connections", limits.Connections)
}

// mebibytes rounds down.
func mebibytes(n int64) string { return strconv.FormatInt(n>>20, 10) + "MiB" }

// systemMemory returns the smallest limit that the machine and the cgroups of the process set,
// and whose it is. It returns notLimited if none is known, as on systems other than
// Linux.
func systemMemory(system fs.FS) (limit int64, from string) {
	limit, from = notLimited, "the system"
	for line := range lines(system, "proc/meminfo") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil && kib < notLimited>>10 {
				limit, from = kib<<10, "the machine"
			}
		}
	}
	for _, file := range cgroupFiles(system) {
		for text := range lines(system, file) {
			if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil && n < limit { // not "max"
				limit, from = n, "the cgroup"
			}
		}
	}
	return limit, from
}

// cgroupFiles returns the files that may hold a limit of memory for the process: those of its
// cgroups and of their ancestors. Not all of them exist.
func cgroupFiles(system fs.FS) (files []string) {
	own := map[bool]string{} // the path of the cgroup, by whether it is of version 2
	for line := range lines(system, "proc/self/cgroup") {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 {
			if f[1] == "" || hasWord(f[1], "memory") {
				own[f[1] == ""] = f[2]
			}
		}
	}
	for line := range lines(system, "proc/self/mountinfo") {
		f, rest, _ := strings.Cut(strings.TrimSpace(line), " - ")
		mount, fsys := strings.Fields(f), strings.Fields(rest)
		if len(mount) < 5 || len(fsys) < 3 {
			continue
		}
		v2 := fsys[0] == "cgroup2"
		if !v2 && (fsys[0] != "cgroup" || !hasWord(fsys[2], "memory")) {
			continue
		}
		names := []string{"memory.limit_in_bytes"}
		if v2 {
			names = []string{"memory.max", "memory.high"}
		}
		// The mount may show a part of the tree only.
		below, ok := strings.CutPrefix(own[v2], strings.TrimSuffix(mount[3], "/"))
		if !ok {
			below = ""
		}
		for dir := path.Join("/", below); ; dir = path.Dir(dir) {
			for _, name := range names {
				files = append(files, strings.TrimPrefix(path.Join(mount[4], dir, name), "/"))
			}
			if dir == "/" {
				break
			}
		}
	}
	return files
}

// hasWord reports whether a list with commas has a word.
func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// lines returns the lines of a file, and none if it cannot be read.
func lines(system fs.FS, name string) func(func(string) bool) {
	b, err := fs.ReadFile(system, name)
	if err != nil {
		return func(func(string) bool) {}
	}
	return strings.Lines(string(b))
}
