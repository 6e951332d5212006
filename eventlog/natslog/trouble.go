package natslog

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

const (
	// tailPatience is how long a Tail may be behind the stream before that is an alarm.
	tailPatience = 10 * time.Second

	// tailStall is how long a Tail that is behind may get nothing before it makes its consumer
	// anew, and how often it does so. The consumer is on one server of the stream. If that server
	// has not caught up after a power loss, the consumer lives and delivers nothing.
	tailStall = 3 * time.Second
)

// A trouble is something that the person who runs the program has to repair. Methods may be
// called concurrently.
type trouble struct {
	mu   sync.Mutex
	errs map[string]error // by kind
}

// The kinds of trouble.
const (
	configTrouble = "config"
	tailTrouble   = "tail"
)

// set notes a trouble, or that it has ended. It reports whether that is news.
func (t *trouble) set(kind string, err error) (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.errs[kind]
	if err == nil {
		delete(t.errs, kind)
		return old != nil
	}
	if t.errs == nil {
		t.errs = map[string]error{}
	}
	t.errs[kind] = err
	return old == nil || old.Error() != err.Error()
}

// Trouble implements [eventlog.Monitor]: the stream has settings with which it cannot hold the
// log, or its messages do not reach the Tail.
func (l *Log) Trouble() error {
	l.trouble.mu.Lock()
	defer l.trouble.mu.Unlock()
	var all []error
	for _, kind := range []string{configTrouble, tailTrouble} {
		if err := l.trouble.errs[kind]; err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// report notes a trouble, and logs what is new.
func (l *Log) report(kind string, err error) {
	switch news := l.trouble.set(kind, err); {
	case news && err != nil:
		l.opts.Logger.Error(err.Error())
	case news:
		l.opts.Logger.Info("the trouble has ended", "kind", kind)
	}
}

// checkConfig checks the settings of the stream. It sets back what makes readers fail, and reports
// everything else.
func (l *Log) checkConfig(g *generation, info *jetstream.StreamInfo) {
	config := info.Config
	if why := l.unfit(config); why != "" {
		l.report(configTrouble, errors.New("somebody has changed the stream "+l.opts.Stream+": "+why))
		return
	}
	l.report(configTrouble, nil)
	if !config.AllowDirect {
		config.AllowDirect = true
		within, cancel := l.request(l.closing)
		defer cancel()
		if _, err := l.link.Load().js.UpdateStream(within, config); err != nil {
			l.report(configTrouble, errors.New("the stream "+l.opts.Stream+" cannot be read, because allow_direct is off, and it cannot be set back: "+err.Error()))
			return
		}
		l.opts.Logger.Warn("somebody has switched off allow_direct of the stream; it is on again", "stream", l.opts.Stream)
	}
}

// A tailWatch says how far Tails have come. Methods may be called concurrently.
type tailWatch struct {
	reached atomic.Uint64
	tailing atomic.Bool   // some Tail has begun
	began   atomic.Int64  // when the newest consumer was made, in Unix nanoseconds
	renew   chan struct{} // makes a Tail give its consumer up

	// Only watch uses these.
	since  time.Time // when goal was set
	goal   uint64
	number uint64    // of the generation
	last   uint64    // what reached was at the last look
	moved  time.Time // when last was set, or the consumer was given up
}

// checkTail has a Tail that is behind the stream, and gets nothing, make its consumer anew. It
// reports a Tail that has been behind for long.
func (l *Log) checkTail(g *generation, info *jetstream.StreamInfo) {
	w, now := &l.tail, time.Now()
	reached := w.reached.Load()
	if !w.tailing.Load() || w.number != g.number || reached >= w.goal {
		w.since, w.goal, w.number = now, info.State.LastSeq, g.number
		w.last, w.moved = reached, now
		l.report(tailTrouble, nil)
		return
	}
	if reached != w.last {
		w.last, w.moved = reached, now
	}
	late, stalls := now.Sub(w.since) >= tailPatience, now.Sub(w.moved) >= tailStall && now.Sub(time.Unix(0, w.began.Load())) >= tailStall
	if !late && !stalls {
		return
	}
	// The rest may have been removed.
	r, err := l.next(l.closing, l.names.everything(), reached+1)
	switch {
	case errors.Is(err, eventlog.ErrNotFound) || err == nil && r.Seq > w.goal:
		w.goal = reached
		return
	case err != nil:
		return
	}
	if stalls {
		w.moved = now
		l.renewConsumer(reached)
	}
	if late {
		l.report(tailTrouble, errors.New("messages of the stream "+l.opts.Stream+" are stored, but do not reach this server within 10 s; the stream or the account may have a limit of consumers"))
	}
}

// renewConsumer has the Tail give its consumer up, and go on with another one after what it has
// reached.
func (l *Log) renewConsumer(reached uint64) {
	select {
	case l.tail.renew <- struct{}{}:
	default:
		return
	}
	if text := "the consumer of the stream delivers nothing; another one goes on"; l.warnings.due(text) {
		l.opts.Logger.Warn(text, "after", reached)
	}
}

// Warnings are logged once a minute for each text. Methods may be called concurrently.
type warnings struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// due reports whether a text is to be logged now.
func (w *warnings) due(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.last[text]) < time.Minute {
		return false
	}
	if w.last == nil || len(w.last) >= mostTexts {
		w.last = map[string]time.Time{}
	}
	w.last[text] = time.Now()
	return true
}

// mostTexts bounds how many texts are remembered. Some have numbers.
const mostTexts = 100

func (w *warnings) warn(l *Log, text string, err error) {
	if w.due(text) {
		l.opts.Logger.Warn(text, "error", err)
	}
}
