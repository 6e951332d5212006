//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A tally counts what happened, by kind.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func newTally() *tally { return &tally{n: map[string]int{}} }

func (c *tally) count(kind any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[fmt.Sprint(kind)]++
}

func (c *tally) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for kind, n := range c.n {
		all = append(all, fmt.Sprintf("%s ×%d", kind, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
