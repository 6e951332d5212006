//go:build linux

package measure_test

import (
	"os"
	"testing"
	"time"

	"example.com/tidings/bench/internal/measure"
)

func TestParseTime(t *testing.T) {
	const after = " S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 20 0 4 0 100 1 2"
	for _, tt := range []struct {
		rule, text string
		want       time.Duration
		ok         bool
	}{
		{"utime and stime, in ticks of 10 ms", "12 (tidings)" + after, 3 * time.Second, true},
		{"a name with spaces and parentheses", "12 (a) b (c)" + after, 3 * time.Second, true},
		{"too few fields", "12 (tidings) S 1 2", 0, false},
		{"no name", "", 0, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := measure.ParseTime(tt.text)
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %v, %v, want %v, ok %v", got, err, tt.want, tt.ok)
			}
		})
	}
}

func TestParseMemory(t *testing.T) {
	const status = "Name:\ttidings\nVmHWM:\t   90000 kB\nVmRSS:\t   52000 kB\nRssAnon:\t   20000 kB\nRssFile:\t   32000 kB\n"
	want := measure.Memory{RSS: 52000 << 10, Anon: 20000 << 10}
	if got, err := measure.ParseMemory(status); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	// A process that has ended, but whose parent has not yet read its status, has no memory.
	if _, err := measure.ParseMemory("Name:\ttidings\nState:\tZ (zombie)\n"); err == nil {
		t.Error("got no error for a process without memory")
	}
}

func TestField(t *testing.T) {
	const io = "rchar: 1\nwchar: 2\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n"
	for _, tt := range []struct {
		rule, text, name string
		want             int64
		ok               bool
	}{
		{"a line's name is whole", io, "write_bytes", 4096, true},
		{"the last line", io, "cancelled_write_bytes", 7, true},
		{"a missing name", io, "bytes", 0, false},
		{"no value", "write_bytes:\n", "write_bytes", 0, false},
		{"no number", "write_bytes: many\n", "write_bytes", 0, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, err := measure.Field(tt.text, tt.name)
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %d, %v, want %d, ok %v", got, err, tt.want, tt.ok)
			}
		})
	}
}

func TestProcessTimeGrowsWithWork(t *testing.T) {
	before, err := measure.ProcessTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for patience := time.Now().Add(10 * time.Second); ; {
		now, err := measure.ProcessTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now > before {
			return
		}
		if time.Now().After(patience) {
			t.Fatalf("after 10 s of work it is still %v", now)
		}
	}
}

func TestThisProcess(t *testing.T) {
	memory, err := measure.ProcessMemory(os.Getpid())
	if err != nil || memory.Anon <= 0 || memory.RSS < memory.Anon {
		t.Errorf("got %+v, %v, want memory of which some is anonymous", memory, err)
	}
	if _, err := measure.Written(os.Getpid()); err != nil {
		t.Error(err)
	}
}
