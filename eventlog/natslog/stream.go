package natslog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

// epochKey is the name of a stream's first epoch in its metadata.
const epochKey = "tidings-epoch"

// A generation serves the log until the log is opened anew.
type generation struct {
	number uint64
	epochs eventlog.Timeline
	known  *known
	anchor identity                 // what verify has seen last; only watch uses it
	other  atomic.Pointer[identity] // of disagree, or nil
	holes  holes
	wide   wide
	topics topicNames
	count  atomic.Int64  // topics, as of the last answer that says so
	head   atomic.Uint64 // the greatest sequence number seen
	bytes  atomic.Int64  // the stream's MaxBytes, as far as known
	copies atomic.Int64  // the stream's replicas, as far as known
	gone   chan struct{} // closed when another generation takes over

	settle time.Duration // how long a leader may lack what was acknowledged
	config jetstream.StreamConfig
}

// advance raises the head to seq. It never lowers the head.
func (g *generation) advance(seq uint64) {
	for old := g.head.Load(); seq > old && !g.head.CompareAndSwap(old, seq); {
		old = g.head.Load()
	}
}

// isOf reports whether the leader's answer is about the stream of the generation, and not one
// that was made again under its name.
func (g *generation) isOf(info *jetstream.StreamInfo) bool {
	return info.Config.Metadata[epochKey] == g.epochs[0].ID
}

// ensureTimeout bounds how long a stream that was deleted is made before watch looks again.
const ensureTimeout = 2 * time.Second

// again calls f with ever longer timeouts, the first of which is given, while f gets no answer or finds
// no stream. When several processes make a stream at the same time, NATS answers some of them nothing,
// or that there is a stream of the name, and then that there is none. The next request is answered.
func (l *Log) again(ctx context.Context, timeout time.Duration, f func(context.Context) error) error {
	for ; ; timeout *= 2 {
		within, cancel := context.WithTimeout(ctx, timeout)
		err := f(within)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		if ctx.Err() != nil || l.pause(ctx, time.Now().Add(time.Second)) != nil {
			return err
		}
	}
}

// open opens the stream, and begins a generation of the log. found is what watch has found out about
// the stream's end, or nil. Connect calls it, and then only watch.
func (l *Log) open(ctx context.Context, found *verdict) error {
	ctx, cancel := context.WithTimeout(ctx, 4*requestTimeout)
	defer cancel()
	if v := l.link.Load().nc.ConnectedServerVersion(); older(v, 2, 11) {
		return fmt.Errorf("the server has version %s, and 2.11 or later is needed", v)
	}
	ensuring, done := ctx, context.CancelFunc(func() {})
	if l.now.Load() != nil { // watch tries again
		ensuring, done = context.WithTimeout(ctx, ensureTimeout)
	}
	err := l.again(ensuring, lookTimeout, l.ensure)
	done()
	if err != nil {
		return err
	}
	var info *jetstream.StreamInfo
	err = l.again(ctx, lookTimeout, func(ctx context.Context) (err error) {
		info, err = l.ask(ctx, infoRequest{Deleted: true})
		return err
	})
	if err != nil {
		return err
	}
	g := &generation{number: 1, gone: make(chan struct{}), settle: settleOf(info), config: info.Config}
	old := l.now.Load()
	if old != nil {
		g.number = old.number + 1
		if !old.isOf(info) {
			old = nil // of another stream
		}
	}
	if err := l.settleEpochs(ctx, g, old, info, found); err != nil {
		return err
	}
	if old != nil && slices.Equal(g.epochs, old.epochs) {
		return nil // it is the same after all
	}
	g.holes.version = g.number << 32 // greater than those of the generations before
	g.topics.filling = make(chan struct{}, 1)
	g.count.Store(int64(info.State.NumSubjects))
	g.bytes.Store(info.Config.MaxBytes)
	g.copies.Store(int64(info.Config.Replicas))
	g.advance(info.State.LastSeq)
	g.holes.find(info)
	if old != nil {
		g.holes.remember(&old.holes)
	}
	if before := l.now.Swap(g); before != nil {
		close(before.gone)
	}
	return nil
}

// settleEpochs finds the epochs of a generation, and begins a new one if the stream has lost its
// end. Others may do the same: whoever writes the list first decides.
func (l *Log) settleEpochs(ctx context.Context, g, old *generation, info *jetstream.StreamInfo, found *verdict) error {
	for {
		listing, cancel := ctx, context.CancelFunc(func() {})
		if old != nil { // it is needed for the processes that start later
			listing, cancel = context.WithTimeout(ctx, listPatience)
		}
		s, err := l.findList(listing, info.Config.Metadata[epochKey])
		if err != nil {
			l.listFailed(err)
			s = parseList(nil, info.Config.Metadata[epochKey])
		}
		if old != nil {
			s.merge(old.epochs)
		}
		g.epochs = s.timeline()
		g.known = newKnown()
		if old != nil {
			g.known = old.known.until(lastValid(old.epochs, g.epochs))
		}
		for _, p := range s.Points {
			g.known.add(identity{seq: p.Seq, time: p.Time.UnixNano()})
		}
		v := found
		if v == nil || len(g.epochs) > 1 && old != nil && len(g.epochs) > len(old.epochs) {
			if v, err = l.verify(ctx, g); err != nil {
				cancel()
				return err
			}
		}
		if l.now.Load() == nil && !v.lost && l.doubtful(ctx, s, g, info) {
			l.opts.Logger.Warn("NATS was started again while no server ran that knows the end of the stream; it may have lost it, and subscribers are told")
			v = &verdict{lost: true, at: info.State.LastSeq, was: info.State.LastSeq}
		}
		if v.lost {
			s.cut(v.at)
			s.vouch(l.link.Load().nc.ConnectedServerId())
			err := l.saveList(listing, s, info.Config.Replicas)
			if errors.Is(err, errListChanged) {
				cancel()
				found = nil
				continue
			}
			if err != nil {
				l.listFailed(err) // keepList tries again
			}
		}
		cancel()
		g.epochs = s.timeline()
		if v.lost {
			g.known = g.known.until(v.at)
			l.opts.Logger.Error("the stream has lost its end; subscribers are told",
				"last", v.at, "was", v.was, "epoch", g.epochs[len(g.epochs)-1].ID)
		}
		return nil
	}
}

// lastValid returns the last number up to which what was seen under some epochs is valid under
// others too.
func lastValid(old, next eventlog.Timeline) uint64 {
	last := uint64(math.MaxUint64)
	for _, e := range next {
		if !old.Knows(e.ID) {
			last = min(last, e.First-1)
		}
	}
	return last
}

// listFailed logs that the list of epochs cannot be read or written. The log goes on: marks tell
// records from others, but a process that starts later does not know of a loss.
func (l *Log) listFailed(err error) {
	if l.listWarned.CompareAndSwap(false, true) {
		l.opts.Logger.Warn("the list of epochs is not available; a process that starts later does not know where the stream has lost its end", "error", err)
	}
}

// older reports whether a server's version is older than another one.
func older(version string, major, minor int) bool {
	var gotMajor, gotMinor int
	n, _ := fmt.Sscanf(version, "%d.%d", &gotMajor, &gotMinor)
	return n == 2 && (gotMajor < major || gotMajor == major && gotMinor < minor)
}

// ensure makes the stream, or changes it to what the options say.
func (l *Log) ensure(ctx context.Context) error {
	js := l.link.Load().js
	stream, err := js.Stream(ctx, l.opts.Stream)
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
			return err
		}
		_, err = js.CreateStream(ctx, config)
		if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return fmt.Errorf("the stream %q cannot be made: %w", l.opts.Stream, err)
		}
		// If another process was faster, the epoch is that of the other process.
		stream, err = js.Stream(ctx, l.opts.Stream)
	}
	if err != nil {
		return fmt.Errorf("the stream %q: %w", l.opts.Stream, err)
	}
	return l.adopt(ctx, stream.CachedInfo().Config)
}

// adopt checks that a stream is one of Tidings, and changes it to what the options say.
func (l *Log) adopt(ctx context.Context, config jetstream.StreamConfig) error {
	if why := l.unfit(config); why != "" {
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
	if _, err := l.link.Load().js.UpdateStream(ctx, want); err != nil {
		return fmt.Errorf("the stream %q cannot be changed: %w", l.opts.Stream, err)
	}
	return nil
}

// unfit returns why a stream cannot hold the log, and names the setting, or returns "".
func (l *Log) unfit(config jetstream.StreamConfig) string {
	switch {
	case len(config.Subjects) != 1 || config.Subjects[0] != l.names.all():
		return fmt.Sprintf("its subjects are %q, not %q", config.Subjects, l.names.all())
	case config.Mirror != nil || len(config.Sources) > 0:
		return "it copies other streams (mirror, sources)"
	case config.Retention != jetstream.LimitsPolicy:
		return "its retention is not by limits"
	case config.MaxMsgsPerSubject > 0:
		return fmt.Sprintf("its retention is by subject: max_msgs_per_subject is %d, and must not be set", config.MaxMsgsPerSubject)
	case config.Discard != jetstream.DiscardOld:
		return "its retention refuses new messages: discard is new, and must be old"
	case config.NoAck:
		return "it does not acknowledge messages: no_ack is set"
	case config.Sealed:
		return "it takes no messages: it is sealed"
	}
	return ""
}
