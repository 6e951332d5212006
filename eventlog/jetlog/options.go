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

// SyncAlways is the Options.Sync that has each message on the disk before it is
// acknowledged.
const SyncAlways time.Duration = -1

// Options configure [Open]. Nil and the zero value are the defaults.
type Options struct {
	// Dir is the folder that the log is in. It is made, with mode 0700, if there
	// is none. No other process can open the log while it is open. The default is
	// [DefaultDir].
	Dir string

	// Sync is how often what was written is forced to the disk. What was
	// acknowledged survives the death of the process whatever it is; the death of
	// the machine may take the last of these intervals. [SyncAlways] leaves
	// nothing to lose and costs a great deal. The default is [DefaultSync].
	Sync time.Duration

	// MaxAge is how long messages are retained, and MaxBytes is how much, their
	// topics, types, keys and some 50 bytes each included: the oldest go first. A
	// negative value is no bound. The defaults are [DefaultMaxAge] and
	// [DefaultMaxBytes].
	MaxAge   time.Duration
	MaxBytes int64

	// DedupWindow is for how long the key of a message is remembered; at most
	// MaxAge. The default is [DefaultDedupWindow], or MaxAge if that is less.
	DedupWindow time.Duration

	// Reserve is how many bytes of the disk are left free: what would need them
	// is refused with eventlog.ErrFull. A negative value keeps none. The default is
	// [DefaultReserve].
	Reserve int64

	// Logger gets what the log and its NATS server have to tell. Nil is
	// slog.Default.
	Logger *slog.Logger
}

// ClusterOptions configure [Connect]. Nil and the zero value are the defaults.
type ClusterOptions struct {
	// URL is where the servers are, as nats://host:4222; several are separated by
	// commas. A user and a password, or a token, may be part of it. The default
	// is nats://127.0.0.1:4222.
	URL string

	// CredentialsFile, if not empty, has the user's JWT and key.
	CredentialsFile string

	// CAFile, if not empty, has the certificates in PEM that the servers' are
	// verified with. CertFile and KeyFile, if not empty, are the client's own.
	CAFile, CertFile, KeyFile string

	// Stream is the name of the JetStream stream, and the first token of all its
	// subjects. The default is [DefaultStream].
	Stream string

	// Replicas is on how many servers each message is stored before it is
	// acknowledged. 0 leaves an existing stream as it is, and makes a new one
	// with 1.
	Replicas int

	// MaxAge, MaxBytes and DedupWindow are those of [Options]. 0 leaves an
	// existing stream as it is, and makes a new one with the defaults.
	MaxAge      time.Duration
	MaxBytes    int64
	DedupWindow time.Duration

	// Logger gets what the log has to tell. Nil is slog.Default.
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
		return opts, fmt.Errorf("the replicas are %d, and may be 1 to 5", opts.Replicas)
	case (opts.CertFile == "") != (opts.KeyFile == ""):
		return opts, fmt.Errorf("a certificate and its key are needed together")
	case opts.DedupWindow < 0:
		return opts, fmt.Errorf("the deduplication window %v is negative", opts.DedupWindow)
	}
	return opts, nil
}

// checkWindow sets the default of a deduplication window, and refuses one that
// is longer than the messages are retained.
func checkWindow(window *time.Duration, maxAge time.Duration) error {
	const least = 100 * time.Millisecond // JetStream's
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
