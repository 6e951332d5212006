package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/eventlog/segmentlog"
	"example.com/tidings/internal/server"
)

// memoryBytes is the default of --retention-bytes with --memory.
const memoryBytes = 64 << 20

// storeFlags say where messages are stored, and for how long.
func storeFlags() []cli.Flag {
	return []cli.Flag{
		text("data", segmentlog.DefaultDir, nil, "store messages in the folder `DIR`; the server creates it if it is missing"),
		toggle("memory", false, "store messages in memory; they are lost when the server stops"),
		text("nats", "", nil, "store messages in the NATS JetStream server or cluster at `URL`, such as nats://host:4222; separate several URLs with commas"),
		text("nats-creds", "", nil, "log in to NATS with the credentials in `FILE`"),
		text("nats-ca", "", nil, "verify the NATS servers with the CA certificates in `FILE` instead of the system's"),
		text("nats-cert", "", nil, "present the client certificate in `FILE` to NATS; requires --nats-key"),
		text("nats-key", "", nil, "use the private key in `FILE` with --nats-cert"),
		text("nats-stream", natslog.DefaultStream, nil, "use the JetStream stream `NAME`"),
		&cli.IntFlag{
			Name: "nats-replicas", Sources: env("TIDINGS_NATS_REPLICAS"),
			Usage:       "store each message on `N` NATS servers, 1 to 5; by default an existing stream keeps its number, and a new one gets 1",
			Validator:   between(1, 5),
			HideDefault: true,
		},
		period("nats-wait", 30*time.Second, validWait, "wait for `DURATION` at the start for NATS to be there; meanwhile the server does not listen; 0 means that it exits at once"),
		text("sync", "always", validSync, "force messages to the disk `WHEN`: always, which is before each acknowledgement, or once per duration, as in 1s; a power loss then costs the last duration"),
		period("retention-age", segmentlog.DefaultMaxAge, validAge, "keep messages for `DURATION`; 0 keeps them for ever"),
		text("retention-bytes", formatSize(segmentlog.DefaultMaxBytes), validSize(0, math.MaxInt64), "keep the newest messages, up to `SIZE`; 0 means no limit; with --memory the default is 64MiB"),
		&cli.DurationFlag{
			Name: "dedup-window", Sources: env("TIDINGS_DEDUP_WINDOW"),
			Usage:       "remember the idempotency keys of retained messages for `DURATION`, at most --retention-age; the default is 24h, or --retention-age if that is less; with --memory and --nats it is 2m",
			Validator:   validWindow,
			HideDefault: true,
		},
		text("reserve", formatSize(segmentlog.DefaultReserve), validSize(0, math.MaxInt64), "keep `SIZE` of the disk free; the server refuses messages that need this space"),
	}
}

func validSync(s string) error {
	if s == "always" {
		return nil
	}
	if d, err := time.ParseDuration(s); err != nil || d <= 0 {
		return errors.New("want always, or a duration of more than 0, as in 1s")
	}
	return nil
}

// leastAge is the shortest age, which JetStream accepts, too.
const leastAge = 100 * time.Millisecond

func validAge(d time.Duration) error {
	if d != 0 && d < leastAge {
		return fmt.Errorf("want 0 or at least %v, as in 24h", leastAge)
	}
	return nil
}

func validWindow(d time.Duration) error {
	if d < leastAge {
		return fmt.Errorf("want at least %v, as in 2m", leastAge)
	}
	return nil
}

func validWait(d time.Duration) error {
	if d < 0 {
		return errors.New("want 0 or more, as in 30s")
	}
	return nil
}

// A store is the log that the settings describe, not yet opened.
type store struct {
	where string // for the log
	open  func(context.Context) (eventlog.Log, error)

	// remote says that the log is elsewhere, and may not be there yet.
	remote bool
}

// reach opens a remote log. It returns a function that closes the log if the hub does not.
func (s *store) reach(ctx context.Context) (abandon func(), err error) {
	if !s.remote {
		return func() {}, nil
	}
	log, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	s.open = func(context.Context) (eventlog.Log, error) { return log, nil }
	return func() { log.Close() }, nil
}

// newStore returns the store of the settings. An error is one line that says what is wrong.
func newStore(cmd *cli.Command, memory memoryPlan, limits server.Limits, logger *slog.Logger) (store, error) {
	if err := contradiction(cmd); err != nil {
		return store{}, err
	}
	age, window := bound(cmd.Duration("retention-age")), cmd.Duration("dedup-window")
	bytes := bound(size(cmd, "retention-bytes"))
	switch {
	case cmd.Bool("memory"):
		if !cmd.IsSet("retention-bytes") {
			bytes = memoryBytes
		}
		if bytes < 0 {
			return store{}, errors.New("--retention-bytes 0 with --memory would fill the memory without limit; give a size, as in 64MiB")
		}
		return store{where: "memory", open: func(context.Context) (eventlog.Log, error) {
			return eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: age, MaxBytes: int(min(bytes, math.MaxInt)), DedupWindow: window}), nil
		}}, nil
	case cmd.String("nats") != "":
		return natsStore(cmd, logger, age, bytes, window)
	}
	opts := &segmentlog.Options{
		Dir: cmd.String("data"), MaxAge: age, MaxBytes: bytes, DedupWindow: window,
		IndexMemory: memory.index, IndexFiles: min(segmentlog.DefaultIndexFiles, limits.Kept/2), Logger: logger,
	}
	if cmd.IsSet("reserve") { // otherwise it is less on a small disk
		opts.Reserve = bound(size(cmd, "reserve"))
	}
	if s := cmd.String("sync"); s != "always" {
		var err error
		if opts.Sync, err = time.ParseDuration(s); err != nil {
			return store{}, err
		}
	}
	return store{where: opts.Dir, open: func(ctx context.Context) (eventlog.Log, error) { return opened(segmentlog.Open(ctx, opts)) }}, nil
}

// natsStore is newStore for --nats.
func natsStore(cmd *cli.Command, logger *slog.Logger, age time.Duration, bytes int64, window time.Duration) (store, error) {
	if (cmd.String("nats-cert") == "") != (cmd.String("nats-key") == "") {
		return store{}, errors.New("--nats-cert and --nats-key go together; give both or neither")
	}
	opts := &natslog.Options{
		URL:             cmd.String("nats"),
		CredentialsFile: cmd.String("nats-creds"),
		CAFile:          cmd.String("nats-ca"), CertFile: cmd.String("nats-cert"), KeyFile: cmd.String("nats-key"),
		Stream: cmd.String("nats-stream"), Replicas: cmd.Int("nats-replicas"), Wait: cmd.Duration("nats-wait"), Logger: logger,
	}
	// An existing stream keeps the settings that are not given.
	if cmd.IsSet("retention-age") {
		opts.MaxAge = age
	}
	if cmd.IsSet("retention-bytes") {
		opts.MaxBytes = bytes
	}
	opts.DedupWindow = window
	servers, err := withoutPasswords(opts.URL)
	if err != nil {
		return store{}, err
	}
	return store{
		where:  "stream " + opts.Stream + " of " + servers,
		open:   func(ctx context.Context) (eventlog.Log, error) { return opened(natslog.Connect(ctx, opts)) },
		remote: true,
	}, nil
}

// opened returns a nil eventlog.Log, not one that holds a nil pointer, with an error.
func opened[L eventlog.Log](l L, err error) (eventlog.Log, error) {
	if err != nil {
		return nil, err
	}
	return l, nil
}

// withoutPasswords removes users and passwords from a list of URLs, so that it can be logged.
func withoutPasswords(list string) (string, error) {
	var shown []string
	for s := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || u.Host == "" {
			return "", errors.New("--nats: want a URL, as in nats://host:4222, or several URLs separated by commas")
		}
		u.User = nil
		shown = append(shown, u.String())
	}
	return strings.Join(shown, ","), nil
}

// bound converts a flag, where 0 means no bound, to an option of the logs, where
// a negative value means none.
func bound[T int64 | time.Duration](flag T) T {
	if flag == 0 {
		return -1
	}
	return flag
}

// contradiction returns an error for settings that exclude or lack another one.
func contradiction(cmd *cli.Command) error {
	given := func(flag string) bool { return cmd.IsSet(flag) }
	memory, nats := cmd.Bool("memory"), cmd.String("nats") != ""
	switch {
	case memory && nats:
		return errors.New("--memory and --nats exclude each other: messages are stored in one place; give one of them")
	case memory && given("data"):
		return errors.New("--memory and --data exclude each other: messages are stored in one place; give one of them")
	case nats && given("data"):
		return errors.New("--nats and --data exclude each other: messages are stored in one place; give one of them")
	case memory && given("sync"):
		return errors.New("--sync says when to fsync messages, but --memory uses no disk; give one of them")
	case nats && given("sync"):
		return errors.New("--sync has no effect with --nats: the NATS servers have their own setting for fsync; leave it out")
	case (memory || nats) && given("reserve"):
		return errors.New("--reserve applies to the disk of --data, which is not used; leave it out")
	}
	age, window := cmd.Duration("retention-age"), cmd.Duration("dedup-window")
	// A stream that exists on NATS keeps its age if none is given.
	if age > 0 && window > age && (given("retention-age") || !nats) {
		return fmt.Errorf("--dedup-window %v is longer than --retention-age %v: a key cannot outlive its message; choose a shorter window or a longer age", window, age)
	}
	bytes, message := size(cmd, "retention-bytes"), size(cmd, "max-message")
	if given("max-message") && given("retention-bytes") && bytes > 0 && message >= bytes {
		return fmt.Errorf("messages of --max-message %s do not fit into --retention-bytes %s; choose a smaller message or a larger retention", formatSize(message), formatSize(bytes))
	}
	for _, flag := range []string{"nats-creds", "nats-ca", "nats-cert", "nats-key", "nats-stream", "nats-replicas", "nats-wait"} {
		if !nats && given(flag) {
			return fmt.Errorf("--%s requires --nats; give --nats, too, or leave it out", flag)
		}
	}
	return nil
}
