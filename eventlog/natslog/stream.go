package natslog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

// epochKey is the name of a stream's epoch in its metadata.
const epochKey = "tidings-epoch"

// open opens the stream, and begins a generation of the log. Connect calls it, and then only
// watch.
func (l *Log) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	if v := l.nc.ConnectedServerVersion(); older(v) {
		return fmt.Errorf("the server has version %s, and 2.11 or later is needed", v)
	}
	stream, err := l.ensure(ctx)
	if err != nil {
		return err
	}
	info, err := stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return err
	}
	g := &generation{
		number: 1, stream: stream, gone: make(chan struct{}),
		epochs: eventlog.Timeline{{ID: info.Config.Metadata[epochKey], First: 1}},
	}
	g.topics.filling = make(chan struct{}, 1)
	g.count.Store(int64(info.State.NumSubjects))
	g.bytes.Store(info.Config.MaxBytes)
	g.advance(info.State.LastSeq)
	for _, seq := range info.State.Deleted {
		if seq >= max(info.State.FirstSeq, 1) { // JetStream reports number 0 as missing from an empty stream
			g.holes.add(seq, seq)
		}
	}
	if old := l.now.Load(); old != nil {
		g.number = old.number + 1
		if g.epochs[0] == old.epochs[0] {
			g.holes.remember(&old.holes)
		}
		defer close(old.gone)
	}
	l.now.Store(g)
	return nil
}

// older reports whether a server is too old for batches of DIRECT.GET.
func older(version string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return n == 2 && (major < 2 || major == 2 && minor < 11)
}

// ensure makes the stream, or changes it to what the options say.
func (l *Log) ensure(ctx context.Context) (jetstream.Stream, error) {
	stream, err := l.js.Stream(ctx, l.opts.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		config := jetstream.StreamConfig{
			Name:        l.opts.Stream,
			Description: "Messages of Tidings",
			Subjects:    []string{l.names.all()},
			Storage:     jetstream.FileStorage,
			MaxAge:      DefaultMaxAge,
			MaxBytes:    DefaultMaxBytes,
			Replicas:    max(l.opts.Replicas, 1),
			AllowDirect: true,
			Metadata:    map[string]string{epochKey: eventlog.NewEpochID(time.Now())},
		}
		if err := l.opts.retention(&config); err != nil {
			return nil, err
		}
		_, err = l.js.CreateStream(ctx, config)
		if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil, fmt.Errorf("the stream %q cannot be made: %w", l.opts.Stream, err)
		}
		// If another process was faster, the epoch is that of the other process.
		stream, err = l.js.Stream(ctx, l.opts.Stream)
	}
	if err != nil {
		return nil, fmt.Errorf("the stream %q: %w", l.opts.Stream, err)
	}
	return stream, l.adopt(ctx, stream.CachedInfo().Config)
}

// adopt checks that a stream is one of Tidings, and changes it to what the options say.
func (l *Log) adopt(ctx context.Context, config jetstream.StreamConfig) error {
	var why string
	switch {
	case !slices.Equal(config.Subjects, []string{l.names.all()}):
		why = fmt.Sprintf("its subjects are %q, not %q", config.Subjects, l.names.all())
	case config.Mirror != nil || len(config.Sources) > 0:
		why = "it copies other streams"
	case config.Retention != jetstream.LimitsPolicy || config.MaxMsgsPerSubject > 0 || config.Discard != jetstream.DiscardOld:
		why = "its retention is not by age and size, the oldest first"
	case config.NoAck || config.Sealed:
		why = "it does not acknowledge messages"
	}
	if why != "" {
		return fmt.Errorf("the stream %q is not one of Tidings: %s", l.opts.Stream, why)
	}
	want := config
	want.AllowDirect = true
	if l.opts.Replicas != 0 {
		want.Replicas = l.opts.Replicas
	}
	if err := l.opts.retention(&want); err != nil {
		return err
	}
	if config.Metadata[epochKey] == "" {
		want.Metadata = map[string]string{epochKey: eventlog.NewEpochID(time.Now())}
		maps.Copy(want.Metadata, config.Metadata)
	} else if want.AllowDirect == config.AllowDirect && want.Replicas == config.Replicas && want.MaxAge == config.MaxAge &&
		want.MaxBytes == config.MaxBytes && want.Duplicates == config.Duplicates {
		return nil
	}
	if _, err := l.js.UpdateStream(ctx, want); err != nil {
		return fmt.Errorf("the stream %q cannot be changed: %w", l.opts.Stream, err)
	}
	return nil
}

// watchInterval is how often watch looks whether the stream is still the same.
const watchInterval = 5 * time.Second

// suspect makes watch look at once whether the stream is still the same.
func (l *Log) suspect() {
	select {
	case l.look <- struct{}{}:
	default:
	}
}

// watch looks whether the stream is still the same, at intervals and when something is
// suspect. If it is not, watch opens the log anew.
func (l *Log) watch() {
	t := time.NewTicker(watchInterval)
	defer t.Stop()
	for {
		select {
		case <-l.closing.Done():
			return
		case <-t.C:
		case <-l.look:
		}
		if !l.nc.IsConnected() {
			continue
		}
		if why := l.changed(); why != "" {
			l.opts.Logger.Error("the log is reopened: " + why)
			if err := l.open(l.closing); err != nil && l.closing.Err() == nil {
				l.opts.Logger.Error("the log cannot be reopened", "error", err)
			}
		}
	}
}

// isOf reports whether the leader's answer is about the stream of the generation, and not one
// that was made again under its name.
func (g *generation) isOf(info *jetstream.StreamInfo) bool {
	return info.Config.Metadata[epochKey] == g.epochs[0].ID
}

// changed returns why the stream is no longer the same, or "".
func (l *Log) changed() string {
	g := l.now.Load()
	head := g.head.Load()
	info, err := l.ask(l.closing, g)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return "the stream is gone"
	case err != nil:
		return "" // it cannot be asked now
	case !g.isOf(info):
		return "the stream was made again"
	case l.reused.Swap(false):
		return fmt.Sprintf("the stream has lost its end, and assigns numbers up to %d again", head)
	case info.State.LastSeq < head:
		return fmt.Sprintf("the stream has lost its end: it was at %d, and is at %d", head, info.State.LastSeq)
	}
	g.bytes.Store(info.Config.MaxBytes)
	g.advance(info.State.LastSeq)
	g.holes.forget(info.State.FirstSeq)
	return ""
}
