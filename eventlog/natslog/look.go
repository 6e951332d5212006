package natslog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

const (
	// watchInterval is how often watch looks whether the stream is still the same.
	watchInterval = 2 * time.Second

	// settleCluster is how long the leader of a replicated stream may lack what was
	// acknowledged. STREAM.INFO and STREAM.MSG.GET are no confirmed reads: a server that was just
	// elected, or that was the leader, answers with less. The only server of a stream knows it.
	settleCluster = 6 * time.Second
	settleAlone   = 500 * time.Millisecond
)

func settleOf(info *jetstream.StreamInfo) time.Duration {
	if info.Config.Replicas > 1 {
		return settleCluster
	}
	return settleAlone
}

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
	t := time.NewTimer(watchInterval)
	defer t.Stop()
	for {
		select {
		case <-l.closing.Done():
			return
		case <-t.C:
		case <-l.look:
		}
		if l.examine() {
			t.Reset(watchInterval)
		} else {
			t.Reset(retryWait)
		}
	}
}

// examine looks at the stream once. It returns false if it has to look again soon.
func (l *Log) examine() (done bool) {
	nc := l.link.Load().nc
	if nc.IsClosed() { // for good: the client does not say why
		if err := l.dial(); err != nil {
			l.warnings.warn(l, "connecting to NATS again failed", err)
			return false
		}
		return false
	}
	if !nc.IsConnected() {
		return false
	}
	shuts, g := l.gate.shuts(), l.now.Load()
	why, found, err := l.changed(g)
	if err == nil && why != "" {
		if l.warnings.due(why) {
			l.opts.Logger.Error("the log is reopened: " + why)
		}
		shuts = l.gate.shuts()
		err = l.open(l.closing, found)
	}
	if err != nil {
		if l.closing.Err() == nil {
			l.warnings.warn(l, "looking at the stream failed", err)
		}
		return l.gate.passable()
	}
	l.gate.open(shuts)
	select {
	case l.listing <- struct{}{}:
	default:
	}
	return l.gate.passable()
}

// changed returns why the stream is no longer the same, or "". found is what it has found about
// the end of the stream.
func (l *Log) changed(g *generation) (why string, found *verdict, err error) {
	info, err := l.askSoon(l.closing)
	for try := 0; errors.Is(err, jetstream.ErrStreamNotFound) && try < 3; try++ {
		// A server that has just started may not know all streams.
		l.gate.shut()
		if err := l.pause(l.closing, time.Now().Add(time.Second)); err != nil {
			return "", nil, err
		}
		info, err = l.askSoon(l.closing)
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		l.gate.shut()
		return "the stream is gone", nil, nil
	case err != nil:
		return "", nil, err
	case !g.isOf(info):
		l.gate.shut()
		return "the stream was made again", nil, nil
	}
	if t := l.listed.Swap(nil); t != nil && (*t)[0] == g.epochs[0] && lastValid(g.epochs, *t) != math.MaxUint64 {
		l.gate.shut()
		return "another process has found that the stream has lost its end", nil, nil
	}
	found, err = l.verify(l.closing, g)
	switch {
	case err != nil:
		return "", nil, err
	case found.lost:
		return fmt.Sprintf("the stream has lost its end: it was at %d, and what remains ends at %d", found.was, found.at), found, nil
	}
	l.notice(g, info)
	return "", nil, nil
}

// notice takes over what the leader says about a stream that is the same.
func (l *Log) notice(g *generation, info *jetstream.StreamInfo) {
	g.bytes.Store(info.Config.MaxBytes)
	g.copies.Store(int64(info.Config.Replicas))
	g.count.Store(int64(info.State.NumSubjects))
	g.advance(info.State.LastSeq)
	if g.holes.differ(info) {
		if detailed, err := l.ask(l.closing, infoRequest{Deleted: true}); err == nil && g.isOf(detailed) {
			g.holes.find(detailed)
		}
	}
	g.holes.forget(info.State.FirstSeq)
	l.checkConfig(g, info)
	l.checkTail(g, info)
}

// A verdict says whether the stream has all records that the log has seen.
type verdict struct {
	lost bool
	at   uint64 // the last record that remains of what was seen, if some is lost
	was  uint64 // the last one that was seen
}

// What the stream has at the number of a record that was seen.
type standing int

const (
	theSame standing = iota
	another          // the number was used again
	beyond           // the stream does not reach so far
	absent           // it was removed, or has expired
)

// verify asks the leader for the newest record that was seen, for the one that was the newest when
// verify succeeded last, and for one in whose place a reader has seen another. If one of them is not
// there, verify asks again for a while, and meanwhile the gate is shut. Then it looks for the last
// record that is.
func (l *Log) verify(ctx context.Context, g *generation) (*verdict, error) {
	defer l.doubting.Store(false)
	for deadline := time.Now().Add(g.settle); ; {
		newest, _ := g.known.newest()
		is, upTo, err := theSame, uint64(0), error(nil)
		other := g.other.Load()
		for _, id := range []identity{g.anchor, newest, *cmp.Or(other, &identity{})} {
			if id.seq > 0 && is != another && is != beyond && err == nil {
				is, err = l.stands(ctx, id)
				upTo = id.seq
			}
		}
		if is == absent && err == nil { // the one before it tells, if there is one
			is, err = l.standsBefore(ctx, g.known.sorted())
		}
		if head := g.head.Load(); err == nil && is == theSame && head > upTo {
			is, err = l.extent(ctx, head)
			upTo = head
		}
		switch {
		case err != nil:
			return nil, err
		case is != another && is != beyond:
			g.anchor = newest
			g.other.CompareAndSwap(other, nil)
			return &verdict{}, nil
		}
		l.gate.shut()
		l.doubt()
		if is == beyond && time.Now().After(deadline) {
			if err := l.confirmLeader(ctx); err != nil {
				return nil, err
			}
		}
		if is == another || time.Now().After(deadline) {
			at, err := l.lastRemaining(ctx, g, upTo)
			return &verdict{lost: true, at: at, was: upTo}, err
		}
		if err := l.pause(ctx, deadline); err != nil && !errors.Is(err, errBehind) {
			return nil, err
		}
	}
}

// doubt has keepList note that the newest record may be gone.
func (l *Log) doubt() {
	l.doubting.Store(true)
	select {
	case l.listing <- struct{}{}:
	default:
	}
}

// disagree has verify look for a record in whose place a reader has seen another. Either the stream
// has lost it, or the reader's replica differs from the leader.
func (l *Log) disagree(g *generation, id *identity) {
	g.other.Store(id)
	l.gate.shut()
	l.suspect()
}

// contact is how recently a leader must have heard of its followers to be believed.
const contact = 3 * time.Second

// confirmLeader fails unless the leader of a replicated stream hears of most servers of the
// stream. A leader that was cut off answers for many seconds, and knows less than the next one.
func (l *Log) confirmLeader(ctx context.Context) error {
	info, err := l.askSoon(ctx)
	if err != nil || info.Config.Replicas < 2 || info.Cluster == nil {
		return err
	}
	heard := 1
	for _, peer := range info.Cluster.Replicas {
		if !peer.Offline && peer.Active < contact {
			heard++
		}
	}
	if 2*heard <= info.Config.Replicas {
		return errBehind
	}
	return nil
}

// extent says whether the stream reaches a number.
func (l *Log) extent(ctx context.Context, seq uint64) (standing, error) {
	info, err := l.askSoon(ctx)
	if err == nil && info.State.LastSeq < seq {
		return beyond, nil
	}
	return theSame, err
}

// lookTimeout bounds each request of a look. A leader that has just died does not answer, and the
// next one does.
const lookTimeout = time.Second

// askSoon is ask for a look.
func (l *Log) askSoon(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return l.ask(ctx, infoRequest{})
}

// standsBefore says how the last of some identities stands whose record is not absent. It gives up
// after some.
func (l *Log) standsBefore(ctx context.Context, ids []identity) (standing, error) {
	for step, i := 1, len(ids)-2; i >= 0; step, i = 2*step, i-step {
		if is, err := l.stands(ctx, ids[i]); err != nil || is != absent {
			return is, err
		}
	}
	return absent, nil
}

// stands says what the stream has at the number of a record.
func (l *Log) stands(ctx context.Context, id identity) (standing, error) {
	soon, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	r, err := l.one(soon, getRequest{Seq: id.seq})
	switch {
	case err == nil && id.is(r):
		return theSame, nil
	case err == nil:
		return another, nil
	case !errors.Is(err, eventlog.ErrNotFound):
		return absent, err
	}
	is, err := l.extent(ctx, id.seq)
	if is == theSame {
		is = absent
	}
	return is, err
}

// lastRemaining returns the number of the last record that remains of those that were seen up to
// a number, whose record is lost.
func (l *Log) lastRemaining(ctx context.Context, g *generation, upTo uint64) (uint64, error) {
	ids := g.known.sorted()
	ids = ids[:sort.Search(len(ids), func(i int) bool { return ids[i].seq > upTo })]
	var failure error
	// A record that is absent stands as the last one before it that is not.
	lost := func(i int) bool {
		for ; i >= 0 && failure == nil; i-- {
			is, err := l.stands(ctx, ids[i])
			if failure = err; is != absent {
				return is != theSame
			}
		}
		return false
	}
	first := sort.Search(len(ids), lost)
	if failure != nil {
		return 0, failure
	}
	var before uint64 // the last that is known to remain
	if first > 0 {
		before = ids[first-1].seq
	}
	if first == len(ids) || ids[first].seq == before+1 {
		return before, nil
	}
	for _, id := range ids[first:] {
		if id.time != 0 {
			return l.lastUntil(ctx, before, ids[first].seq, id.time)
		}
	}
	if first > 0 {
		return before, nil
	}
	info, err := l.ask(ctx, infoRequest{})
	if err != nil {
		return 0, err
	}
	return min(info.State.LastSeq, ids[0].seq-1), nil
}

// lastUntil returns the last number after low and before high whose record was stored at a time or
// earlier. The others there were stored after the loss.
func (l *Log) lastUntil(ctx context.Context, low, high uint64, at int64) (uint64, error) {
	everything, failure := l.names.everything(), error(nil)
	n := sort.Search(int(high-low-1), func(i int) bool { // the record low + 1 + i, or the next one
		r, err := l.next(ctx, everything, low+1+uint64(i))
		if err != nil {
			if !errors.Is(err, eventlog.ErrNotFound) {
				failure = err
			}
			return true
		}
		return r.Seq >= high || r.Time.UnixNano() > at
	})
	return low + uint64(n), failure
}
