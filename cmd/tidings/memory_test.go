package main_test

import (
	"strings"
	"testing"
	"testing/fstest"

	main "example.com/tidings/cmd/tidings"
)

// The limit of memory is the smallest of those of the machine, the cgroup and its ancestors.
func TestSystemMemory(t *testing.T) {
	const (
		v2    = "25 20 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
		v1    = "30 25 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
		other = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
	)
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	tests := []struct {
		name  string
		files fstest.MapFS
		want  int64
		from  string
	}{
		{"nothing is known", fstest.MapFS{}, main.NotLimited, "the system"},
		{"the machine", fstest.MapFS{}, 1000 << 10, "the machine"},
		{"version 2 without a limit", fstest.MapFS{
			"proc/self/cgroup": file("0::/a\n"), "proc/self/mountinfo": file(other + v2), "sys/fs/cgroup/a/memory.max": file("max\n"),
		}, 1000 << 10, "the machine"},
		{"version 2", fstest.MapFS{
			"proc/self/cgroup": file("0::/a/b\n"), "proc/self/mountinfo": file(other + v2), "sys/fs/cgroup/a/b/memory.max": file("500000\n"),
		}, 500000, "the cgroup"},
		{"version 2, an ancestor", fstest.MapFS{
			"proc/self/cgroup": file("0::/a/b\n"), "proc/self/mountinfo": file(v2),
			"sys/fs/cgroup/a/b/memory.max": file("500000\n"), "sys/fs/cgroup/a/memory.max": file("400000\n"),
		}, 400000, "the cgroup"},
		{"version 2, where it is throttled", fstest.MapFS{
			"proc/self/cgroup": file("0::/a\n"), "proc/self/mountinfo": file(v2),
			"sys/fs/cgroup/a/memory.max": file("500000\n"), "sys/fs/cgroup/a/memory.high": file("300000\n"),
		}, 300000, "the cgroup"},
		{"version 2 in a container with a namespace", fstest.MapFS{
			"proc/self/cgroup": file("0::/\n"), "proc/self/mountinfo": file(v2), "sys/fs/cgroup/memory.max": file("300000\n"),
		}, 300000, "the cgroup"},
		{"version 1", fstest.MapFS{
			"proc/self/cgroup": file("5:cpu:/x\n4:memory,hugetlb:/a/b\n0::/z\n"), "proc/self/mountinfo": file(v1 + other),
			"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": file("9223372036854771712\n"), "sys/fs/cgroup/memory/a/memory.limit_in_bytes": file("200000\n"),
		}, 200000, "the cgroup"},
		{"version 1, of which the mount shows a part", fstest.MapFS{
			"proc/self/cgroup":                             file("4:memory:/docker/abc/d\n"),
			"proc/self/mountinfo":                          file("30 25 0:26 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"),
			"sys/fs/cgroup/memory/d/memory.limit_in_bytes": file("100000\n"),
		}, 100000, "the cgroup"},
		{"version 1, mounted by a container without a namespace", fstest.MapFS{
			"proc/self/cgroup": file("4:memory:/docker/abc\n"), "proc/self/mountinfo": file(v1),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("100000\n"),
		}, 100000, "the cgroup"},
		{"both", fstest.MapFS{
			"proc/self/cgroup": file("4:memory:/a\n0::/b\n"), "proc/self/mountinfo": file(v1 + strings.ReplaceAll(v2, "/sys/fs/cgroup", "/sys/fs/cgroup/unified")),
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": file("300000\n"), "sys/fs/cgroup/unified/b/memory.max": file("200000\n"),
		}, 200000, "the cgroup"},
		{"lines that make no sense", fstest.MapFS{
			"proc/self/cgroup": file("0\n:\nx:y\n"), "proc/self/mountinfo": file("1 2\n - \n- cgroup2 x y\n"),
		}, 1000 << 10, "the machine"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.from != "the system" {
				tt.files["proc/meminfo"] = file("MemTotal:        1000 kB\nMemFree: 1 kB\n")
			}
			if got, from := main.SystemMemory(tt.files); got != tt.want || from != tt.from {
				t.Errorf("got %d of %s, want %d of %s", got, from, tt.want, tt.from)
			}
		})
	}
}

// The parts of the memory follow its limit, and have their defaults where there is enough.
func TestMemoryPlan(t *testing.T) {
	const machine = "MemTotal: 8388608 kB\n" // 8 GiB
	tests := []struct {
		name, flag, env, meminfo string
		runtime                  int64 // what the runtime has read from env
		want                     main.Plan
		fails                    string
	}{
		{name: "nothing is known", want: main.Plan{Limit: main.NotLimited, From: "the system", Window: 64 << 20, Clients: 96 << 20, Index: 40 << 20}},
		{name: "a machine", meminfo: machine, want: main.Plan{Limit: 8<<30 - 8<<30/10 - 32<<20, From: "the machine", Set: true, Window: 64 << 20, Clients: 96 << 20, Index: 40 << 20}},
		{name: "a small machine", meminfo: "MemTotal: 262144 kB\n", want: main.Plan{Limit: 256<<20 - 256<<20/10 - 32<<20, From: "the machine", Set: true, Window: 26_004_684, Clients: 78_014_052, Index: 26_004_684}},
		{name: "too small a machine", meminfo: "MemTotal: 65536 kB\n", want: main.Plan{Limit: 48 << 20, From: "the machine", Set: true, Window: 6 << 20, Clients: 18 << 20, Index: 6 << 20}},
		{name: "the flag", flag: "64MiB", meminfo: machine, want: main.Plan{Limit: 64 << 20, From: "--max-memory", Set: true, Window: 8 << 20, Clients: 24 << 20, Index: 8 << 20}},
		{name: "the environment", env: "64MiB", runtime: 64 << 20, meminfo: machine, want: main.Plan{Limit: 64 << 20, From: "GOMEMLIMIT", Window: 8 << 20, Clients: 24 << 20, Index: 8 << 20}},
		{name: "the environment and a smaller flag", flag: "64MiB", env: "1GiB", runtime: 1 << 30, want: main.Plan{Limit: 64 << 20, From: "--max-memory", Window: 8 << 20, Clients: 24 << 20, Index: 8 << 20}},
		{name: "the environment and a larger flag", flag: "1GiB", env: "64MiB", runtime: 64 << 20, want: main.Plan{Limit: 64 << 20, From: "GOMEMLIMIT", Window: 8 << 20, Clients: 24 << 20, Index: 8 << 20}},
		{name: "the environment says none", env: "off", runtime: main.NotLimited, meminfo: machine, want: main.Plan{Limit: 8<<30 - 8<<30/10 - 32<<20, From: "the machine", Window: 64 << 20, Clients: 96 << 20, Index: 40 << 20}},
		{name: "too little in the environment", env: "20MiB", runtime: 20 << 20, fails: "GOMEMLIMIT 20MiB is too little memory to run; give 48MiB or more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := main.PlanMemory(tt.flag, tt.env, tt.runtime, fstest.MapFS{"proc/meminfo": {Data: []byte(tt.meminfo)}})
			if tt.fails != "" {
				if err == nil || err.Error() != tt.fails {
					t.Errorf("got %v, want %q", err, tt.fails)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// A large heap is collected more often, so that the process takes less than twice of it. A small one
// that is collected all the time is collected less often.
func TestGCPercent(t *testing.T) {
	for _, tt := range []struct {
		live, now, collections uint64
		want                   int
	}{
		{0, 100, 0, 100}, {64 << 20, 100, 9, 100}, {64<<20 + 1, 100, 9, 50}, {1 << 30, 100, 0, 50}, {1 << 30, 50, 0, 50},
		{64 << 20, 50, 0, 100},
		// Much comes and goes.
		{16 << 20, 100, 2, 100}, {16 << 20, 100, 3, 250}, {16<<20 + 1, 100, 3, 100}, {8 << 20, 250, 1, 250},
		{8 << 20, 250, 0, 100}, {16<<20 + 1, 250, 9, 100}, {64<<20 + 1, 250, 9, 50},
		// While many connections come.
		{1 << 20, 300, 9, 300}, {64<<20 + 1, 300, 0, 50},
	} {
		if got := main.GCPercent(tt.live, tt.now, tt.collections); got != tt.want {
			t.Errorf("%d bytes are live, and GOGC is %d: %d, want %d", tt.live, tt.now, got, tt.want)
		}
	}
}

// Go gets a few more processors than the machine has.
func TestProcessors(t *testing.T) {
	for n, want := range map[int]int{1: 3, 2: 4, 4: 6, 8: 10, 16: 20, 64: 80} {
		if got := main.Processors(n); got != want {
			t.Errorf("of %d processors: %d, want %d", n, got, want)
		}
	}
}
