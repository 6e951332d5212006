//go:build unix

package soak_test

import "testing"

// A path is the path that the streams of a server take.
type path int

const (
	takenOver path = iota // from net/http, on Linux
	netHTTP
	paths
)

func (p path) String() string { return [...]string{"taken over", "net/http"}[p] }

// other returns the other path.
func (p path) other() path { return paths - 1 - p }

// bothPaths runs a test on each path.
func bothPaths(t *testing.T, test func(t *testing.T, p path)) {
	for p := range paths {
		t.Run(p.String(), func(t *testing.T) { test(t, p) })
	}
}
