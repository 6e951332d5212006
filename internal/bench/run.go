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

// A Bench is a load that is ready to run.
type Bench struct {
	cfg    Config
	target *target
}

// New checks the configuration. Its error is one line that says what is wrong with
// which flag of "tidings bench".
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

// Run runs the load and reports the results. When ctx is done it ends early and
// reports the results so far, without an error. Its error is one line for the user
// that says why there is no report: the server cannot be reached or opens no
// stream, the server's process cannot be measured, or this process may not open
// enough files. Missing messages are in the report and are no error.
//
// A Bench can run again, but not concurrently.
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

// A run is one run of a Bench.
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
		// Leave half of the processors to the server, which may be on this machine.
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

// topic returns the name of a topic, which no other run uses.
func (r *run) topic(i int) string { return fmt.Sprintf("bench.%08x.%d", r.id, i) }

// now is the time since the run began.
func (r *run) now() time.Duration { return time.Since(r.start) }

// A request holds the bytes of a request before and after the number of its topic.
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

// pollInterval is the time between two looks at the state of a run.
const pollInterval = 5 * time.Millisecond

// do runs the load after the probe.
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
		r.problems.note("pid", fmt.Sprintf("--pid %d can no longer be measured: %v", r.cfg.PID, m.err))
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

// opening waits until every stream has opened or failed, or until none does for the timeout.
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
		sleep(ctx, pollInterval)
	}
}

// rest leaves the streams idle for the configured time.
func (r *run) rest(ctx context.Context) {
	progress := r.progress()
	for end := time.Now().Add(r.cfg.Idle); time.Now().Before(end) && ctx.Err() == nil; {
		progress(func() string { return "the streams are idle" })
		sleep(ctx, min(pollInterval, time.Until(end)))
	}
}

// publish publishes the messages. It returns when all are acknowledged, and each
// subscriber has each message or can no longer get it. It reports whether it gave
// up because nothing arrived for the timeout.
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
		time.Sleep(pollInterval)
	}
}

// progress returns a function that calls Progress with a text once per ProgressEvery.
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

// sleep sleeps for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
