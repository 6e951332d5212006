package segmentlog

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/logclock"
)

// The defaults of [Options].
const (
	DefaultDir         = "tidings-data"
	DefaultMaxAge      = 24 * time.Hour
	DefaultMaxBytes    = 1 << 30
	DefaultDedupWindow = 24 * time.Hour
	DefaultReserve     = 64 << 20
	DefaultIndexMemory = 40 << 20
	DefaultIndexFiles  = 500
)

// Options configure [Open]. Nil and the zero value mean the defaults.
type Options struct {
	// Dir is the folder that holds the log. Open creates it, with mode 0700, if it does not
	// exist. While one process has the log open, no other can open it. The default is
	// [DefaultDir].
	Dir string

	// Sync, if not 0, is the interval at which written messages are forced to the disk. A
	// crash of the machine may then lose the last interval. 0 means that a message is on the
	// disk before it is acknowledged. A crash of the process loses nothing in any case.
	Sync time.Duration

	// MaxAge is how long messages are retained. MaxBytes bounds their total size, with
	// topics, types, keys and 32 bytes for each message. The oldest go first. A message that
	// is larger than MaxBytes is refused. A negative value means no bound. The defaults are
	// [DefaultMaxAge] and [DefaultMaxBytes].
	MaxAge   time.Duration
	MaxBytes int64

	// DedupWindow is how long the log remembers the key of a message that it retains. The
	// default is [DefaultDedupWindow], or MaxAge if that is less.
	DedupWindow time.Duration

	// MaxTopics and MaxKeys bound how many topics have a retained message, and how many keys
	// are remembered. A message that would add one more gets eventlog.ErrTooManyTopics or
	// eventlog.ErrTooManyKeys. Those of the newest messages, some 65,536, may count twice.
	// The defaults are eventlog.DefaultMaxTopics and eventlog.DefaultMaxKeys.
	MaxTopics, MaxKeys int

	// Reserve is how many bytes of the disk stay free. The log returns eventlog.ErrFull for
	// a message that would need them. Open refuses a reserve that leaves nothing of the disk.
	// A negative value reserves nothing. The default is [DefaultReserve], or an eighth of the
	// disk if that is less.
	Reserve int64

	// IndexMemory is how many bytes of memory the index takes for its caches. IndexFiles is
	// how many of its files are open at a time, at least 64. The defaults are
	// [DefaultIndexMemory] and [DefaultIndexFiles].
	IndexMemory int64
	IndexFiles  int

	// Logger receives the log lines of the log. Nil means slog.Default.
	Logger *slog.Logger

	// Set by tests. Zero values mean the real ones.
	clock        logclock.Source
	segmentBytes int64
	verifyRate   int64 // bytes a second
	files        fileSystem
	watch        time.Duration // see [Log.watch]; negative means never
	indexFiles   vfs.FS
	bootID       func() uint32 // tells one run of the machine from the next
}

func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.Dir = cmp.Or(opts.Dir, DefaultDir)
	opts.MaxAge = cmp.Or(opts.MaxAge, DefaultMaxAge)
	opts.MaxBytes = cmp.Or(opts.MaxBytes, DefaultMaxBytes)
	opts.IndexMemory = cmp.Or(opts.IndexMemory, DefaultIndexMemory)
	opts.IndexFiles = cmp.Or(opts.IndexFiles, DefaultIndexFiles)
	opts.MaxTopics = cmp.Or(opts.MaxTopics, eventlog.DefaultMaxTopics)
	opts.MaxKeys = cmp.Or(opts.MaxKeys, eventlog.DefaultMaxKeys)
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.clock == nil {
		opts.clock = logclock.System()
	}
	opts.verifyRate = cmp.Or(opts.verifyRate, verifyRate)
	if opts.files == nil {
		opts.files = disk{}
	}
	opts.watch = cmp.Or(opts.watch, watchInterval)
	if opts.indexFiles == nil {
		opts.indexFiles = indexDisk{vfs.Default} // Pebble's own default watches for slow disks, and a failed Open leaves a goroutine
	}
	if opts.bootID == nil {
		opts.bootID = bootID
	}
	switch {
	case opts.Sync < 0:
		return opts, fmt.Errorf("the sync interval %v is negative", opts.Sync)
	case opts.IndexMemory < 0:
		return opts, fmt.Errorf("the memory of the index, %d bytes, is negative", opts.IndexMemory)
	case opts.IndexFiles < 0:
		return opts, fmt.Errorf("the number of open files of the index, %d, is negative", opts.IndexFiles)
	case opts.DedupWindow < 0:
		return opts, fmt.Errorf("the deduplication window %v is negative", opts.DedupWindow)
	case opts.DedupWindow == 0:
		opts.DedupWindow = DefaultDedupWindow
		if opts.MaxAge > 0 {
			opts.DedupWindow = min(opts.DedupWindow, opts.MaxAge)
		}
	case opts.MaxAge > 0 && opts.DedupWindow > opts.MaxAge:
		return opts, fmt.Errorf("the deduplication window %v is longer than messages are retained, %v", opts.DedupWindow, opts.MaxAge)
	}
	return opts, nil
}
