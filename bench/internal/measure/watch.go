//go:build linux

package measure

import (
	"errors"
	"io/fs"
	"math"
	"path/filepath"
	"syscall"
	"time"
)

// How often a Watch samples. Walking a folder takes longer than reading the memory.
const (
	memoryEvery = 50 * time.Millisecond
	diskEvery   = 250 * time.Millisecond
)

// Use is what a server has used while it was watched. Sizes are in units of a
// million bytes, to one decimal.
type Use struct {
	RestRSS   float64 `json:"rest_rss_mb"` // when the Watch began
	PeakRSS   float64 `json:"peak_rss_mb"`
	EndRSS    float64 `json:"end_rss_mb"`
	AboveRest float64 `json:"above_rest_mb"` // PeakRSS - RestRSS
	RestAnon  float64 `json:"rest_anon_mb"`
	PeakAnon  float64 `json:"peak_anon_mb"`
	EndAnon   float64 `json:"end_anon_mb"`
	Written   float64 `json:"written_mb"`
	CPU       float64 `json:"cpu_ms"`                 // user and system
	PeakDisk  float64 `json:"peak_disk_mb,omitempty"` // of the data folder
	EndDisk   float64 `json:"end_disk_mb,omitempty"`
}

// A Watch samples what a server uses until it ends. Its methods must be called by
// one goroutine.
type Watch struct {
	pid     int
	dir     string
	rest    Memory
	cpu     time.Duration
	written int64
	peak    Memory // these belong to the sampling goroutine until it is done
	disk    int64
	stop    chan struct{}
	done    chan struct{}
}

// NewWatch begins to watch a process and, unless dir is empty, the disk that its data
// folder uses.
func NewWatch(pid int, dir string) (*Watch, error) {
	w := &Watch{pid: pid, dir: dir, stop: make(chan struct{}), done: make(chan struct{})}
	var err error
	if w.rest, err = ProcessMemory(pid); err != nil {
		return nil, err
	}
	if w.cpu, err = ProcessTime(pid); err != nil {
		return nil, err
	}
	if w.written, err = Written(pid); err != nil {
		return nil, err
	}
	w.peak = w.rest
	go w.sample()
	return w, nil
}

func (w *Watch) sample() {
	defer close(w.done)
	memory, disk := time.NewTicker(memoryEvery), time.NewTicker(diskEvery)
	defer memory.Stop()
	defer disk.Stop()
	for {
		select {
		case <-memory.C:
			// If the process has ended, End says so.
			if m, err := ProcessMemory(w.pid); err == nil {
				w.peak = w.peak.max(m)
			}
		case <-disk.C:
			if n, err := w.used(); err == nil {
				w.disk = max(w.disk, n)
			}
		case <-w.stop:
			return
		}
	}
}

func (w *Watch) used() (int64, error) {
	if w.dir == "" {
		return 0, nil
	}
	return DiskUse(w.dir)
}

// End ends the watch and returns what the process has used. It must be called once.
func (w *Watch) End() (Use, error) {
	close(w.stop)
	<-w.done
	memory, err := ProcessMemory(w.pid)
	if err != nil {
		return Use{}, err
	}
	cpu, err := ProcessTime(w.pid)
	if err != nil {
		return Use{}, err
	}
	written, err := Written(w.pid)
	if err != nil {
		return Use{}, err
	}
	disk, err := w.used()
	if err != nil {
		return Use{}, err
	}
	peak := w.peak.max(memory)
	return Use{
		RestRSS: Megabytes(w.rest.RSS), PeakRSS: Megabytes(peak.RSS), EndRSS: Megabytes(memory.RSS),
		AboveRest: Megabytes(peak.RSS - w.rest.RSS),
		RestAnon:  Megabytes(w.rest.Anon), PeakAnon: Megabytes(peak.Anon), EndAnon: Megabytes(memory.Anon),
		Written:  Megabytes(written - w.written),
		CPU:      Milliseconds(int64(cpu - w.cpu)),
		PeakDisk: Megabytes(max(w.disk, disk)), EndDisk: Megabytes(disk),
	}, nil
}

// max returns the larger of each of the two.
func (m Memory) max(o Memory) Memory { return Memory{max(m.RSS, o.RSS), max(m.Anon, o.Anon)} }

// DiskUse returns the bytes that the files of a folder occupy on disk, as du does. It
// skips files that are removed meanwhile.
func DiskUse(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			total += stat.Blocks * 512 // st_blocks is in units of 512 bytes, stat(3type)
		}
		return nil
	})
	return total, err
}

// Megabytes converts bytes to millions of them, to one decimal.
func Megabytes(bytes int64) float64 { return math.Round(float64(bytes)/1e5) / 10 }
