package jetlog

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// The defaults of [Options] and [ClusterOptions].
const (
	DefaultDir         = "tidings-data"
	DefaultSync        = time.Second
	DefaultMaxAge      = 24 * time.Hour
	DefaultMaxBytes    = 1 << 30
	DefaultDedupWindow = 2 * time.Minute
	DefaultReserve     = 64 << 20
	DefaultStream      = "tidings"
)

// SyncAlways is the Options.Sync that forces each message to the disk before the
// log acknowledges it.
const SyncAlways time.Duration = -1

// Options configure [Open]. Nil and the zero value mean the defaults.
type Options struct {
	// Dir is the folder that holds the log. Open creates it, with mode 0700, if it
	// does not exist. While one process has the log open, no other can open it. The
	// default is [DefaultDir].
	Dir string

	// Sync is the interval at which written messages are forced to the disk.
	// Acknowledged messages always survive a crash of the process. A crash of the
	// machine may lose the last interval. [SyncAlways] loses nothing, but is much
	// slower. The default is [DefaultSync].
	Sync time.Duration

	// MaxAge is how long messages are retained. MaxBytes bounds their total size,
	// with topics, types, keys and some 50 bytes for each message. The oldest go
	// first. A negative value means no bound. The defaults are [DefaultMaxAge] and
	// [DefaultMaxBytes].
	MaxAge   time.Duration
	MaxBytes int64

	// DedupWindow is how long the log remembers a message's key. It is at most
	// MaxAge. The default is [DefaultDedupWindow], or MaxAge if that is less.
	DedupWindow time.Duration

	// Reserve is how many bytes of the disk stay free. The log returns
	// eventlog.ErrFull for a message that would need them. A negative value
	// reserves nothing. The default is [DefaultReserve].
	Reserve int64

	// Logger receives the log lines of the log and of its NATS server. Nil means
	// slog.Default.
	Logger *slog.Logger
}

// ClusterOptions configure [Connect]. Nil and the zero value mean the defaults.
type ClusterOptions struct {
	// URL names the servers, as nats://host:4222. Commas separate several. It may
	// contain a user and a password, or a token. The default is
	// nats://127.0.0.1:4222.
	URL string

	// CredentialsFile, if not empty, holds the user's JWT and key.
	CredentialsFile string

	// CAFile, if not empty, holds the PEM certificates that verify the servers.
	// CertFile and KeyFile, if not empty, are the client's own.
	CAFile, CertFile, KeyFile string

	// Stream is the name of the JetStream stream, and the first token of all its
	// subjects. The default is [DefaultStream].
	Stream string

	// Replicas is how many servers store a message before it is acknowledged. 0
	// leaves an existing stream unchanged, and makes a new one with 1.
	Replicas int

	// MaxAge, MaxBytes and DedupWindow are as in [Options]. 0 leaves an existing
	// stream unchanged, and makes a new one with the defaults.
	MaxAge      time.Duration
	MaxBytes    int64
	DedupWindow time.Duration

	// Logger receives the log lines of the log. Nil means slog.Default.
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Dir == "" {
		opts.Dir = DefaultDir
	}
	setDefault(&opts.Sync, DefaultSync)
	setDefault(&opts.MaxAge, DefaultMaxAge)
	setDefault(&opts.MaxBytes, DefaultMaxBytes)
	setDefault(&opts.Reserve, DefaultReserve)
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Sync < minSync && opts.Sync != SyncAlways {
		return opts, fmt.Errorf("the sync interval %v is less than %v", opts.Sync, minSync)
	}
	return opts, checkWindow(&opts.DedupWindow, opts.MaxAge)
}

func (o *ClusterOptions) withDefaults() (ClusterOptions, error) {
	var opts ClusterOptions
	if o != nil {
		opts = *o
	}
	if opts.URL == "" {
		opts.URL = "nats://127.0.0.1:4222"
	}
	if opts.Stream == "" {
		opts.Stream = DefaultStream
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	switch {
	case strings.Trim(opts.Stream, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "":
		return opts, fmt.Errorf("the stream's name %q may have only letters, digits, - and _", opts.Stream)
	case opts.Replicas < 0 || opts.Replicas > 5:
		return opts, fmt.Errorf("the number of replicas is %d, and must be 1 to 5", opts.Replicas)
	case (opts.CertFile == "") != (opts.KeyFile == ""):
		return opts, fmt.Errorf("a certificate and its key are needed together")
	case opts.DedupWindow < 0:
		return opts, fmt.Errorf("the deduplication window %v is negative", opts.DedupWindow)
	}
	return opts, nil
}

// checkWindow sets the default of a deduplication window. It refuses a window that
// is longer than messages are retained.
func checkWindow(window *time.Duration, maxAge time.Duration) error {
	const least = 100 * time.Millisecond // JetStream's minimum
	switch {
	case *window == 0:
		*window = DefaultDedupWindow
		if maxAge > 0 {
			*window = min(*window, maxAge)
		}
	case *window < least:
		return fmt.Errorf("the deduplication window %v is less than %v", *window, least)
	case maxAge > 0 && *window > maxAge:
		return fmt.Errorf("the deduplication window %v is longer than messages are retained, %v", *window, maxAge)
	}
	if maxAge > 0 && maxAge < least {
		return fmt.Errorf("the age %v is less than %v", maxAge, least)
	}
	return nil
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}
