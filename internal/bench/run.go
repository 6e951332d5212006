package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"time"
)

// A Bench is a load that is yet to be made.
type Bench struct {
	cfg    Config
	target *target
}

// New checks the configuration. Its error is one line that says what is wrong with
// which setting, in terms of the flags of "tidings bench".
func New(cfg Config) (*Bench, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	t, err := newTarget(cfg)
	if err != nil {
		return nil, err
	}
	return &Bench{cfg, t}, nil
}

// Run makes the load, and reports what has come of it. When ctx is done it ends
// early, and reports what there is; that is no error. An error, one line for the
// user, is why there is nothing to report: the server cannot be reached or opens
// no stream, the process cannot be measured, or this one may not open as many
// files. What the subscribers did not get is in the report and is no error.
//
// A Bench runs once at a time.
func (b *Bench) Run(ctx context.Context) (*Report, error) {
	var p *process
	if b.cfg.PID != 0 {
		var err error
		if p, err = newProcess(b.cfg.PID); err != nil {
			return nil, err
		}
	}
	if err := roomForFiles(b.cfg.Subscribers + b.cfg.Publishers); err != nil {
		return nil, err
	}
	r := newRun(b.cfg, b.target)
	if err := b.target.probe(ctx, r.topic(0), b.cfg.Timeout); err != nil {
		return nil, err
	}
	return r.do(ctx, p)
}

// A run is a Bench that runs.
type run struct {
	cfg         Config
	target      *target
	id          uint32
	start       time.Time
	subscribers []subscriber
	tallies     []tally
	flow        *flow
	publishers  []publisher
	open, post  request
	problems    problems
	acked       histogram
}

func newRun(cfg Config, t *target) *run {
	r := &run{
		cfg: cfg, target: t, id: rand.Uint32(), start: time.Now(),
		subscribers: make([]subscriber, cfg.Subscribers),
		// The server is to have the other half of the processors, if it is here.
		tallies: make([]tally, min(max(1, runtime.GOMAXPROCS(0)/2), cfg.Subscribers)),
		flow:    newFlow(cfg.Topics, cfg.InFlight, cfg.Publishers),
	}
	const number = "NUMBER"
	topic := fmt.Sprintf("bench.%08x.%s", r.id, number)
	r.open = newRequest(t.request("GET", eventsPath(topic), 0), number)
	r.post = newRequest(t.request("POST", topicPath(topic), cfg.Payload), number)
	for i := range r.subscribers {
		r.subscribers[i] = subscriber{
			run: r, tally: &r.tallies[i%len(r.tallies)], index: i, topic: uint32(i % cfg.Topics),
			scan: scanner{limit: r.limit()},
		}
	}
	for i := range cfg.Publishers {
		r.publishers = append(r.publishers, publisher{run: r, index: i})
	}
	return r
}

// topic returns the name of a topic: no other run has it.
func (r *run) topic(i int) string { return fmt.Sprintf("bench.%08x.%d", r.id, i) }

// now is the time since the run began.
func (r *run) now() time.Duration { return time.Since(r.start) }

// A request is the bytes of one, without the number of its topic.
type request struct{ before, after []byte }

func newRequest(b []byte, number string) request {
	before, after, _ := bytes.Cut(b, []byte(number))
	return request{before, after}
}

func (q request) append(b []byte, topic uint32) []byte {
	b = append(b, q.before...)
	b = strconv.AppendUint(b, uint64(topic), 10)
	return append(b, q.after...)
}

// glance is how often the run is looked at.
const glance = 5 * time.Millisecond

// do is the run, once the server is known to answer.
func (r *run) do(ctx context.Context, p *process) (*Report, error) {
	rep := &Report{}
	var m measured
	m.take(p, &m.before)
	began := r.now()
	e := start(r)
	defer func() {
		if e != nil {
			e.stop()
		}
	}()
	r.opening(ctx)
	r.flow.seal()
	opened := sum(r.tallies)
	if opened.opened == 0 && ctx.Err() == nil {
		if texts := r.problems.list(); len(texts) > 0 {
			return nil, fmt.Errorf("no stream could be opened: %s", texts[0])
		}
		return nil, fmt.Errorf("no stream has opened within %v", r.cfg.Timeout)
	}
	r.rest(ctx)
	m.take(p, &m.idle)

	published, bytesBefore := r.now(), sum(r.tallies).bytes
	own, ownKnown := ownCPU()
	m.cpuFrom(p)
	if ctx.Err() == nil {
		rep.Stalled = r.publish(ctx)
	}
	m.cpuTo(p)
	ownEnd, _ := ownCPU()
	m.take(p, &m.after)
	if m.err != nil {
		r.problems.note("pid", fmt.Sprintf("--pid %d cannot be measured any more: %v", r.cfg.PID, m.err))
	}
	if ctx.Err() == nil {
		time.Sleep(r.cfg.Linger)
	}
	e.stop()
	e = nil

	rep.Interrupted = ctx.Err() != nil
	r.settings(rep)
	r.connects(rep, opened, began)
	r.results(rep, published, bytesBefore)
	if ownKnown && rep.Deliveries > 0 {
		rep.ClientCPU = perUnit(ownEnd-own, rep.Deliveries)
	}
	m.report(rep)
	rep.Problems = append([]string{}, r.problems.list()...)
	return rep, nil
}

// opening waits until every stream has opened or failed, or no more does.
func (r *run) opening(ctx context.Context) {
	progress, before, since := r.progress(), int64(-1), time.Now()
	for ctx.Err() == nil {
		s := sum(r.tallies)
		n := s.opened + s.failed
		if n >= int64(r.cfg.Subscribers) {
			return
		}
		if n != before {
			before, since = n, time.Now()
		} else if time.Since(since) > r.cfg.Timeout {
			r.problems.note("not open", fmt.Sprintf("no more streams have opened within %v", r.cfg.Timeout))
			return
		}
		progress(func() string {
			return fmt.Sprintf("%s of %s streams are open", grouped(s.opened), grouped(int64(r.cfg.Subscribers)))
		})
		sleep(ctx, glance)
	}
}

// rest waits for the time that was asked for.
func (r *run) rest(ctx context.Context) {
	progress := r.progress()
	for end := time.Now().Add(r.cfg.Idle); time.Now().Before(end) && ctx.Err() == nil; {
		progress(func() string { return "the streams rest" })
		sleep(ctx, min(glance, time.Until(end)))
	}
}

// publish publishes the messages, and returns when all have been acknowledged and
// each subscriber has each, or cannot get it any more. It reports whether it gave up
// since nothing has arrived for the timeout.
func (r *run) publish(ctx context.Context) (stalled bool) {
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.publishAll(run)
	}()
	defer func() {
		cancel()
		<-done
	}()

	progress, since := r.progress(), time.Now()
	var before, last total
	lastTime := time.Now()
	var beforeSent, beforeAcked int64
	for {
		s := sum(r.tallies)
		sent, acked, running := r.published()
		waiting := sent - acked // for acknowledgements
		owed := r.flow.owed() - s.settled
		if !running {
			select {
			case <-done:
			default:
				running = true
			}
		}
		if !running && owed <= 0 {
			return false
		}
		patience, cutShort := r.cfg.Timeout, ctx.Err() != nil || !running && sent < int64(r.cfg.Messages)
		if cutShort {
			patience = min(patience, 5*r.cfg.Linger)
		}
		switch {
		case s != before || sent != beforeSent || acked != beforeAcked, owed <= 0 && waiting <= 0:
			before, beforeSent, beforeAcked, since = s, sent, acked, time.Now()
		case time.Since(since) > patience:
			return !cutShort
		}
		progress(func() string {
			rate := float64(s.deliveries-last.deliveries) / time.Since(lastTime).Seconds()
			last, lastTime = s, time.Now()
			return fmt.Sprintf("%s of %s messages, %s deliveries (%s/s), missing so far: %s",
				grouped(sent), grouped(int64(r.cfg.Messages)), grouped(s.deliveries), grouped(int64(rate)), grouped(s.skipped))
		})
		time.Sleep(glance)
	}
}

// progress returns a function that calls Progress with a text when it is time.
func (r *run) progress() func(text func() string) {
	last := time.Now()
	return func(text func() string) {
		if r.cfg.Progress == nil || time.Since(last) < r.cfg.ProgressEvery {
			return
		}
		last = time.Now()
		r.cfg.Progress(text())
	}
}

// sleep sleeps, and less when ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
