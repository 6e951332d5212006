//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// An attack is one way to hurt others with a server.
type attack struct {
	name  string
	what  string   // what the attackers do, for the table
	flags []string // of the server
	files int      // the server's limit of open files; 0 means the system's
	http2 bool     // the attackers speak HTTP/2 without TLS
	tls   bool     // the server speaks TLS, and the control group with it

	// fill stores what the attack needs, before the server's rest is measured. It may be nil. The
	// server starts again after it, so that its garbage is not at rest. With fresh it does not: a
	// log that has just been written differs from one that has been opened.
	fill  *filling
	fresh bool

	// run attacks until ctx is done. It leaves no connection and no goroutine behind. What it
	// returns is for the reader of the progress.
	run func(ctx context.Context, t *target) string
}

// A filling is what some attacks need in a server's log.
type filling struct {
	// into stores it. It returns ids that the attack needs.
	into func(s *server) (marks []string, err error)
}

// attacks has all attacks, in the order of the table.
var attacks = slices.Concat(
	[]attack{noAttack},
	filterAttacks, readAttacks, slowAttacks, bodyAttacks, connectionAttacks, descriptorAttacks,
	requestAttacks, http2Attacks, frameAttacks, tlsAttacks,
)

// noAttack shows what the tool itself does to the figures.
var noAttack = attack{name: "none", what: "nothing, for comparison", run: func(ctx context.Context, _ *target) string {
	<-ctx.Done()
	return ""
}}

func printAttacks(w io.Writer) {
	for _, a := range attacks {
		fmt.Fprintf(w, "%-24s %s\n", a.name, a.what)
	}
}

// A target is a server under attack.
type target struct {
	*server
	ctx   context.Context // of the attack
	marks []string        // of the filling

	// stored is what the attack leaves behind for good, in bytes of memory: see keyBytes.
	stored atomic.Int64

	// broken is a promise that the server has broken to the attackers, if any.
	broken string
}

// What a message with a new key, or with a new topic, leaves in memory.
const (
	keyBytes   = 160
	topicBytes = 200
)

// left returns how long the attack may still take, and at least a moment.
func (t *target) left() time.Duration {
	deadline, _ := t.ctx.Deadline()
	return max(time.Until(deadline), 100*time.Millisecond)
}

// many returns n, or fewer for a short form of the attack.
func (s *server) many(n int) int { return max(1, n/max(1, s.divisor)) }

// each calls f for 0 to n-1, several at a time, until ctx is done.
func each(ctx context.Context, n, atOnce int, f func(i int)) {
	var next atomic.Int64
	var running sync.WaitGroup
	for range atOnce {
		running.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	running.Wait()
}

// repeat has workers call f until ctx is done. It returns how often they did.
func repeat(ctx context.Context, workers int, f func(worker, i int)) int {
	var n atomic.Int64
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				f(w, i)
				n.Add(1)
			}
		})
	}
	running.Wait()
	return int(n.Load())
}
