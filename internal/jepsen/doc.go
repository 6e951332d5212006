// Package jepsen tests what Tidings promises for many nodes, in the style of Jepsen: it runs
// real NATS servers, two nodes of "tidings serve", publishers, and subscribers that hop
// between the nodes with their last id. A schedule, which a seed chooses, kills, freezes and
// partitions them, and damages the servers' stores. A checker then compares what each
// subscriber saw with what was acknowledged, with the gaps that it was told, and with what
// the log holds at the end.
//
// A failure names the seed. To run one schedule again:
//
//	go test ./internal/jepsen -run 'TestSchedules/kills' -seed 42 -v
//
// The faults are the same then, but not the times at which the processes run.
//
// A soak runs all schedules with new seeds for a given time:
//
//	go test ./internal/jepsen -soak 10m -timeout 2h
package jepsen
