package jetlog

import (
	"context"
	"errors"

	"example.com/tidings/eventlog"
	"example.com/tidings/topics"
)

// A source reads a stream. There are two: [directSource] reads the store of the server in
// this process, and [apiSource] asks any server.
type source interface {
	// state returns First and Last of the stream. It is never behind what was
	// acknowledged.
	state(ctx context.Context) (eventlog.State, error)

	// get returns a record, or eventlog.ErrNotFound. It is never behind either.
	get(ctx context.Context, seq uint64) (eventlog.Record, error)

	// next returns the first selected record from seq on, or eventlog.ErrNotFound. It is
	// never behind either.
	next(ctx context.Context, sel *selection, seq uint64) (eventlog.Record, error)

	// scan returns the next records from seq on, of all topics: at least one if there is
	// one, at most n, and no more once their data has maxBytes. It may be behind: then
	// its records end too early, but none before the end is missing.
	scan(ctx context.Context, seq uint64, n, maxBytes int) ([]eventlog.Record, error)

	// last returns the newest record of a topic, or eventlog.ErrNotFound.
	last(ctx context.Context, topic string) (eventlog.Record, error)

	// newest is [eventlog.Log]'s Newest. ok is false if more topics are selected than it
	// looks at in one call. It is never behind upTo.
	newest(ctx context.Context, sel *selection, after, upTo uint64, limit int) (seqs []uint64, through uint64, ok bool, err error)

	// newestOf returns the sequence numbers of the given records that are the newest of
	// their topic. If it is behind, it may return more.
	newestOf(ctx context.Context, records []eventlog.Record) (map[uint64]bool, error)

	// topics returns the topics that a filter matches, and the number of records of each.
	topics(ctx context.Context, f topics.Filter) (map[string]uint64, error)
}

// errReopening ends a read whose store was closed underneath it, so that the log can be
// opened anew. [Log.use] tries again.
var errReopening = errors.New("jetlog: the log is being opened anew")
