// Package segmentlog has the durable [eventlog.Log] of one machine: files in a folder.
//
// # Files
//
// Segment files hold the records, and are the truth. Each record stands alone, with a
// checksum: damage costs the records that it hits, and no others. docs/format.md describes
// the files byte by byte. An index in the folder, a Pebble store, finds the records of a
// topic, the topics, and the keys. It can be computed again from the segments: if it is
// missing, damaged or behind, the log drops it, makes it again in the background, and
// searches the segments meanwhile.
//
// # What survives
//
// An acknowledged message has been given to the operating system, so it survives the death
// of the process. By default it is also on the disk, and survives the death of the machine.
// With Options.Sync the death of the machine may take the last interval. One goroutine
// writes: while the disk syncs a group of messages, the next group gathers. So the default
// costs many publishers little.
//
// # Time
//
// The log's time goes on with the machine's monotonic clock. A wall clock that is ahead is
// followed at twice the real speed, one that is behind has no effect. At a start the wall
// clock is believed, but time never goes back. Retention, the window of keys and
// [Log.At] use the log's time.
//
// # Loss
//
// The log reports every loss. Where records are missing, Read returns a hole. Each start
// opens a new [eventlog.Epoch]: the id of a lost message stays known as lost when its
// sequence number goes to another message. Where a start cannot tell whether something is
// missing, it reports a hole too many.
package segmentlog
