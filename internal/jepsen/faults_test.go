//go:build unix

package jepsen_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// faults has each fault by its name. It begins and ends within the function.
var faults = map[string]func(s *schedule, f *fault){
	"nothing":                  func(s *schedule, _ *fault) { s.sleep(3*time.Second, 5*time.Second) },
	"node killed":              nodeKilled,
	"node frozen":              nodeFrozen,
	"both nodes killed":        bothNodesKilled,
	"leader killed":            func(s *schedule, f *fault) { s.kill(f, s.leader(s.stream)) },
	"follower killed":          func(s *schedule, f *fault) { s.kill(f, s.follower()) },
	"two servers killed":       func(s *schedule, f *fault) { s.kill(f, s.some(2)...) },
	"all servers killed":       func(s *schedule, f *fault) { s.kill(f, s.some(len(s.servers))...) },
	"leader frozen":            func(s *schedule, f *fault) { s.freeze(f, s.leader(s.stream)) },
	"follower frozen":          func(s *schedule, f *fault) { s.freeze(f, s.follower()) },
	"two servers frozen":       func(s *schedule, f *fault) { s.freeze(f, s.some(2)...) },
	"a node's server frozen":   ownFrozen,
	"leader moves":             leaderMoves,
	"leader cut off":           func(s *schedule, f *fault) { s.isolate(s.leader(s.stream), false) },
	"follower cut off":         func(s *schedule, f *fault) { s.isolate(s.follower(), false) },
	"leader cannot be heard":   func(s *schedule, f *fault) { s.isolate(s.leader(s.stream), true) },
	"follower cannot be heard": func(s *schedule, f *fault) { s.isolate(s.follower(), true) },
	"routes break":             routesBreak,
	"node cut off":             func(s *schedule, _ *fault) { s.cutNode(s.r.IntN(2)) },
	"machine cut off":          machineCutOff,
	"clients cut off":          clientsCutOff,
	"slow network":             slowNetwork,
	"login revoked":            loginRevoked,
	"tail deleted":             tailDeleted,
	"direct reads off":         directOff,
	"stream full":              streamFull,
	"foreign records":          foreignRecords,
}

// some returns the numbers of n random servers.
func (s *schedule) some(n int) []int { return s.r.Perm(len(s.servers))[:n] }

// follower returns the number of a server that does not lead the stream.
func (s *schedule) follower() int {
	return (s.leader(s.stream) + 1 + s.r.IntN(len(s.servers)-1)) % len(s.servers)
}

func nodeKilled(s *schedule, _ *fault) {
	n := s.nodes[s.r.IntN(len(s.nodes))]
	n.kill()
	s.sleep(0, 3*time.Second)
	s.restartNode(n)
}

// bothNodesKilled has everything that the nodes remember gone.
func bothNodesKilled(s *schedule, _ *fault) {
	for _, n := range s.nodes {
		n.kill()
	}
	s.sleep(0, 2*time.Second)
	for _, n := range s.nodes {
		s.restartNode(n)
	}
}

func (s *schedule) restartNode(n *node) {
	if err := n.restart(); err != nil {
		s.t.Fatal(err)
	}
}

func nodeFrozen(s *schedule, _ *fault) {
	n := s.nodes[s.r.IntN(len(s.nodes))]
	s.must(n.pause())
	s.sleep(3*time.Second, 8*time.Second)
	s.must(n.resume())
}

func (s *schedule) must(err error) {
	if err != nil {
		s.t.Fatal(err)
	}
}

// kill kills servers, and starts them again.
func (s *schedule) kill(_ *fault, servers ...int) {
	s.say("servers %d are killed, node 0 is on %d, node 1 on %d", servers, s.nodes[0].server(), s.nodes[1].server())
	for _, i := range servers {
		s.servers[i].Kill()
	}
	s.sleep(500*time.Millisecond, 4*time.Second)
	for _, i := range servers {
		s.servers[i].Restart(s.t)
	}
}

// freeze freezes servers for a while.
func (s *schedule) freeze(_ *fault, servers ...int) {
	s.say("servers %d are frozen, node 0 is on %d, node 1 on %d", servers, s.nodes[0].server(), s.nodes[1].server())
	for _, i := range servers {
		s.servers[i].Pause(s.t)
	}
	s.sleep(5*time.Second, 12*time.Second)
	for _, i := range servers {
		s.servers[i].Resume(s.t)
	}
}

// ownFrozen freezes the server that a node is connected to, for so long that the node has to
// find another one. The fault counts as healed at once: the node must not wait for the end.
func ownFrozen(s *schedule, f *fault) {
	n := s.r.IntN(len(s.nodes))
	i := s.nodes[n].server()
	if i < 0 {
		return
	}
	leader := i == s.leader(s.stream)
	limit := 10 * time.Second
	if leader {
		limit = 15 * time.Second
	}
	s.say("server %d is frozen, on which node %d is; it leads: %t", i, n, leader)
	f.healed = time.Now()
	s.servers[i].Pause(s.t)
	s.backWithin(n, f.healed, limit)
	s.servers[i].Resume(s.t)
}

// grace is what a node may need longer on a machine that is busy.
const grace = 5 * time.Second

// backWithin waits until a node acknowledges what was published after a time. It notes a node
// that needs longer than the limit.
func (s *schedule) backWithin(node int, from time.Time, limit time.Duration) {
	s.until(fmt.Sprintf("node %d acknowledges again", node), 3*limit+10*time.Second, func() bool { return s.answers.back(node, from) >= 0 })
	back := s.answers.back(node, from)
	s.say("node %d is back after %s, should be within %v", node, describeBack(back), limit)
	if back < 0 || back > limit+grace {
		s.late = append(s.late, fmt.Sprintf("node %d is back after %s, more than %v", node, describeBack(back), limit))
	}
}

// leaderMoves has the stream elect another leader, while all are well.
func leaderMoves(s *schedule, _ *fault) {
	for range 3 {
		s.retry("the leader steps down", func(ctx context.Context) error {
			_, err := s.js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+s.stream, nil)
			return err
		})
		s.sleep(500*time.Millisecond, 2*time.Second)
	}
}

// isolate has a server lose the others, or lets it hear them but not be heard.
func (s *schedule) isolate(server int, oneWay bool) {
	for ends, k := range s.routes {
		switch from := ends[0] == server; {
		case !from && ends[1] != server:
		case oneWay:
			k.holdOne(from)
		default:
			k.hold()
		}
	}
	s.say("server %d is isolated, node 0 is on %d, node 1 on %d", server, s.nodes[0].server(), s.nodes[1].server())
	s.sleep(5*time.Second, 15*time.Second)
	for _, k := range s.between(server) {
		k.heal()
	}
}

// routesBreak breaks connections between servers again and again.
func routesBreak(s *schedule, _ *fault) {
	for range 3 {
		links := s.between(s.r.IntN(len(s.servers)))
		for _, k := range links {
			k.cut()
		}
		s.sleep(0, 3*time.Second)
		for _, k := range links {
			k.heal()
		}
		s.sleep(0, time.Second)
	}
}

// cutNode holds everything between a node and the servers.
func (s *schedule) cutNode(n int) {
	for _, k := range s.nodes[n].servers {
		k.hold()
	}
	s.sleep(3*time.Second, 10*time.Second)
	for _, k := range s.nodes[n].servers {
		k.heal()
	}
}

// machineCutOff cuts off a machine with a node and the server that the node is on.
func machineCutOff(s *schedule, _ *fault) {
	n := s.r.IntN(len(s.nodes))
	server := max(s.nodes[n].server(), 0)
	links := s.between(server)
	for i, k := range s.nodes[n].servers {
		if i != server {
			links = append(links, k)
		}
	}
	links = append(links, s.nodes[n].clients, s.nodes[1-n].servers[server])
	for _, k := range links {
		k.hold()
	}
	s.say("node %d and server %d are cut off", n, server)
	s.sleep(5*time.Second, 15*time.Second)
	for _, k := range links {
		k.heal()
	}
}

// slowNetwork delays everything between servers and nodes.
func slowNetwork(s *schedule, _ *fault) {
	links := slices.Collect(maps.Values(s.routes))
	for _, n := range s.nodes {
		links = append(links, n.servers...)
	}
	for range 5 {
		for _, k := range links {
			k.slow(time.Duration(s.r.IntN(200)) * time.Millisecond)
		}
		s.sleep(time.Second, 2*time.Second)
	}
	for _, k := range links {
		k.heal()
	}
}

// clientsCutOff cuts off a node from its clients.
func clientsCutOff(s *schedule, _ *fault) {
	k := s.nodes[s.r.IntN(len(s.nodes))].clients
	k.hold()
	s.sleep(3*time.Second, 8*time.Second)
	k.heal()
}

// loginRevoked takes the nodes' login away, and gives it back.
func loginRevoked(s *schedule, f *fault) {
	for _, server := range s.servers {
		server.Configure(s.t, without("tidings"))
	}
	s.sleep(2*time.Second, 4*time.Second)
	for _, server := range s.servers {
		server.Configure(s.t, users)
	}
	f.healed = time.Now()
	for n := range s.nodes {
		s.backWithin(n, f.healed, 2*time.Second)
	}
}

// tailDeleted deletes all consumers of the stream again and again.
func tailDeleted(s *schedule, _ *fault) {
	for range 5 {
		s.retry("deleting the consumers", func(ctx context.Context) error {
			stream, err := s.js.Stream(ctx, s.stream)
			if err != nil {
				return err
			}
			names := stream.ConsumerNames(ctx)
			for name := range names.Name() {
				if err := stream.DeleteConsumer(ctx, name); err != nil {
					return err
				}
			}
			return names.Err()
		})
		s.sleep(0, time.Second)
	}
}

// directOff switches a setting off that the nodes need. They set it back.
func directOff(s *schedule, _ *fault) {
	s.update(func(c *jetstream.StreamConfig) { c.AllowDirect = false })
	if !s.until("the nodes have set allow_direct back", 15*time.Second, func() bool {
		stream, err := s.js.Stream(s.t.Context(), s.stream)
		return err == nil && stream.CachedInfo().Config.AllowDirect
	}) {
		s.late = append(s.late, "allow_direct is not set back after 15s")
		s.update(func(c *jetstream.StreamConfig) { c.AllowDirect = true })
	}
}

// streamFull has the stream refuse messages for a while.
func streamFull(s *schedule, _ *fault) {
	s.update(func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardNew, 1 })
	s.sleep(2*time.Second, 5*time.Second)
	s.update(func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, -1 })
}

// update changes the configuration of the stream.
func (s *schedule) update(change func(c *jetstream.StreamConfig)) {
	s.retry("changing the stream", func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, s.stream)
		if err != nil {
			return err
		}
		config := stream.CachedInfo().Config
		change(&config)
		_, err = s.js.UpdateStream(ctx, config)
		return err
	})
}
