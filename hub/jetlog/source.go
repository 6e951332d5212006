package jetlog

import (
	"context"
	"errors"

	"example.com/tidings/hub"
)

// A source reads a stream. There are two: [directSource] reads the store of the
// server in this process, [apiSource] asks any server.
type source interface {
	// state returns what the stream retains, and is never behind what was
	// acknowledged.
	state(ctx context.Context) (hub.State, error)

	// get returns a record, or hub.ErrNotFound. It is never behind either.
	get(ctx context.Context, seq uint64) (hub.Record, error)

	// next returns the first record from seq on that is selected, or
	// hub.ErrNotFound. It is never behind either.
	next(ctx context.Context, sel *selection, seq uint64) (hub.Record, error)

	// scan returns the next records from seq on, of all topics, at least one if
	// there is one, at most n, and no more once their data has maxBytes. It may
	// be behind: what it returns may end too early, and lacks nothing before.
	scan(ctx context.Context, seq uint64, n, maxBytes int) ([]hub.Record, error)

	// last returns the newest record of a topic, or hub.ErrNotFound.
	last(ctx context.Context, topic string) (hub.Record, error)

	// newest is [hub.Log]'s Newest. ok is false if more topics are selected than it
	// looks at in one call. It is never behind upTo.
	newest(ctx context.Context, sel *selection, after, upTo uint64, limit int) (seqs []uint64, through uint64, ok bool, err error)

	// newestOf returns the sequence numbers of those of some records that are the
	// newest of their topic. Where it is behind, it may return more.
	newestOf(ctx context.Context, records []hub.Record) (map[uint64]bool, error)

	// topics returns the topics that a filter matches, and how many records each
	// has.
	topics(ctx context.Context, f hub.Filter) (map[string]uint64, error)
}

// errReopened ends what was reading when the store was closed underneath it, to
// be opened anew.
var errReopened = errors.New("jetlog: the log has been opened anew")
