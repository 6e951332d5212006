//go:build !race

package segmentlog

// raced says that the race detector is there, with which everything takes much longer.
const raced = false
