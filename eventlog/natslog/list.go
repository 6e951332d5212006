package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
)

// The list of epochs is the value of a key in a bucket of its own, beside the stream. Each process
// reads it at each look, and writes it with the revision that it has read. The stream's metadata
// have the first epoch, which tells the stream from another one of its name.
const (
	bucketSuffix = "-epochs"
	listKey      = "epochs"
)

const (
	// mostEpochs bounds the list. The first epoch and the newest ones stay.
	mostEpochs = 64

	// A point is added after pointInterval. The list keeps mostPoints, the newest ones at short
	// distances.
	pointInterval = time.Second
	mostPoints    = 16

	// mostServers bounds the servers of a list. The newest stay.
	mostServers = 8
)

// A list is what all processes know of a stream.
type list struct {
	Epochs []listedEpoch `json:"epochs"` // oldest first; all but the first begin at a cut
	Points []point       `json:"points"` // some records of the stream, oldest first

	// Servers are the NATS servers, by the id that each start of one has, with which a process has
	// found the stream as it should be. Clean says that the last point is the newest record, and
	// that a process has ended in order since.
	Servers []string `json:"servers,omitempty"`
	Clean   bool     `json:"clean,omitempty"`

	revision uint64 // of the key, or 0
	noBucket bool   // the bucket is still to be made
}

type listedEpoch struct {
	ID    string `json:"id"`
	First uint64 `json:"first"`
}

// A point is the number and the time of a record. A process that has just started knows by it
// whether the stream has lost its end.
type point struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
}

// timeline returns the epochs of a list.
func (s *list) timeline() eventlog.Timeline {
	t := make(eventlog.Timeline, len(s.Epochs))
	for i, e := range s.Epochs {
		t[i] = eventlog.Epoch{ID: e.ID, First: e.First, Cut: i > 0}
	}
	return t
}

// merge adds the epochs of a timeline that the list lacks.
func (s *list) merge(t eventlog.Timeline) {
	for _, e := range t {
		if !s.timeline().Knows(e.ID) {
			s.Epochs = append(s.Epochs, listedEpoch{e.ID, e.First})
		}
	}
	slices.SortStableFunc(s.Epochs[1:], func(a, b listedEpoch) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
}

// cut begins an epoch after the record with a number. What was known of later records is no
// longer true. Processes that find the same give the epoch the same id, even if they cannot
// write the list.
func (s *list) cut(at uint64) {
	id := eventlog.DerivedEpochID(s.Epochs[len(s.Epochs)-1].ID, strconv.FormatUint(at, 10))
	s.Epochs = append(s.Epochs, listedEpoch{id, at + 1})
	if n := len(s.Epochs) - mostEpochs; n > 0 {
		s.Epochs = slices.Delete(s.Epochs, 1, 1+n)
	}
	s.Points = slices.DeleteFunc(s.Points, func(p point) bool { return p.Seq > at })
}

// mark adds a point, and drops one of the others if there are too many: the one after which the
// next follows most closely, seen from the newest.
func (s *list) mark(p point) {
	s.Points = append(s.Points, p)
	if len(s.Points) <= mostPoints {
		return
	}
	drop, least := 1, 2.0
	for i := 1; i < len(s.Points)-1; i++ {
		span := float64(p.Seq-s.Points[i-1].Seq) + 1
		if part := float64(s.Points[i+1].Seq-s.Points[i-1].Seq) / span; part < least {
			drop, least = i, part
		}
	}
	s.Points = slices.Delete(s.Points, drop, drop+1)
}

// vouch notes that the stream was found as it should be, and that some process is running. It
// reports whether that is news.
func (s *list) vouch(server string) (news bool) {
	news = s.Clean
	s.Clean = false
	if !slices.Contains(s.Servers, server) {
		s.Servers = append(s.Servers, server)
		s.Servers = s.Servers[max(0, len(s.Servers)-mostServers):]
		return true
	}
	return news
}

// parseList parses the value of the key. base is the stream's first epoch. A list of another
// stream, or one that is damaged, is as good as none.
func parseList(value []byte, base string) *list {
	fresh := &list{Epochs: []listedEpoch{{base, 1}}}
	var s list
	if json.Unmarshal(value, &s) != nil || len(s.Epochs) == 0 || s.Epochs[0] != fresh.Epochs[0] {
		return fresh
	}
	for _, e := range s.Epochs {
		if p, err := eventlog.ParsePosition(e.ID + "-0"); err != nil || p.Mark != 0 || e.First == 0 {
			return fresh
		}
	}
	for i, p := range s.Points {
		if p.Seq == 0 || p.Time.IsZero() || i > 0 && p.Seq <= s.Points[i-1].Seq {
			return fresh
		}
	}
	return &s
}

// bytes returns the value of the key.
func (s *list) bytes() ([]byte, error) { return json.Marshal(s) }

func (l *Log) bucket() string { return l.opts.Stream + bucketSuffix }

func (l *Log) listSubject() string { return "$KV." + l.bucket() + "." + listKey }

// loadList asks the leader of the bucket for the list. base is the stream's first epoch.
func (l *Log) loadList(ctx context.Context, base string) (*list, error) {
	m, err := l.message(ctx, "KV_"+l.bucket(), getRequest{LastFor: l.listSubject()})
	if errors.Is(err, eventlog.ErrNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		s := parseList(nil, base)
		s.noBucket = !errors.Is(err, eventlog.ErrNotFound)
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s := parseList(m.Data, base)
	s.revision = m.Seq
	return s, nil
}

// findList is loadList for a process that needs the list. The bucket may have no leader yet, as when
// another process has just made it: then findList asks again.
func (l *Log) findList(ctx context.Context, base string) (*list, error) {
	for deadline := time.Now().Add(requestTimeout); ; {
		soon, cancel := context.WithTimeout(ctx, lookTimeout)
		s, err := l.loadList(soon, base)
		cancel()
		if err == nil || !passing(err) || ctx.Err() != nil || l.pause(ctx, deadline) != nil {
			return s, err
		}
	}
}

// errListChanged means that another process has written the list meanwhile.
var errListChanged = errors.New("natslog: the list of epochs has changed")

// saveList writes the list, unless another process has written it since it was read.
func (l *Log) saveList(ctx context.Context, s *list, replicas int) error {
	value, err := s.bytes()
	if err != nil {
		return err
	}
	within, cancel := l.request(ctx)
	defer cancel()
	js := l.link.Load().js
	if s.noBucket {
		_, err = js.CreateKeyValue(within, jetstream.KeyValueConfig{
			Bucket: l.bucket(), Description: "Epochs of a stream of Tidings", History: 1, Replicas: max(1, replicas),
		})
	}
	if err == nil || errors.Is(err, jetstream.ErrBucketExists) {
		m := &nats.Msg{Subject: l.listSubject(), Data: value, Header: nats.Header{}}
		m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(s.revision, 10))
		_, err = js.PublishMsg(within, m)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return errListChanged
	}
	if err != nil {
		return fmt.Errorf("the list of epochs in the bucket %q cannot be written: %w", l.bucket(), failed(ctx, err))
	}
	return nil
}

// keepList reads the list now and then, and writes what it lacks. It is apart from watch, because
// the bucket has a leader of its own, which may be away.
func (l *Log) keepList() {
	t := time.NewTicker(pointInterval)
	defer t.Stop()
	var failing time.Time // since when, or zero
	for {
		select {
		case <-l.closing.Done():
			return
		case <-l.listing:
		case <-t.C:
		}
		update := l.updateList
		if !l.gate.passable() {
			if !l.doubting.Load() {
				continue
			}
			update = l.noteDoubt
		}
		ctx, cancel := context.WithTimeout(l.closing, listPatience)
		err := update(ctx)
		cancel()
		switch {
		case err == nil || errors.Is(err, errListChanged):
			failing = time.Time{}
		case failing.IsZero():
			failing = time.Now()
		case time.Since(failing) >= listAlarm && l.closing.Err() == nil:
			l.listFailed(err)
		}
	}
}

const (
	// listPatience bounds how long a loss waits for the list.
	listPatience = time.Second

	// listAlarm is how long the list may fail before that is worth a warning. Of two processes that
	// make the bucket at the same time one may get no answer.
	listAlarm = 5 * time.Second
)

func (l *Log) updateList(ctx context.Context) error {
	l.listLock.Lock()
	defer l.listLock.Unlock()
	if l.closing.Err() != nil || l.listEnded {
		return nil
	}
	g := l.now.Load()
	s, err := l.loadList(ctx, g.epochs[0].ID)
	if err != nil {
		return err
	}
	if t := s.timeline(); lastValid(g.epochs, t) != math.MaxUint64 {
		l.listed.Store(&t) // another process has found that the stream has lost its end
		l.suspect()
		return nil
	}
	if l.lookFor(g, s) {
		return nil
	}
	lacks := lastValid(s.timeline(), g.epochs) != math.MaxUint64
	lacks = s.vouch(l.link.Load().nc.ConnectedServerId()) || lacks
	newest, ok := g.known.newest()
	if n := len(s.Points); !ok || newest.time == 0 || n > 0 && (s.Points[n-1].Seq >= newest.seq || newest.point().Time.Sub(s.Points[n-1].Time) < pointInterval) {
		if !lacks {
			return nil
		}
	} else {
		s.mark(newest.point())
	}
	s.merge(g.epochs)
	if l.now.Load() != g || !l.gate.passable() {
		return nil
	}
	return l.saveList(ctx, s, g.config.Replicas)
}

// noteDoubt notes the newest record that is known, while the leader does not have it. A process that
// starts meanwhile then looks for it, too. Otherwise it would take what remains of the stream for all
// of it, and subscribers would get what it stores a second time once the loss is certain.
func (l *Log) noteDoubt(ctx context.Context) error {
	l.listLock.Lock()
	defer l.listLock.Unlock()
	if l.closing.Err() != nil || l.listEnded {
		return nil
	}
	g := l.now.Load()
	newest, ok := g.known.newestTimed()
	if ok {
		l.tellDoubt(g, newest)
	}
	s, err := l.loadList(ctx, g.epochs[0].ID)
	if err != nil {
		return err
	}
	if lastValid(g.epochs, s.timeline()) != math.MaxUint64 {
		return nil // another process is sure already
	}
	if n := len(s.Points); !ok || n > 0 && s.Points[n-1].Seq >= newest.seq {
		return nil
	}
	s.mark(newest.point())
	s.merge(g.epochs)
	s.Clean = false
	return l.saveList(ctx, s, g.config.Replicas)
}

// noStream is the stream that a message expects which is for the processes that run, and is not stored.
const noStream = "none"

// tellDoubt tells the processes that run of a record. The bucket may have no leader for longer than the
// stream, so nobody waits for it.
func (l *Log) tellDoubt(g *generation, newest identity) {
	s := parseList(nil, g.epochs[0].ID)
	s.merge(g.epochs)
	s.Points = []point{newest.point()}
	value, err := s.bytes()
	if err != nil {
		return
	}
	m := &nats.Msg{Subject: l.listSubject(), Data: value, Header: nats.Header{}}
	m.Header.Set(jetstream.ExpectedStreamHeader, noStream)
	_ = l.link.Load().nc.PublishMsg(m) // if it fails, it is told again
}

// hearDoubt looks for a record that another process misses, if the message is of tellDoubt.
func (l *Log) hearDoubt(m *nats.Msg) {
	g := l.now.Load()
	if g == nil || m.Header.Get(jetstream.ExpectedStreamHeader) != noStream {
		return
	}
	if l.lookFor(g, parseList(m.Data, g.epochs[0].ID)) {
		l.gate.shut()
	}
}

// lookFor has watch look for the newest point of a list, if the log has not come so far: another
// process has seen it, and may be in doubt. A list of other epochs than the log's is of before or after
// a loss, and its points say nothing.
func (l *Log) lookFor(g *generation, s *list) bool {
	newest, _ := g.known.newest()
	n := len(s.Points)
	if n == 0 || s.Points[n-1].Seq <= newest.seq || lastValid(g.epochs, s.timeline()) != math.MaxUint64 || lastValid(s.timeline(), g.epochs) != math.MaxUint64 {
		return false
	}
	p := s.Points[n-1]
	g.known.add(identity{seq: p.Seq, time: p.Time.UnixNano()})
	l.suspect()
	return true
}

// endInOrder notes in the list that the newest record is known. If it cannot, the next start may be in
// doubt.
func (l *Log) endInOrder() {
	g := l.now.Load()
	if g == nil || l.session.Load().Err() != nil {
		return
	}
	l.listLock.Lock()
	defer l.listLock.Unlock()
	l.listEnded = true
	ctx, cancel := context.WithTimeout(l.closing, listPatience/2)
	defer cancel()
	for l.gate.wait(ctx) == nil {
		if err := l.noteEnd(ctx, g); !errors.Is(err, errListChanged) {
			return
		}
	}
}

func (l *Log) noteEnd(ctx context.Context, g *generation) error {
	s, err := l.loadList(ctx, g.epochs[0].ID)
	newest, ok := g.known.newest()
	if err != nil || !ok || l.now.Load() != g || lastValid(g.epochs, s.timeline()) != math.MaxUint64 {
		return err
	}
	r, err := l.one(ctx, getRequest{Seq: newest.seq})
	if err != nil || !newest.is(r) {
		return err
	}
	if n := len(s.Points); n == 0 || s.Points[n-1].Seq < r.Seq {
		s.mark(identityOf(r).point())
	}
	s.merge(g.epochs)
	s.vouch(l.link.Load().nc.ConnectedServerId())
	s.Clean = true
	return l.saveList(ctx, s, g.config.Replicas)
}

// doubtful reports whether a process that starts cannot know that the stream has its end: the
// server, which is in no cluster, was started since the last process ran that has seen it. It waits a while
// for a process that runs.
func (l *Log) doubtful(ctx context.Context, s *list, g *generation, info *jetstream.StreamInfo) bool {
	server := l.link.Load().nc.ConnectedServerId()
	for deadline := time.Now().Add(vouchPatience); ; {
		switch n := len(s.Points); {
		case len(s.Servers) == 0 || info.Cluster != nil && info.Cluster.Name != "" || slices.Contains(s.Servers, server):
			return false
		case s.Clean && n > 0 && s.Points[n-1].Seq == info.State.LastSeq:
			return false // verify has seen that it is the same
		case time.Now().After(deadline):
			return true
		}
		if l.pause(ctx, deadline) != nil {
			return true
		}
		if again, err := l.loadList(ctx, g.epochs[0].ID); err == nil {
			*s = *again
		}
	}
}

// vouchPatience is how long a process in doubt waits for one that runs.
const vouchPatience = 2 * time.Second
