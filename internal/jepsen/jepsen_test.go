//go:build unix

package jepsen_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A plan says which faults a schedule has.
type plan struct {
	name     string
	servers  int
	replicas int
	always   bool // sync_interval: always
	faults   []string
	seeds    []uint64 // those of each test run; a soak has others
}

var plans = []plan{
	{name: "control/r1", servers: 1, replicas: 1, faults: []string{"nothing"}},
	{name: "control/r3", servers: 3, replicas: 3, faults: []string{"nothing"}},
	{name: "nodes/r1", servers: 1, replicas: 1, faults: []string{"node killed", "node frozen", "both nodes killed", "clients cut off", "node cut off"}},
	{name: "servers/r1", servers: 1, replicas: 1, faults: []string{"all servers killed", "leader frozen"}},
	{name: "kills/r3", servers: 3, replicas: 3, faults: []string{"leader killed", "follower killed", "two servers killed", "all servers killed", "node killed", "leader moves"}},
	{name: "majority/r3", servers: 3, replicas: 3, faults: []string{"two servers frozen", "two servers killed"}},
	{name: "freezes/r3", servers: 3, replicas: 3, faults: []string{"leader frozen", "follower frozen", "two servers frozen", "a node's server frozen"}},
	{name: "partitions/r3", servers: 3, replicas: 3, faults: []string{"leader cut off", "follower cut off", "leader cannot be heard", "follower cannot be heard", "routes break", "node cut off", "machine cut off", "clients cut off", "slow network"}},
	{name: "alone/r3", servers: 3, replicas: 3, faults: []string{"power of one server alone", "power of the leader alone"}},
	{name: "own/r3", servers: 3, replicas: 3, faults: []string{"a node's server frozen"}},
	{name: "login/r1", servers: 1, replicas: 1, faults: []string{"login revoked"}},
	{name: "operator/r3", servers: 3, replicas: 3, faults: []string{"login revoked", "tail deleted", "direct reads off", "foreign records", "leader moves"}},
	{name: "foreign/r1", servers: 1, replicas: 1, faults: []string{"foreign records"}},
	{name: "direct/r1", servers: 1, replicas: 1, faults: []string{"direct reads off"}},
	{name: "full/r1", servers: 1, replicas: 1, faults: []string{"stream full"}},
	{name: "tail/r1", servers: 1, replicas: 1, faults: []string{"tail deleted"}},
	{name: "power/r1", servers: 1, replicas: 1, faults: []string{"power of the stream's server"}},
	{name: "damage/r1", servers: 1, replicas: 1, faults: []string{"truncated block", "flipped bit"}},
	{name: "damage/r1/without nodes", servers: 1, replicas: 1, faults: []string{"truncated without nodes"}},
	{name: "damage/r1/without list", servers: 1, replicas: 1, faults: []string{"list of epochs deleted", "list of epochs damaged"}},
	{name: "older/r1", servers: 1, replicas: 1, faults: []string{"older store"}},
	{name: "older/r1/always", servers: 1, replicas: 1, always: true, faults: []string{"older store", "truncated block"}},
	{name: "power/r1of3", servers: 3, replicas: 1, faults: []string{"power of the stream's server"}},
	{name: "power/r3one", servers: 3, replicas: 3, faults: []string{"power of one server", "power of the leader"}},
	{name: "power/r3two", servers: 3, replicas: 3, faults: []string{"power of two servers"}},
	{name: "power/r3all", servers: 3, replicas: 3, faults: []string{"power of all servers", "older store"}},
	{name: "stream/r1", servers: 1, replicas: 1, faults: []string{"stream deleted", "stream remade"}},
	{name: "stream/r3", servers: 3, replicas: 3, faults: []string{"stream deleted", "stream remade"}},
	{name: "removal/r1", servers: 1, replicas: 1, faults: []string{"purge", "purge of a topic", "messages deleted", "messages erased"}},
	{name: "mix/r1", servers: 1, replicas: 1, faults: []string{"node killed", "node frozen", "all servers killed", "power of the stream's server", "truncated block", "stream deleted", "purge", "messages erased", "login revoked", "foreign records"}, seeds: []uint64{1, 2}},
	{name: "mix/r3", servers: 3, replicas: 3, faults: []string{"node killed", "leader killed", "two servers frozen", "leader cut off", "power of one server", "stream deleted", "messages erased", "login revoked", "foreign records"}, seeds: []uint64{1, 2}},
}

// Whatever happens to the servers, the nodes and the network, no subscriber misses a message
// in silence, none has one twice, and no id names two messages.
func TestSchedules(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	for _, p := range plans {
		t.Run(p.name, func(t *testing.T) {
			switch {
			case *soak > 0:
				for end := time.Now().Add(*soak / time.Duration(len(plans))); ; {
					p.run(t, cmp.Or(*seed, rand.Uint64N(1<<32)))
					if t.Failed() || *seed > 0 || time.Now().After(end) {
						return
					}
				}
			case *seed > 0:
				p.run(t, *seed)
				return
			case len(p.seeds) == 0:
				t.Skip("runs in a soak, or with -seed")
			}
			t.Parallel()
			for _, n := range p.seeds {
				p.run(t, n)
			}
		})
	}
}

// run runs one schedule.
func (p plan) run(t *testing.T, seed uint64) {
	t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { p.test(t, seed) })
}

func (p plan) test(t *testing.T, seed uint64) {
	s := startSchedule(t, startCluster(t, p.servers, p.always), seed, p.replicas)
	time.Sleep(time.Second)
	var next []int
	for end := time.Now().Add(*length); time.Now().Before(end); next = next[1:] {
		if len(next) == 0 {
			next = s.r.Perm(len(p.faults))
		}
		s.inject(p.faults[next[0]])
		s.sleep(time.Second, 3*time.Second)
	}
	v := s.finish(t)
	for what, all := range v.found {
		t.Errorf("%d %s", len(all), what)
	}
	if t.Failed() {
		for _, n := range s.nodes {
			t.Logf("the end of the log of node %d:\n%s", n.number, n.tail(4096))
		}
	}
}
