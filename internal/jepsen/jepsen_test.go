//go:build unix

package jepsen_test

import (
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
	test     bool // runs in every test, not only in a soak
	faults   []string
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
	{name: "tail/r1", servers: 1, replicas: 1, faults: []string{"tail deleted"}},
	{name: "power/r1", servers: 1, replicas: 1, faults: []string{"power of the stream's server"}},
	{name: "damage/r1", servers: 1, replicas: 1, faults: []string{"truncated block", "flipped bit"}},
	{name: "damage/r1/without nodes", servers: 1, replicas: 1, faults: []string{"truncated without nodes"}},
	{name: "damage/r1/without list", servers: 1, replicas: 1, faults: []string{"list of epochs deleted"}},
	{name: "older/r1", servers: 1, replicas: 1, faults: []string{"older store"}},
	{name: "older/r1/always", servers: 1, replicas: 1, always: true, faults: []string{"older store", "truncated block"}},
	{name: "power/r1of3", servers: 3, replicas: 1, faults: []string{"power of the stream's server"}},
	{name: "power/r3one", servers: 3, replicas: 3, faults: []string{"power of one server", "power of the leader"}},
	{name: "power/r3two", servers: 3, replicas: 3, faults: []string{"power of two servers"}},
	{name: "power/r3all", servers: 3, replicas: 3, faults: []string{"power of all servers", "older store"}},
	{name: "stream/r1", servers: 1, replicas: 1, faults: []string{"stream deleted", "stream remade"}},
	{name: "stream/r3", servers: 3, replicas: 3, faults: []string{"stream deleted", "stream remade"}},
	{name: "removal/r1", servers: 1, replicas: 1, faults: []string{"purge", "purge of a topic", "messages deleted", "messages erased"}},
	{name: "mix/r1", servers: 1, replicas: 1, faults: []string{"node killed", "node frozen", "all servers killed", "power of the stream's server", "truncated block", "stream deleted", "purge", "messages erased", "login revoked", "foreign records"}},
	{name: "mix/r3", servers: 3, replicas: 3, faults: []string{"node killed", "leader killed", "two servers frozen", "leader cut off", "power of one server", "stream deleted", "messages erased", "login revoked", "foreign records"}},
}

// Whatever happens to the servers, the nodes and the network, no subscriber misses a message
// in silence, none has one twice, and no id names two messages.
func TestSchedules(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	for _, p := range plans {
		t.Run(p.name, func(t *testing.T) {
			if !p.test && *soak == 0 && *seed == 0 {
				t.Skip("runs in a soak, and with -seed")
			}
			if *soak == 0 {
				t.Parallel()
			}
			end := time.Now().Add(*soak / time.Duration(len(plans)))
			for round := 0; round == 0 || time.Now().Before(end) && !t.Failed(); round++ {
				n := *seed
				if n == 0 || round > 0 {
					n = rand.Uint64N(1 << 32)
				}
				t.Run(fmt.Sprint("seed=", n), func(t *testing.T) { runPlan(t, p, n) })
			}
		})
	}
}

// runPlan runs one schedule.
func runPlan(t *testing.T, p plan, seed uint64) {
	s := startSchedule(t, startCluster(t, p.servers, p.always), seed, p.replicas)
	time.Sleep(time.Second)
	for end := time.Now().Add(*length); time.Now().Before(end); {
		s.inject(p.faults[s.r.IntN(len(p.faults))])
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
