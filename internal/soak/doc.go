// Package soak holds the tests of what Tidings guarantees: that an acknowledged
// message reaches every subscriber once, in order, whatever restarts or stalls,
// and that what cannot be delivered is said. They run the real program, with its
// log on disk, among many clients at once, and compare what each of them has got
// with what was acknowledged.
//
// All that is random in them comes from a seed, which a failure names:
//
//	go test ./internal/soak -run TestReplayTurnsIntoLive -seed 42
//
// They are sized to be part of every test run. A soak repeats each of them, with
// new seeds and more clients, for as long as it is told to:
//
//	go test ./internal/soak -soak 10m -timeout 2h
//
// The benchmarks measure what the guarantees cost:
//
//	go test ./internal/soak -run '^$' -bench . -benchtime 1x
package soak
