//go:build unix

package jepsen_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"example.com/tidings/internal/natstest"
)

// The users of the servers: the nodes', and the tests'.
var users = map[string]string{"tidings": "secret", "operator": "secret"}

// A cluster is one or three NATS servers. Links are between all processes. Its methods must
// be called from the test's goroutine, unless noted.
type cluster struct {
	t       testing.TB
	servers []*natstest.Server
	routes  map[[2]int]*link // from one server to another
	js      jetstream.JetStream
}

// startCluster starts servers, which end with the test.
func startCluster(t testing.TB, servers int, always bool) *cluster {
	t.Helper()
	c := &cluster{t: t, routes: map[[2]int]*link{}}
	c.servers = natstest.StartConfigured(t, natstest.Config{
		Servers: servers, SyncAlways: always, Users: users,
		Route: func(from, to int, address string) string {
			k := newLink(t, address)
			c.routes[[2]int{from, to}] = k
			return k.addr
		},
	})
	nc, err := nats.Connect(natstest.URLs(c.servers), nats.UserInfo("operator", "secret"), nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond), nats.PingInterval(time.Second), nats.IgnoreAuthErrorAbort())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if c.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return c
}

// leader returns the number of the server that leads a stream. It waits for one.
func (c *cluster) leader(stream string) int {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		s, err := c.js.Stream(ctx, stream)
		cancel()
		if err == nil {
			info := s.CachedInfo()
			if info.Cluster == nil {
				return 0
			}
			if i := slices.IndexFunc(c.servers, func(s *natstest.Server) bool { return s.Name == info.Cluster.Leader }); i >= 0 {
				return i
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the stream has no leader: %v", err)
		}
	}
}

// heal lets all servers run and reach each other.
func (c *cluster) heal() {
	for _, k := range c.routes {
		k.heal()
	}
	for _, s := range c.servers {
		if s.Running() {
			s.Resume(c.t)
		} else {
			s.Restart(c.t)
		}
	}
}

// between returns the links in both directions between a server and all others.
func (c *cluster) between(server int) (links []*link) {
	for ends, k := range c.routes {
		if ends[0] == server || ends[1] == server {
			links = append(links, k)
		}
	}
	return links
}

// snapshot copies the stores of servers. It returns a function that puts the copies in the
// place of the stores of these servers, which must not run then.
func (c *cluster) snapshot(servers []int) (restore func()) {
	copies := map[int]string{}
	for _, i := range servers {
		c.servers[i].Pause(c.t)
		copies[i] = filepath.Join(c.t.TempDir(), "store")
		if err := os.CopyFS(copies[i], os.DirFS(c.servers[i].Dir)); err != nil {
			c.t.Fatal(err)
		}
		c.servers[i].Resume(c.t)
	}
	return func() {
		for i, dir := range copies {
			err := os.RemoveAll(c.servers[i].Dir)
			if err == nil {
				err = os.CopyFS(c.servers[i].Dir, os.DirFS(dir))
			}
			if err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// block returns the newest block file of a stream on a server, and its content.
func (c *cluster) block(server int, stream string) (file string, content []byte) {
	files, err := filepath.Glob(filepath.Join(c.servers[server].Dir, "jetstream", "$G", "streams", stream, "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		c.t.Fatalf("the stream has no files: %v", err)
	}
	file = slices.MaxFunc(files, func(a, b string) int { // 10.blk is after 9.blk
		return compareLengthFirst(filepath.Base(a), filepath.Base(b))
	})
	if content, err = os.ReadFile(file); err != nil {
		c.t.Fatal(err)
	}
	return file, content
}

func compareLengthFirst(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// leaders returns the records that the leader of a stream has. It asks for one after the
// other, because any server may answer other requests.
func (c *cluster) leaders(ctx context.Context, stream string, h *history) (all []record, err error) {
	for seq := uint64(1); ; {
		request := fmt.Appendf(nil, `{"seq":%d,"next_by_subj":">"}`, seq)
		m, err := c.js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, request)
		if err != nil {
			return all, err
		}
		var answer struct {
			Error   *jetstream.APIError
			Message struct {
				Seq  uint64
				Data []byte
			}
		}
		err = json.Unmarshal(m.Data, &answer)
		switch {
		case err != nil:
			return all, err
		case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
			return all, nil
		case answer.Error != nil:
			return all, answer.Error
		}
		all = append(all, h.record(answer.Message.Seq, answer.Message.Data))
		seq = answer.Message.Seq + 1
	}
}

// record returns the record of some data, with its name if the history knows it.
func (h *history) record(seq uint64, data []byte) record {
	name, _, _ := strings.Cut(string(data), " ")
	r := record{seq: seq, bad: strings.HasPrefix(name, badName)}
	if !r.bad && h.knows(name) {
		r.name = name
	}
	return r
}

// read returns the records of a stream, with the names that a history knows. Any server may
// have them.
func (c *cluster) read(ctx context.Context, stream string, h *history) (all []record, err error) {
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	last := s.CachedInfo().State.LastSeq
	if s.CachedInfo().State.Msgs == 0 {
		return nil, nil
	}
	consumer, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return all, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return all, err
		}
		all = append(all, h.record(meta.Sequence.Stream, m.Data()))
		if meta.Sequence.Stream >= last || meta.NumPending == 0 {
			return all, nil
		}
	}
}

// badName begins the names of records that cannot be sent as events.
const badName = "bad-"

// without returns the users without one.
func without(user string) map[string]string {
	rest := maps.Clone(users)
	delete(rest, user)
	return rest
}

// retry repeats what an operator does, until it works.
func (c *cluster) retry(what string, do func(ctx context.Context) error) {
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
		err = do(ctx)
		cancel()
		if err == nil || errors.Is(err, context.Canceled) {
			return
		}
	}
	c.t.Fatalf("%s: %v", what, err)
}
