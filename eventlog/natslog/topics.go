package natslog

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/nameset"
	"example.com/tidings/topics"
)

// topicNames are the names of a stream's topics, in their order. JetStream lists all subjects
// that match, in an order of its own. So a generation asks for all of them once, before its
// first list, and then follows the records. A name stays until a list finds that the topic
// has no record. Methods may be called concurrently.
type topicNames struct {
	filling chan struct{} // has room for the one that brings the names up to date

	mu      sync.Mutex
	names   nameset.Set
	whole   bool
	through uint64 // the names have the topics of all records up to here, if they are whole
}

// listTimeout bounds the wait for the list of all topics. A million take some seconds.
const listTimeout = time.Minute

// follow adds the topics of the records after a number, up to another one.
func (n *topicNames) follow(after uint64, records []eventlog.Record, through uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.whole || after > n.through || through <= n.through {
		return
	}
	for i := range records {
		n.names.Add(strings.Clone(records[i].Topic))
	}
	n.through = through
}

// reached returns how far the names reach.
func (n *topicNames) reached() (through uint64, whole bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.through, n.whole
}

// after returns some of the names after a given one, and how far the names reach.
func (n *topicNames) after(name string, limit int) (names []string, through uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names.After(nil, name, limit), n.through
}

// forget forgets a topic that had no record when the names reached so far. It may have one
// again.
func (n *topicNames) forget(name string, through uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.through == through {
		n.names.Remove(name)
	}
}

// update brings the names up to what is acknowledged.
func (l *Log) updateTopics(ctx context.Context, g *generation) error {
	n := &g.topics
	select {
	case n.filling <- struct{}{}:
		defer func() { <-n.filling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	_, last, err := l.bounds(ctx)
	if err != nil {
		return err
	}
	through, whole := n.reached()
	if !whole {
		return l.fillTopics(ctx, g, last)
	}
	for through < last {
		b, err := l.read(ctx, g, eventlog.Query{Filters: topics.MustFilters("**"), After: through, UpTo: last, MaxRecords: scanMost, MaxBytes: 4 << 20})
		if err != nil {
			return err
		}
		n.follow(through, b.Records, b.Through)
		through = b.Through
	}
	return nil
}

// fillTopics asks for all names.
func (l *Log) fillTopics(ctx context.Context, g *generation, last uint64) error {
	within, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	defer context.AfterFunc(l.session.Load(), cancel)()
	stream, err := l.link.Load().js.Stream(within, l.opts.Stream)
	if err != nil {
		return failed(ctx, err)
	}
	info, err := stream.Info(within, jetstream.WithSubjectFilter(l.names.all()))
	if err != nil {
		return failed(ctx, err)
	}
	n := &g.topics
	n.mu.Lock()
	defer n.mu.Unlock()
	for subject := range info.State.Subjects {
		n.names.Add(l.names.topic(subject))
	}
	n.whole, n.through = true, last
	return nil
}

// namesAtOnce is how many names a list looks at before it looks at its context.
const namesAtOnce = 256

// Topics implements [eventlog.Log]. It asks for each topic of the page.
func (l *Log) Topics(ctx context.Context, filter topics.Filter, after string, limit int) (infos []eventlog.TopicInfo, err error) {
	defer l.ended(&err)
	g := l.now.Load()
	if filter.Exact() {
		if after < filter.String() && limit > 0 {
			infos, err = l.appendTopic(ctx, g, infos, filter.String())
		}
		return infos, err
	}
	if err := l.updateTopics(ctx, g); err != nil {
		return nil, err
	}
	prefix, _, _ := strings.Cut(filter.String(), "*") // no topic itself
	for after = max(after, prefix); ctx.Err() == nil; {
		names, through := g.topics.after(after, namesAtOnce)
		for _, name := range names {
			switch {
			case len(infos) == limit || !strings.HasPrefix(name, prefix):
				return infos, nil
			case !filter.Match(name):
				continue
			}
			before := len(infos)
			if infos, err = l.appendTopic(ctx, g, infos, name); err != nil {
				return nil, err
			}
			if len(infos) == before {
				g.topics.forget(name, through)
			}
		}
		if len(names) < namesAtOnce {
			return infos, nil
		}
		after = names[len(names)-1]
	}
	return nil, ctx.Err()
}

// appendTopic appends what is retained of a topic, if anything is.
func (l *Log) appendTopic(ctx context.Context, g *generation, infos []eventlog.TopicInfo, topic string) ([]eventlog.TopicInfo, error) {
	subject := l.names.subject(topic)
	info, err := l.info(ctx, infoRequest{Subject: subject})
	if err != nil || info.State.Subjects[subject] == 0 {
		return infos, err
	}
	r, err := l.one(ctx, getRequest{LastFor: subject})
	if errors.Is(err, eventlog.ErrNotFound) {
		return infos, nil // it has just been removed
	}
	if err != nil {
		return nil, err
	}
	return append(infos, eventlog.TopicInfo{Topic: topic, Count: info.State.Subjects[subject], Last: g.epochs.ID(r), Time: r.Time}), nil
}

// hasTopic reports whether a topic has a record.
func (l *Log) hasTopic(ctx context.Context, topic string) (bool, error) {
	_, err := l.one(ctx, getRequest{LastFor: l.names.subject(topic)})
	if errors.Is(err, eventlog.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
