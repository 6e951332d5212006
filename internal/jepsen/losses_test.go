//go:build unix

package jepsen_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The faults with which messages go.
func init() {
	maps.Copy(faults, map[string]func(s *schedule, f *fault){
		"power of the stream's server": func(s *schedule, f *fault) { s.power(f, s.leader(s.stream)) },
		"power of one server":          func(s *schedule, f *fault) { s.power(f, s.some(1)...) },
		"power of the leader":          func(s *schedule, f *fault) { s.power(f, s.leader(s.stream)) },
		"power of two servers":         func(s *schedule, f *fault) { s.power(f, s.some(2)...) },
		"power of all servers":         func(s *schedule, f *fault) { s.power(f, s.some(len(s.servers))...) },
		"power of one server alone":    func(s *schedule, f *fault) { s.powerAlone(s.some(1)[0]) },
		"power of the leader alone":    func(s *schedule, f *fault) { s.powerAlone(s.leader(s.stream)) },
		"truncated block":              func(s *schedule, f *fault) { s.damage(f, truncate) },
		"flipped bit":                  func(s *schedule, f *fault) { s.damage(f, flip) },
		"truncated without nodes":      truncatedWithoutNodes,
		"list of epochs deleted":       func(s *schedule, f *fault) { s.listGone(f, nil) },
		"list of epochs damaged":       func(s *schedule, f *fault) { s.listGone(f, []byte("damaged")) },
		"older store":                  olderStore,
		"stream deleted":               streamDeleted,
		"stream remade":                streamRemade,
		"purge":                        func(s *schedule, _ *fault) { s.purge("") },
		"purge of a topic":             func(s *schedule, _ *fault) { s.purge(busyTopics[s.r.IntN(len(busyTopics))]) },
		"messages deleted":             func(s *schedule, _ *fault) { s.deleteSome(false) },
		"messages erased":              func(s *schedule, _ *fault) { s.deleteSome(true) },
	})
}

// power kills all servers, and puts the stores of some back to what they were up to three
// seconds before.
func (s *schedule) power(f *fault, servers ...int) {
	f.lossy = true
	restore := s.snapshot(servers)
	s.sleep(time.Second, 3*time.Second)
	s.down(restore, fmt.Sprintf("servers %d lose their end", servers))
}

// down kills all servers, does something to their stores, and starts them again. In half of
// the cases a node is frozen meanwhile, or is killed and comes back later.
func (s *schedule) down(do func(), what string) {
	away, pause, back := -1, func(*node) {}, func(*node) {}
	switch s.r.IntN(4) {
	case 0:
		away = s.r.IntN(len(s.nodes))
		pause, back = func(n *node) { s.must(n.pause()) }, func(n *node) { s.must(n.resume()) }
		what += fmt.Sprintf("; node %d is frozen", away)
	case 1:
		away = s.r.IntN(len(s.nodes))
		pause, back = (*node).kill, s.restartNode
		what += fmt.Sprintf("; node %d is killed", away)
	}
	s.say("%s", what)
	for _, server := range s.servers {
		server.Kill()
	}
	do()
	s.sleep(0, time.Second)
	if away >= 0 {
		pause(s.nodes[away])
	}
	for _, server := range s.servers {
		server.Restart(s.t)
	}
	if away >= 0 {
		s.sleep(time.Second, 5*time.Second)
		back(s.nodes[away])
	}
}

// powerAlone has one server lose its end while the others run. Nothing is lost by that.
func (s *schedule) powerAlone(server int) {
	restore := s.snapshot([]int{server})
	s.sleep(time.Second, 3*time.Second)
	s.servers[server].Kill()
	restore()
	s.sleep(0, 2*time.Second)
	s.servers[server].Restart(s.t)
}

// damage kills all servers, and changes the newest file of the stream on its leader.
func (s *schedule) damage(f *fault, change func(s *schedule, content []byte) []byte) {
	f.lossy = true
	leader := s.leader(s.stream)
	s.down(func() {
		file, content := s.block(leader, s.stream)
		s.must(os.WriteFile(file, change(s, content), 0o600))
	}, "the newest file is damaged")
}

// offsets returns where the records of a block begin. Each begins with its length, whose
// highest bit is for headers.
func offsets(content []byte) (all []int) {
	for at := 0; at+4 <= len(content); {
		n := int(binary.LittleEndian.Uint32(content[at:]) &^ (1 << 31))
		if n < 22 || at+n > len(content) {
			break
		}
		all = append(all, at)
		at += n
	}
	return all
}

// truncate removes up to 100 records from the end of a block.
func truncate(s *schedule, content []byte) []byte {
	all := offsets(content)
	if len(all) == 0 {
		return content
	}
	return content[:all[max(0, len(all)-1-s.r.IntN(100))]]
}

// flip flips a bit in one of the last 100 records of a block.
func flip(s *schedule, content []byte) []byte {
	all := offsets(content)
	if len(all) == 0 {
		return content
	}
	at := all[max(0, len(all)-1-s.r.IntN(100))]
	content[at+22+s.r.IntN(20)] ^= 1 << s.r.IntN(8)
	return content
}

// truncatedWithoutNodes has the stream lose its end while no node runs. The list of epochs
// survives.
func truncatedWithoutNodes(s *schedule, f *fault) {
	for _, n := range s.nodes {
		n.kill()
	}
	f.lossy = true
	leader := s.leader(s.stream)
	for _, server := range s.servers {
		server.Kill()
	}
	file, content := s.block(leader, s.stream)
	s.must(os.WriteFile(file, truncate(s, content), 0o600))
	for _, server := range s.servers {
		server.Restart(s.t)
	}
	for _, n := range s.nodes {
		s.restartNode(n)
	}
}

// listGone deletes or damages the list of epochs, and then has the stream lose its end.
func (s *schedule) listGone(f *fault, value []byte) {
	s.retry("changing the list", func(ctx context.Context) error {
		bucket, err := s.js.KeyValue(ctx, s.stream+"-epochs")
		switch {
		case errors.Is(err, jetstream.ErrBucketNotFound):
			return nil
		case err != nil:
			return err
		case value == nil:
			return s.js.DeleteKeyValue(ctx, bucket.Bucket())
		}
		_, err = bucket.Put(ctx, "epochs", value)
		return err
	})
	s.sleep(0, 2*time.Second)
	s.damage(f, truncate)
}

// olderStore puts back stores of some time ago. The nodes run, or are started after it. If all
// of them are down, only the list of epochs can tell of it, which is as old as the stores.
func olderStore(s *schedule, f *fault) {
	f.lossy = true
	restore := s.snapshot(s.some(len(s.servers)))
	s.sleep(3*time.Second, 8*time.Second)
	s.down(restore, "all stores are put back")
}

func streamDeleted(s *schedule, f *fault) {
	f.lossy = true
	s.retry("deleting the stream", func(ctx context.Context) error { return s.js.DeleteStream(ctx, s.stream) })
}

// streamRemade deletes the stream, and makes it again with its configuration and metadata.
func streamRemade(s *schedule, f *fault) {
	f.lossy = true
	s.retry("making the stream again", func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, s.stream)
		if err != nil {
			return err
		}
		config := stream.CachedInfo().Config
		if err := s.js.DeleteStream(ctx, s.stream); err != nil {
			return err
		}
		_, err = s.js.CreateStream(ctx, config)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			s.say("a node was faster")
			return nil
		}
		return err
	})
}

// records returns the records of the stream now.
func (s *schedule) records() (all []record) {
	s.retry("reading the stream", func(ctx context.Context) (err error) {
		all, err = s.read(ctx, s.stream, s.history)
		return err
	})
	return all
}

// remove notes that a message is about to be removed.
func (s *schedule) remove(r record) {
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	if r.name != "" {
		s.history.removed[r.name] = time.Now()
	}
}

// purge removes what is stored by now, of one topic or of all.
func (s *schedule) purge(topic string) {
	all := s.records()
	if len(all) == 0 {
		return
	}
	last := all[max(0, len(all)-1-s.r.IntN(20))]
	opts := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSequence(last.seq)}
	if topic != "" {
		opts = append(opts, jetstream.WithPurgeSubject(s.stream+"."+topic))
	}
	s.say("purge of %q before %d", topic, last.seq)
	for _, r := range all {
		s.history.mu.Lock()
		m := s.history.messages[r.name]
		s.history.mu.Unlock()
		if r.seq < last.seq && m != nil && (topic == "" || m.topic == topic) {
			s.remove(r)
		}
	}
	s.retry("purge", func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, s.stream)
		if err != nil {
			return err
		}
		return stream.Purge(ctx, opts...)
	})
}

// deleteSome deletes or erases some of the newest messages.
func (s *schedule) deleteSome(erase bool) {
	all := s.records()
	newest := all[max(0, len(all)-200):]
	var seqs []uint64
	for _, i := range s.r.Perm(len(newest))[:min(len(newest), 10)] {
		r := newest[i]
		seqs = append(seqs, r.seq)
		s.remove(r)
		s.retry("deleting a message", func(ctx context.Context) error {
			stream, err := s.js.Stream(ctx, s.stream)
			if err == nil && erase {
				err = stream.SecureDeleteMsg(ctx, r.seq)
			} else if err == nil {
				err = stream.DeleteMsg(ctx, r.seq)
			}
			if err != nil && strings.Contains(err.Error(), "no message found") { // an answer was lost
				return nil
			}
			return err
		})
	}
	slices.Sort(seqs)
	s.say("deleted %d, erased: %t", seqs, erase)
}

// foreignRecords has another program publish to the stream. Streams have what is an event,
// and pass over the rest.
func foreignRecords(s *schedule, _ *fault) {
	type foreign struct {
		topic, typ, data string
		bad, optional    bool
	}
	for _, x := range []foreign{
		{topic: "a.1"},
		{topic: "rare.0", typ: "note"},
		{topic: "a.2", data: "\x00"},
		{topic: "a.2", data: "\xff", optional: true},
		{topic: "b.1.x", typ: "x%0Ay", bad: true},
		{topic: "b.1.x", typ: "x%0Dy", bad: true},
		{topic: "a.0", typ: "tidings.gap", bad: true},
		{topic: "tidings.gap", bad: true},
		{topic: "rare.1", typ: "tidings.end", bad: true},
		{topic: strings.Repeat("t.", 40) + "t", optional: true},
		{topic: "a." + strings.Repeat("x", 400), optional: true},
		{topic: "a.?&#", optional: true},
		{topic: "b.0.x", data: strings.Repeat("y", 900<<10), optional: true},
	} {
		s.markers++
		m := &message{name: fmt.Sprint("foreign-", s.markers), publisher: "another program", topic: x.topic, typ: x.typ, optional: x.optional}
		if x.bad {
			m.name = badName + m.name
		}
		m.data = m.name + " " + x.data
		if !x.bad {
			s.history.begin(m, time.Now())
			s.history.unknown(m)
		}
		msg := &nats.Msg{Subject: s.stream + "." + m.topic, Data: []byte(m.data), Header: nats.Header{"Nats-Msg-Id": {m.name}}}
		if m.typ != "" {
			msg.Header.Set("Tidings-Type", m.typ)
		}
		s.retry("publishing a foreign record", func(ctx context.Context) error {
			_, err := s.js.PublishMsg(ctx, msg)
			return err
		})
	}
}
