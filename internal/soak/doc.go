// Package soak has the tests of Tidings's guarantees. An acknowledged message reaches
// every subscriber once and in order, even if processes restart or clients stall. If
// messages cannot be delivered, the stream says so. The tests run the real program,
// with its log on disk and many clients at once. They compare the messages that each
// client got with the acknowledged ones.
//
// All randomness comes from a seed, which a failure names:
//
//	go test ./internal/soak -run TestReplayTurnsIntoLive -seed 42
//
// The tests are short enough for every test run. A soak repeats each of them for a
// given time, with new seeds and more clients:
//
//	go test ./internal/soak -soak 10m -timeout 2h
//
// Only a soak runs TestWallClockSteps, which builds a program whose wall clock it can set.
//
// The benchmarks measure what the guarantees cost:
//
//	go test ./internal/soak -run '^$' -bench . -benchtime 1x
package soak
