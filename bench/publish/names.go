//go:build linux

package main

import (
	"errors"
	"flag"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
)

// prefix begins the name of each topic.
const prefix = "bench."

// names are the names of numbered topics: bench.000 to bench.999 if there are 1,000.
// All have the same length, so that one topic's name can replace another's in a
// request that is already built. No list of them exists.
type names struct {
	count  int
	digits int
}

func newNames(count int) (names, error) {
	if count < 1 {
		return names{}, errors.New("-topics must be 1 or more")
	}
	return names{count, len(strconv.Itoa(count - 1))}, nil
}

// topicsFlag adds the flag -topics.
func topicsFlag(flags *flag.FlagSet) *int {
	return flags.Int("topics", 1, "how many topics there are, named bench.0 and so on, all with as many digits")
}

// name returns the name of topic i.
func (n names) name(i int) string {
	b := make([]byte, len(prefix)+n.digits)
	copy(b, prefix)
	n.number(b[len(prefix):], i)
	return string(b)
}

// number writes the number of topic i to b, which has n.digits bytes.
func (n names) number(b []byte, i int) {
	for at := n.digits - 1; at >= 0; at-- {
		b[at] = byte('0' + i%10)
		i /= 10
	}
}

// A sequence says which topic a message goes to. Several goroutines may share it, but
// each has a picker of its own.
type sequence struct {
	topics int
	random bool
	taken  atomic.Int64
	limit  int64 // of messages in all; 0 means none
}

// A picker picks topics for one goroutine.
type picker struct {
	of   *sequence
	rand *rand.Rand
	next int64
}

// picker returns a picker. Each seed picks other random topics, and the same in each
// run.
func (s *sequence) picker(seed uint64) *picker {
	return &picker{of: s, rand: rand.New(rand.NewPCG(seed, 0))}
}

// take reserves up to n messages, and returns how many there are: fewer than n near
// the limit, and 0 at the limit.
func (p *picker) take(n int) int {
	end := p.of.taken.Add(int64(n))
	p.next = end - int64(n)
	if p.of.limit == 0 {
		return n
	}
	return int(min(max(p.of.limit-p.next, 0), int64(n)))
}

// topic returns the number of the next message's topic. In turn, message i of all
// goes to topic i modulo the number of topics.
func (p *picker) topic() int {
	if p.of.random {
		return p.rand.IntN(p.of.topics)
	}
	topic := int(p.next % int64(p.of.topics))
	p.next++
	return topic
}
