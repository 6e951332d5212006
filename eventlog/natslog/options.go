package natslog

import (
	"cmp"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

// The defaults of [Options].
const (
	DefaultStream      = "tidings"
	DefaultMaxAge      = 24 * time.Hour
	DefaultMaxBytes    = 1 << 30
	DefaultDedupWindow = 2 * time.Minute
)

// Options configure [Connect]. Nil and the zero value mean the defaults.
type Options struct {
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

	// MaxAge is how long messages are retained. MaxBytes bounds their total size,
	// with topics, types, keys and some 50 bytes for each message. The oldest go
	// first. A negative value means no bound. 0 leaves an existing stream unchanged,
	// and makes a new one with [DefaultMaxAge] and [DefaultMaxBytes].
	MaxAge   time.Duration
	MaxBytes int64

	// DedupWindow is how long the servers remember a message's key. It is at most
	// MaxAge. 0 leaves an existing stream unchanged, and makes a new one with
	// [DefaultDedupWindow], or MaxAge if that is less.
	DedupWindow time.Duration

	// MaxTopics bounds how many topics have a retained message. A message that would add one
	// more gets eventlog.ErrTooManyTopics. The log asks the servers for the number every 5
	// seconds. Meanwhile some more may come. The default is eventlog.DefaultMaxTopics. The
	// servers have the keys, and do not bound their number.
	MaxTopics int

	// Wait is how long Connect waits for servers that are not there yet, or have no leader. 0
	// means that it fails at once.
	Wait time.Duration

	// Logger receives the log lines of the log. Nil means slog.Default.
	Logger *slog.Logger
}

func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.URL = cmp.Or(opts.URL, nats.DefaultURL)
	opts.MaxTopics = cmp.Or(opts.MaxTopics, eventlog.DefaultMaxTopics)
	opts.Stream = cmp.Or(opts.Stream, DefaultStream)
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

// retention sets the retention that the options ask for. It refuses a deduplication window
// that is longer than messages are retained.
func (o *Options) retention(config *jetstream.StreamConfig) error {
	const least = 100 * time.Millisecond // JetStream's minimum
	if o.MaxAge != 0 {
		config.MaxAge = max(o.MaxAge, 0)
	}
	if o.MaxBytes != 0 {
		config.MaxBytes = max(o.MaxBytes, -1)
	}
	config.Duplicates = cmp.Or(o.DedupWindow, config.Duplicates, DefaultDedupWindow)
	if o.DedupWindow == 0 && config.MaxAge > 0 {
		config.Duplicates = min(config.Duplicates, config.MaxAge)
	}
	switch {
	case config.MaxAge > 0 && config.MaxAge < least:
		return fmt.Errorf("the age %v is less than %v", config.MaxAge, least)
	case config.Duplicates < least:
		return fmt.Errorf("the deduplication window %v is less than %v", config.Duplicates, least)
	case config.MaxAge > 0 && config.Duplicates > config.MaxAge:
		return fmt.Errorf("the deduplication window %v is longer than messages are retained, %v", config.Duplicates, config.MaxAge)
	}
	return nil
}
