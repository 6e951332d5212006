//go:build unix

package jepsen_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// How many clients a schedule has, and how often each publisher publishes.
const (
	publishers  = 4
	subscribers = 24
	publishing  = 25 * time.Millisecond
)

// A schedule runs clients against two nodes, and injects faults. It is for the test's
// goroutine.
type schedule struct {
	*cluster
	r        *rand.Rand
	stream   string
	replicas int
	nodes    []*node
	history  *history
	answers  *answers
	subs     []*subscriber
	events   []string // what happened, for the log of the test
	late     []string // what took too long

	publishing sync.WaitGroup
	following  sync.WaitGroup
	stop       context.CancelFunc // ends the publishers
	leave      context.CancelFunc // ends the subscribers
	hurry      context.Context    // done when they must not wait long
	markers    int
}

// startSchedule starts nodes and clients on a stream of its own.
func startSchedule(t *testing.T, c *cluster, seed uint64, replicas int) *schedule {
	s := &schedule{
		cluster: c, r: rand.New(rand.NewPCG(seed, 17)), stream: fmt.Sprintf("s%d", time.Now().UnixNano()), replicas: replicas,
		history: newHistory(), answers: &answers{},
	}
	folder := t.TempDir()
	if *logs != "" {
		folder = filepath.Join(*logs, strings.ReplaceAll(t.Name(), "/", "_"))
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		var links []*link
		var urls []string
		for n := range c.servers {
			// Each node prefers another server.
			k := newLink(t, strings.TrimPrefix(c.servers[n].URL, "nats://"))
			links = append(links, k)
			urls = append(urls, fmt.Sprintf("nats://tidings:%s@%s", users["tidings"], k.addr))
		}
		urls = slices.Concat(urls[i%len(urls):], urls[:i%len(urls)])
		s.nodes = append(s.nodes, startNode(t, i, folder, links, "--nats", strings.Join(urls, ","), "--nats-stream", s.stream,
			"--nats-replicas", fmt.Sprint(replicas), "--keep-alive", keepAlive.String()))
	}
	ctx, stop := context.WithCancel(t.Context())
	leaving, leave := context.WithCancel(t.Context())
	s.stop, s.leave, s.hurry = stop, leave, ctx
	t.Cleanup(func() {
		stop()
		leave()
		for _, n := range s.nodes { // so that no client waits for an answer
			n.kill()
		}
		s.publishing.Wait()
		s.following.Wait()
	})
	s.follow(leaving)
	for i := range publishers {
		p := newPublisher(i, s.fork(), s.history, s.nodes, s.answers, publishing)
		s.publishing.Go(func() { p.run(ctx) })
	}
	return s
}

// fork returns a source of randomness for a client.
func (s *schedule) fork() *rand.Rand { return rand.New(rand.NewPCG(s.r.Uint64(), s.r.Uint64())) }

// follow starts the subscribers, and waits until each has begun.
func (s *schedule) follow(ctx context.Context) {
	filters := [][]string{{"**"}, {"a.*"}, {"**"}, {"a.1"}, {"rare.*"}, {"b.**"}, {"a.2", "rare.1"}, {"*.*.x"}}
	for i := range subscribers {
		sub := newSubscriber(fmt.Sprint("s", i), s.fork(), s.history, s.nodes, "now", filters[i%len(filters)]...)
		switch i / len(filters) {
		case 0:
			sub.lives, sub.pauses = time.Second, 100*time.Millisecond
		case 1: // stays until its stream breaks
			sub.pauses = 100 * time.Millisecond
		case 2: // is away for long
			sub.lives, sub.pauses = 1500*time.Millisecond, 4*time.Second
		}
		sub.hurry = s.hurry
		s.subs = append(s.subs, sub)
		s.history.traces = append(s.history.traces, sub.trace)
		s.following.Go(func() { sub.run(ctx) })
	}
	s.until("all subscribers have begun", patience, func() bool {
		return !slices.ContainsFunc(s.subs, func(sub *subscriber) bool { return !sub.open.Load() })
	})
}

// until waits until something is so.
func (s *schedule) until(what string, within time.Duration, is func() bool) bool {
	for deadline := time.Now().Add(within); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.say("after %v it is not so that %s", within, what)
			return false
		}
	}
	return true
}

// say notes what happens.
func (s *schedule) say(format string, args ...any) {
	s.events = append(s.events, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// sleep waits for a random time.
func (s *schedule) sleep(least, most time.Duration) {
	time.Sleep(least + time.Duration(s.r.Int64N(int64(most-least)+1)))
}

// longest is how long nodes may need after the end of a fault.
const longest = 30 * time.Second

// inject injects a fault by its name, and waits until publishing works on both nodes.
func (s *schedule) inject(name string) {
	f := &fault{name: name, at: time.Now()}
	s.history.faults = append(s.history.faults, f)
	s.say("%s", name)
	faults[name](s, f)
	if f.healed.IsZero() {
		f.healed = time.Now()
	}
	for _, n := range s.nodes {
		if n.ended() {
			s.say("node %d has ended", n.number)
			s.t.Errorf("after %q node %d has ended by itself:\n%s", name, n.number, n.tail(2048))
			if err := n.restart(); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	healed := f.healed
	if !s.until("both nodes acknowledge again", longest, func() bool {
		return s.answers.back(0, healed) >= 0 && s.answers.back(1, healed) >= 0
	}) && (!f.lossy || s.replicas == 1) { // a cluster that has lost data can need minutes for an election
		s.late = append(s.late, fmt.Sprintf("after %q a node is not back within %v", name, longest))
	}
	now := time.Now()
	s.say("%s: lasted %v; back on the nodes after %s and %s from its end; longest time without an acknowledgement: node 0 %v, node 1 %v, both %v",
		name, round(healed.Sub(f.at)), describeBack(s.answers.back(0, healed)), describeBack(s.answers.back(1, healed)),
		round(s.answers.silence(0, f.at, now)), round(s.answers.silence(1, f.at, now)), round(s.answers.silence(-1, f.at, now)))
}

func describeBack(d time.Duration) string {
	if d < 0 {
		return "(never)"
	}
	return round(d).String()
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// finish ends the schedule: it heals everything, publishes a last message on each topic,
// waits for the subscribers, reads the log, and checks the history.
func (s *schedule) finish(t *testing.T) *verdict {
	s.cluster.heal()
	for _, n := range s.nodes {
		n.clients.heal()
		for _, k := range n.servers {
			k.heal()
		}
	}
	s.stop()
	s.publishing.Wait()
	s.publishLast(t)
	s.until("all subscribers have the last messages", 30*time.Second, func() bool {
		return !slices.ContainsFunc(s.subs, func(sub *subscriber) bool {
			select {
			case <-sub.ended:
				return false
			default:
				return true
			}
		})
	})
	s.leave()
	s.following.Wait()
	s.readAll(t)
	v := check(s.history)
	s.report(t, v)
	return v
}

// lastPublisher is the name of who publishes the last messages.
const lastPublisher = "last"

// publishLast publishes a last message on each topic.
func (s *schedule) publishLast(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := newPublisher(0, s.fork(), s.history, s.nodes, s.answers, 0)
	defer p.client.CloseIdleConnections()
	var all []*message
	for _, topic := range append(busyTopics[:len(busyTopics):len(busyTopics)], rareTopics...) {
		name := lastName(topic)
		all = append(all, &message{name: name, publisher: lastPublisher, topic: topic, data: name + " ", key: name})
	}
	if p.send(ctx, all, true, true); ctx.Err() != nil {
		t.Errorf("the last messages are not acknowledged after %v", patience)
	}
}

// report adds to the verdict what is not in the history, and logs everything.
func (s *schedule) report(t *testing.T, v *verdict) {
	for _, wrong := range s.answers.wrong() {
		v.add(wrongStatus, "%s", wrong)
	}
	for _, what := range s.late {
		v.add(late, "%s", what)
	}
	refusals := map[string]int{}
	for _, sub := range s.subs {
		for why, n := range sub.refused {
			refusals[why] += n
			if strings.HasPrefix(why, badStatus) {
				v.add(wrongStatus, "%d streams of %s: %s", n, sub.trace.name, why)
			}
		}
	}
	for _, line := range s.events {
		t.Log(line)
	}
	t.Logf("%s; answers %v; streams %v", v.summary(), s.answers.counts(), refusals)
	for _, what := range slices.Sorted(maps.Keys(v.found)) {
		all := v.found[what]
		for _, text := range all[:min(*list, len(all))] {
			t.Logf("%s: %s", what, text)
		}
	}
}

// readAll reads the log from the servers, and from its start on each node.
func (s *schedule) readAll(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	if s.history.log, err = s.leaders(ctx, s.stream, s.history); err != nil {
		t.Errorf("reading the stream: %v", err)
	}
	for range s.replicas - 1 { // any of them may answer
		s.compareReplicas(ctx)
	}
	for i, n := range s.nodes {
		s.reader(ctx, fmt.Sprint("reader ", i), n, nil)
	}
	for i, m := range s.sample() {
		s.reader(ctx, fmt.Sprint("probe ", i), s.nodes[i%len(s.nodes)], m)
	}
}

// compareReplicas compares the leader's records with those of any replica. They can differ after a loss
// of power.
func (s *schedule) compareReplicas(ctx context.Context) {
	other, err := s.read(ctx, s.stream, s.history)
	if err == nil && slices.Equal(other, s.history.log) {
		return
	}
	names := disputed(s.history.log, other)
	for _, name := range names {
		s.history.disputed[name] = true
	}
	s.say("another server has %d records, and the leader %d; they differ before some that are the same in %q (%v)", len(other), len(s.history.log), names, err)
}

// reader reads on a node: the whole log, or a part of it after a message.
func (s *schedule) reader(ctx context.Context, name string, n *node, after *message) {
	sub := newSubscriber(name, s.fork(), s.history, []*node{n}, "start", "**")
	if after != nil {
		sub.lastID, sub.most, sub.trace.after = after.acks[len(after.acks)-1].id, 50, after
		sub.trace.events = []event{{kind: opened, id: sub.lastID, at: time.Now()}}
	}
	within, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	sub.run(within)
	s.history.traces = append(s.history.traces, sub.trace)
}

// sample returns some acknowledged messages: of those that the log has, of those that are lost,
// and of those before one that was removed.
func (s *schedule) sample() []*message {
	const each = 20
	byNumber := map[uint64]*message{}
	inLog := map[string]bool{}
	for _, r := range s.history.log {
		inLog[r.name] = true
		if m := s.history.messages[r.name]; m != nil && len(m.acks) > 0 {
			byNumber[r.seq] = m
		}
	}
	var gone, kept, before []*message
	for _, i := range s.r.Perm(len(s.history.order)) {
		m := s.history.order[i]
		if len(m.acks) == 0 || m.publisher == lastPublisher { // nothing comes after the last message
			continue
		}
		_, removed := s.history.removed[m.name]
		_, _, seq := parse(m.acks[0].id)
		switch previous := byNumber[seq-1]; {
		case inLog[m.name] && len(kept) < each:
			kept = append(kept, m)
		case removed && previous != nil && len(before) < each:
			before = append(before, previous)
		case !removed && !inLog[m.name] && len(gone) < each:
			gone = append(gone, m)
		}
	}
	return slices.Concat(gone, kept, before)
}
