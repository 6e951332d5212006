// Package eventlog defines the log that a hub stands on: the [Log] interface, the
// records in it, and the positions that name a place in it. [NewMemory] returns a log
// in memory. Package segmentlog has one in files on disk, package natslog one on NATS
// JetStream, and package logtest the tests that every log passes.
package eventlog
