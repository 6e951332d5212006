package segmentlog

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// The environment variables that make the test binary another process.
const (
	roleVariable   = "SEGMENTLOG_TEST_ROLE"
	folderVariable = "SEGMENTLOG_TEST_FOLDER"
	syncVariable   = "SEGMENTLOG_TEST_SYNC"
	roundVariable  = "SEGMENTLOG_TEST_ROUND"
)

// play is the main function of another process.
func play(role string) int {
	sync, _ := time.ParseDuration(os.Getenv(syncVariable))
	l, err := Open(context.Background(), &Options{Dir: os.Getenv(folderVariable), Sync: sync, segmentBytes: 64 << 10, Logger: quiet()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	switch role {
	case "open":
		_ = l.Close()
	case "publish":
		publishForEver(l)
	}
	return 0
}

// A noted line is what the process that is killed says of its log, one line of JSON each.
type noted struct {
	ID       *eventlog.Position `json:",omitempty"` // of a message that was acknowledged
	Message  eventlog.Message
	Removing uint64 // the number that Remove is given
	Removed  uint64 // the same, when Remove has returned
}

// note writes lines at once.
func note(lines ...noted) {
	var b strings.Builder
	for i := range lines {
		line, err := json.Marshal(lines[i])
		if err != nil {
			panic(err)
		}
		b.Write(append(line, '\n'))
	}
	if _, err := io.WriteString(os.Stdout, b.String()); err != nil {
		os.Exit(0) // the test has ended
	}
}

// publishForEver appends from several goroutines, and removes some of the messages.
func publishForEver(l *Log) {
	round := os.Getenv(roundVariable)
	var all sync.WaitGroup
	for who := range 6 {
		all.Go(func() {
			for n := 0; ; {
				batch := make([]eventlog.Message, 1+rand.IntN(20))
				for i := range batch {
					n++
					name := fmt.Sprintf("%s.%d.%d", round, who, n)
					batch[i] = eventlog.Message{Topic: fmt.Sprint("t.", n%5), Type: "typ", Data: name + strings.Repeat("x", rand.IntN(300))}
					if n%3 == 0 {
						batch[i].Key = name
					}
				}
				var lines []noted
				for i, a := range l.Append(context.Background(), batch) {
					if a.Err != nil || a.Repeat {
						fmt.Fprintf(os.Stderr, "Append: %+v\n", a)
						os.Exit(4)
					}
					lines = append(lines, noted{ID: &a.ID, Message: batch[i]})
				}
				note(lines...)
				if rand.IntN(10) == 0 {
					seq := lines[rand.IntN(len(lines))].ID.Seq
					note(noted{Removing: seq})
					if n, err := l.Remove(context.Background(), []uint64{seq}); n != 1 || err != nil {
						fmt.Fprintf(os.Stderr, "Remove has removed %d: %v\n", n, err)
						os.Exit(4)
					}
					note(noted{Removed: seq})
				}
			}
		})
	}
	all.Wait()
}

// A ledger is what killed processes have said of a log.
type ledger struct {
	acknowledged map[uint64]noted
	removing     map[uint64]bool
	removed      map[uint64]bool
}

// kill starts a process that publishes into a folder, kills it a while after it has begun,
// and adds to the ledger what it has said.
func (g *ledger) kill(t *testing.T, dir string, sync time.Duration, round int, after time.Duration) {
	t.Helper()
	p := exec.Command(os.Args[0])
	p.Env = append(os.Environ(), roleVariable+"=publish", folderVariable+"="+dir, syncVariable+"="+sync.String(), fmt.Sprintf("%s=%d", roundVariable, round))
	var failed strings.Builder
	p.Stderr = &failed
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	var end *time.Timer
	said := 0
	for lines := bufio.NewReader(out); ; said++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break // what is in line is cut off
		}
		if end == nil {
			end = time.AfterFunc(after, func() { _ = p.Process.Kill() })
		}
		var n noted
		if err := json.Unmarshal(line, &n); err != nil {
			t.Errorf("the process says %q", line)
		}
		switch {
		case n.Removing > 0:
			g.removing[n.Removing] = true
		case n.Removed > 0:
			g.removed[n.Removed] = true
		default:
			seq := n.ID.Seq
			if old, ok := g.acknowledged[seq]; ok {
				t.Errorf("%d is the number of %.40q and of %.40q", seq, old.Message.Data, n.Message.Data)
			}
			g.acknowledged[seq] = n
		}
	}
	_ = p.Wait()
	if said == 0 || failed.Len() > 0 {
		t.Fatalf("the process ended after %d lines: %s", said, failed.String())
	}
	end.Stop()
}

// check checks that a log has what it has acknowledged, and knows the keys.
func (g *ledger) check(t *testing.T, l *Log, rnd *rand.Rand) {
	t.Helper()
	c := read(t, l)
	if len(c.lost) > 0 {
		t.Errorf("the log has lost %v", c.lost)
	}
	erased := map[uint64]bool{}
	for _, seq := range numbers(c.removed) {
		erased[seq] = true
		if !g.removing[seq] {
			t.Errorf("%d is removed, which nobody has asked for", seq)
		}
	}
	st, _ := l.State(t.Context())
	for seq, n := range g.acknowledged {
		if erased[seq] {
			continue
		}
		r := c.records[seq]
		switch {
		case g.removed[seq]:
			t.Errorf("%d was removed, and is there", seq)
		case r.Topic != n.Message.Topic || r.Type != n.Message.Type || r.Data != n.Message.Data:
			t.Errorf("%d is %.60q, not %.60q", seq, r.Data, n.Message.Data)
		case st.Epochs.Position(seq) != *n.ID:
			t.Errorf("%d has the id %v, and had %v", seq, st.Epochs.Position(seq), *n.ID)
		}
	}
	asked := 0
	for _, seq := range slices.Sorted(maps.Keys(g.acknowledged)) {
		n := g.acknowledged[seq]
		if n.Message.Key == "" || erased[seq] || asked > 100 && rnd.IntN(20) > 0 {
			continue
		}
		asked++
		other := n.Message
		other.Data += "!"
		got := l.Append(t.Context(), []eventlog.Message{n.Message, other})
		if got[0] != (eventlog.Appended{ID: *n.ID, Repeat: true}) || !errors.Is(got[1].Err, eventlog.ErrKeyConflict) {
			t.Errorf("the key of %d, asked again: %+v", seq, got)
		}
	}
	for seq := range g.removed {
		n := g.acknowledged[seq]
		if n.Message.Key == "" {
			continue
		}
		a := l.Append(t.Context(), []eventlog.Message{n.Message})[0]
		if a.Err != nil || a.Repeat {
			t.Errorf("the key of %d, which was removed: %+v", seq, a)
		}
		delete(g.removed, seq) // the key is another's now
		delete(g.acknowledged, seq)
		g.removing[a.ID.Seq] = false
	}
	l.indexed(t)
	for topic := range 5 {
		info, err := l.Topics(t.Context(), filterOf(fmt.Sprint("t.", topic)), "", 1)
		count, last := uint64(0), uint64(0)
		for seq, r := range read(t, l).records {
			if r.Topic == fmt.Sprint("t.", topic) {
				count, last = count+1, max(last, seq)
			}
		}
		if count == 0 && len(info) == 0 && err == nil {
			continue
		}
		if err != nil || len(info) != 1 || info[0].Count != count || info[0].Last.Seq != last {
			t.Errorf("Topics says %+v, %v of t.%d; it has %d to %d", info, err, topic, count, last)
		}
	}
}

// Whenever the process is killed, each acknowledged message is there after the next start
// with its id, each removed one is gone, and keys answer as before.
func TestKill(t *testing.T) {
	for _, sync := range []time.Duration{0, 20 * time.Millisecond} {
		t.Run(sync.String(), func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("the seed is %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 1))
			rounds := 6
			if testing.Short() {
				rounds = 2
			}
			for end := time.Now().Add(*soak); ; {
				killRounds(t, sync, rnd, rounds)
				if t.Failed() || time.Now().After(end) {
					return
				}
			}
		})
	}
}

// killRounds kills processes that publish into the same folder, one after the other.
func killRounds(t *testing.T, sync time.Duration, rnd *rand.Rand, rounds int) {
	dir := t.TempDir()
	g := &ledger{map[uint64]noted{}, map[uint64]bool{}, map[uint64]bool{}}
	for round := 0; round < rounds && !t.Failed(); round++ {
		g.kill(t, dir, sync, round, time.Duration(rnd.IntN(150))*time.Millisecond)
		l := opened(t, Options{Dir: dir, Sync: sync, segmentBytes: 64 << 10, Logger: quiet()})
		g.check(t, l, rnd)
		closeLog(t, l)
	}
	t.Logf("%d messages acknowledged", len(g.acknowledged))
}
