package soak_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// withStrace returns the command that runs a program whose system calls strace changes. It
// skips the test outside a soak, or if there is no strace.
func withStrace(t *testing.T, inject string) []string {
	t.Helper()
	if *soak == 0 {
		t.Skip("only in a soak")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		const why = "strace is not installed: on Debian, apt-get install strace"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	call, _, _ := strings.Cut(inject, ":")
	// The program stays the child of this process.
	return []string{strace, "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", "inject=" + inject}
}

// Singles publishes messages, each once, from several publishers.
type singles struct {
	ledger *ledger
	pub    *publisher

	mu       sync.Mutex
	statuses map[int]int // of those that were not stored
}

func newSingles(t *testing.T, addr string, messages int) *singles {
	plan := make([]message, messages)
	for i := range plan {
		plan[i] = message{Topic: fmt.Sprint("singles.", i%9), Data: fmt.Sprint("message ", i, strings.Repeat("x", 200))}
	}
	l := &singles{ledger: newLedger(plan), statuses: map[int]int{}}
	l.pub = newPublisher(l.ledger, func() string { return addr }, false)
	t.Cleanup(l.pub.close)
	return l
}

// run publishes until an end, all messages, or the server is gone.
func (l *singles) run(t *testing.T, publishers int, until time.Time) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range publishers {
		all.Go(func() {
			for time.Now().Before(until) {
				n := int(next.Add(1)) - 1
				if n >= len(l.ledger.plan) {
					return
				}
				err := l.pub.single(t.Context(), n)
				refused, answered := errors.AsType[*statusError](err)
				switch {
				case answered:
					l.mu.Lock()
					l.statuses[refused.status]++
					l.mu.Unlock()
				case err != nil:
					return // the server is gone
				}
			}
		})
	}
	all.Wait()
}

// check checks that a server has every message that was acknowledged.
func (l *singles) check(t *testing.T, addr string) int {
	t.Helper()
	all, err := l.ledger.order()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		var got struct{ Data string }
		m := l.ledger.plan[s.n]
		if err := get(l.pub, addr, "/topics/"+m.Topic+"/events/"+s.id, &got); err != nil || got.Data != m.Data {
			t.Fatalf("the message %s is %.20q, %v", s.id, got.Data, err)
		}
	}
	return len(all)
}

// When a system call of the real program fails with an error of the disk, the program ends
// with 1 and one sentence. Publishers get 500 or 503, and what was acknowledged is there
// after the next start.
func TestDiskErrors(t *testing.T) {
	for end := time.Now().Add(*soak / 2); ; {
		for _, call := range []string{"fdatasync", "pwrite64"} {
			for _, sync := range []string{"always", "50ms"} {
				// Each thread counts its calls. A start has some of them.
				inject := fmt.Sprintf("%s:error=EIO:when=%d+", call, 30+rand.IntN(200))
				t.Run(inject+" "+sync, func(t *testing.T) {
					p := &process{args: []string{"--sync", sync}, wrap: withStrace(t, inject), fails: true}
					p.serve(t)
					l := newSingles(t, p.addr, 200_000)
					l.run(t, 8, time.Now().Add(patience))
					select {
					case err := <-p.exited:
						p.exited <- err
						exit, ok := errors.AsType[*exec.ExitError](err)
						if !ok || exit.ExitCode() != 1 {
							t.Errorf("the program ends with %v, want exit code 1", err)
						}
					case <-time.After(patience):
						t.Fatal("the program goes on")
					}
					for status := range l.statuses {
						if status != 500 && status != 503 {
							t.Errorf("publishers got %v", l.statuses)
						}
					}
					stderr, err := os.ReadFile(p.log)
					if err != nil {
						t.Fatal(err)
					}
					said := 0
					for line := range strings.Lines(string(stderr)) {
						if strings.HasPrefix(line, "tidings: ") {
							said++
							if !strings.Contains(line, "tidings-data") || !strings.Contains(line, "input/output error") {
								t.Errorf("the program says %s", line)
							}
						}
					}
					if said != 1 {
						t.Errorf("the program says %d sentences, want one", said)
					}
					p.wrap = nil
					if err := p.start(); err != nil {
						t.Fatal(err)
					}
					t.Logf("%d messages acknowledged; the others: %v", l.check(t, p.addr), l.statuses)
				})
			}
		}
		if t.Failed() || time.Now().After(end) {
			return
		}
	}
}

// A disk whose syncs are slow slows the real program, and that is all: it refuses nothing,
// loses nothing, and logs no error.
func TestSlowSyncs(t *testing.T) {
	for _, delay := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			p := &process{wrap: withStrace(t, fmt.Sprintf("fdatasync:delay_exit=%d", delay.Microseconds()))}
			p.serve(t)
			l := newSingles(t, p.addr, 200_000)
			took := min(cmp.Or(*soak/10, time.Second), 30*time.Second)
			l.run(t, 64, time.Now().Add(took))
			if len(l.statuses) > 0 {
				t.Errorf("publishers got %v", l.statuses)
			}
			n := l.check(t, p.addr)
			// Two halves of the publishers take turns. Half of that is for a busy machine.
			if least := int(took/delay) * 64 / 4; n < least {
				t.Errorf("%d messages are stored in %v, want %d", n, took, least)
			}
			t.Logf("%.0f messages a second", float64(n)/took.Seconds())
			if err := p.terminate(); err != nil {
				t.Errorf("after SIGTERM the program ends with %v", err)
			}
		})
	}
}

// A disk that hangs does not keep the real program: it ends with 1 and a line within 2.5 s of
// SIGTERM. How soon the system lets it go is not measured: strace holds the thread that hangs.
func TestStopOnADiskThatHangs(t *testing.T) {
	p := &process{wrap: withStrace(t, "fdatasync:delay_enter=10000000:when=3+"), fails: true} // µs; each thread counts
	p.serve(t)
	l := newSingles(t, p.addr, 200)
	go l.run(t, 8, time.Now().Add(2*time.Second))
	time.Sleep(time.Second) // a sync hangs by then
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	said := func() bool {
		stderr, err := os.ReadFile(p.log)
		return err == nil && strings.Count(string(stderr), "tidings: the server has not stopped") == 1
	}
	for deadline := time.Now().Add(3 * time.Second); !said(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the program does not say that it ends")
		}
	}
	select {
	case err := <-p.exited:
		p.exited <- err
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
			t.Errorf("the program ends with %v, want exit code 1", err)
		}
	case <-time.After(patience):
		t.Error("the program goes on")
	}
}
