package eventlog

import (
	"context"
	"iter"
	"time"

	"example.com/tidings/topics"
)

// A Log stores messages in one order, for all topics together. All methods may be called
// concurrently.
//
// Each stored message has a sequence number. The first message of a new log has 1, and
// each further one has the next number. Retention removes the oldest messages. Remove
// and RemoveTopic erase the content of others. A message that is missing elsewhere was
// lost. Read says where messages are missing, and why.
type Log interface {
	// Append stores messages in order, and returns when they are stored. From then
	// on the log keeps what it promises of a stored message.
	//
	// It returns a result for each message. Those before a message that could not be
	// stored stand. A message whose Key was used on its topic within the log's
	// deduplication window, for a message that is still retained, is not stored again. If
	// the first message with that key had the same type and data, the result is that of
	// the first, with Repeat. Otherwise it is [ErrKeyConflict].
	//
	// After [ErrKeyConflict], [ErrTooLarge], [ErrTooManyTopics] and [ErrTooManyKeys] Append
	// goes on with the next message. After
	// any other error, such as [ErrFull], it stores nothing more, and the rest has that
	// error too. With [ErrReopened] a message may or may not have been stored. See [Failer]
	// for a log that fails.
	//
	// If ctx is done before all results are known, the others have the error of ctx.
	// Their messages may or may not be stored.
	Append(ctx context.Context, messages []Message) []Appended

	// State returns what the log retains, and how its positions are named.
	State(ctx context.Context) (State, error)

	// Read returns the next retained records that q asks for. If there are none it
	// returns at once. It fails with [ErrReopened] if q has another generation.
	Read(ctx context.Context, q Query) (Batch, error)

	// Tail returns the sequence of all records after a sequence number, some at a time,
	// and waits for more. A missing record is skipped. The sequence ends with
	// [ErrReopened] as soon as the given generation is not the log's current one (0 never
	// is), and yields no record of another generation. It may end with another error. It ends
	// without an error only when ctx is done or the log is closed. Ranged again after a
	// break, it goes on after the records that it has yielded. One goroutine ranges it at a
	// time.
	Tail(ctx context.Context, generation, after uint64) iter.Seq2[[]Record, error]

	// Newest returns the sequence numbers of retained records that are the newest of
	// their topic at the time of the call, where one of the filters matches the topic. It
	// looks at the records after the given number, up to and including through. The
	// numbers ascend. There are at most limit, which is at least 1. upTo has the same
	// bound as Query.UpTo.
	//
	// A call does a bounded amount of work. through says how far it has looked: further
	// than after, and at most up to upTo. If upTo is not more than after, through is after
	// and there are no numbers. A caller that passes through as the next after, until it is
	// upTo, gets all of them in pieces. Some pieces may be empty. When ctx is done Newest
	// returns its error.
	Newest(ctx context.Context, filters []topics.Filter, after, upTo uint64, limit int) (seqs []uint64, through uint64, err error)

	// Back returns the sequence number after which the newest n retained records up to
	// upTo lie that the filters match, or 0 if there are fewer. n is at least 1. When ctx
	// is done during the search, Back returns its error.
	Back(ctx context.Context, filters []topics.Filter, n int, upTo uint64) (after uint64, err error)

	// At returns the sequence number of the first retained record that was stored at t or
	// later, or one more than the last number if there is none.
	At(ctx context.Context, t time.Time) (seq uint64, err error)

	// Count returns how many retained records after a sequence number the filters match. It
	// also returns through, the number of the last record that it has looked at.
	Count(ctx context.Context, filters []topics.Filter, after uint64) (n, through uint64, err error)

	// Topics returns up to limit topics that the filter matches and that have a retained
	// record. They are ordered by name, and begin after the given name.
	Topics(ctx context.Context, filter topics.Filter, after string, limit int) ([]TopicInfo, error)

	// Remove erases the records with the given sequence numbers: their data, type and key
	// are gone from wherever the log keeps them when it returns. It returns how many records
	// it has erased. Numbers without a retained record count for nothing. A reader that
	// passes an erased record gets a hole, unless the log knows that no filter of the query
	// matches the record's topic. The record's key may be used again. Tail skips it. If
	// Remove returns an error, it may have erased some of the records, and calling it again
	// is safe.
	Remove(ctx context.Context, seqs []uint64) (int, error)

	// RemoveTopic erases, as Remove does, the records of a topic up to and including a
	// sequence number.
	RemoveTopic(ctx context.Context, topic string, upTo uint64) (int, error)

	// Close ends the log, and every Tail. It returns when everything stored is as
	// durable as a clean end makes it. After that, methods return [ErrClosed]. Closing
	// again does nothing.
	Close() error
}

// A Failer is a [Log] that may fail for good while it is open: its disk has an error, or its
// folder is gone. Then it stores and removes nothing more until it is opened again. An Append
// that meets the failure returns an error from which nobody can tell whether its messages are
// stored. Each later one returns [ErrFailed]. Messages that were stored can still be read.
type Failer interface {
	// Failed returns a channel that is closed when the log has failed. Close does not
	// close it.
	Failed() <-chan struct{}

	// Err returns nil until Failed is closed, and then the reason: one sentence for the
	// person who runs the program. errors.Is finds [ErrFailed] in it.
	Err() error
}

// A Monitor is a [Log] that depends on servers elsewhere, and watches them.
type Monitor interface {
	// Trouble returns nil while all is well, and otherwise what the person who runs the program
	// has to repair, in one sentence. Meanwhile the log does what it still can.
	Trouble() error
}

// A HoleFinder is a [Log] whose records may go while it is open, because other programs have
// access to them. It finds out some time later.
type HoleFinder interface {
	// Holes returns where the log is known to lack records, after a sequence number and up to
	// another, in order. It has only holes for the reasons [sse.GapRemoved] and [sse.GapLost].
	// version changes when there are more. If it is that of the call, the holes are left out.
	Holes(after, upTo, version uint64) (holes []Hole, current uint64)
}

// A Hole is a range of sequence numbers that have no record, and the reason why.
type Hole struct {
	First, Last uint64
	Reason      string
}

// A Message is what a publisher hands to the hub.
type Message struct {
	// Topic is where the message is published, see [topics.Check].
	Topic string

	// Type is the event type, which subscribers see. Empty stands for the standard's
	// default, "message". At most [MaxTypeBytes], UTF-8, without line ends and NUL. It
	// may not begin with [topics.ReservedPrefix].
	Type string

	// Data is the payload: any text in UTF-8, also the empty one.
	Data string

	// Key, if not empty, makes publishing idempotent: a message that is published again
	// on the same topic with the same key, within the log's deduplication window, is
	// stored and delivered once. At most [MaxKeyBytes].
	Key string
}

// The bounds of a message's type and key.
const (
	MaxTypeBytes = 200
	MaxKeyBytes  = 255
)

// A Record is a stored message.
type Record struct {
	Seq   uint64
	Time  time.Time // when it was stored, UTC
	Topic string
	Type  string
	Data  string

	// Mark tells the record from any other that has had its number: up to [MaxMark], and 0 in
	// a log that never uses a number again under the same epoch.
	Mark uint32

	// Invalid is set for what another program has stored and cannot be sent as an event, such
	// as a record with a reserved name. Type and Data are empty. Subscribers get a gap instead.
	Invalid bool
}

// Appended is the result of one message given to [Log.Append].
type Appended struct {
	ID     Position // of the stored message
	Repeat bool     // the message was stored before, under the same key
	Err    error    // it was not stored, or that is not known
}

// State says which records a log retains: First to Last, except those that are lost. In
// an empty log First is Last + 1.
type State struct {
	First, Last uint64

	// Epochs are those that positions are named after, oldest first, at least one. The
	// slice is never changed in place.
	Epochs Timeline

	// Generation changes when the log is opened anew, or has lost its end: sequence
	// numbers may then be used again, and Epochs may differ. It is at least 1, and counts
	// for this Log value alone.
	Generation uint64

	// Settle is how long a log that several processes share may not know of records which
	// another process has stored or read: so long it is worth waiting for a greater Last. 0 means
	// that Last is exact.
	Settle time.Duration

	// KeyWindow is how long the log remembers the key of a message, if it retains the
	// message for so long. 0 means that this is not known.
	KeyWindow time.Duration
}

// A Query is what [Log.Read] is asked for: the records that one of the filters matches,
// after a sequence number and up to another, in order.
type Query struct {
	Filters []topics.Filter // at least one
	After   uint64
	UpTo    uint64 // inclusive, at most the last that Tail has yielded or State has returned

	// Generation is that of the log by which the numbers count. 0 stands for the current
	// one.
	Generation uint64

	// MaxRecords bounds the number of records. MaxBytes ends the batch once the data of
	// its records has so many bytes. Both are at least 1.
	MaxRecords, MaxBytes int
}

// A Batch is what [Log.Read] returns.
type Batch struct {
	// Hole, if not 0, says that the log lacks some or all records from Query.After + 1
	// up to and including this number. The filters may have matched some of them.
	Hole uint64

	// Reason says why the records of the hole are missing: [sse.GapExpired] if retention
	// has removed them, [sse.GapRemoved] if Remove has, [sse.GapLost] if they were lost. It
	// is empty without a hole.
	Reason string

	Records []Record // all after Hole

	// Through says how far the batch reaches: every matching record after Query.After, up
	// to and including this number, is in Records or covered by Hole. It is more than
	// Query.After and at most Query.UpTo. If Query.UpTo is not more than Query.After, it
	// is Query.After and the batch is empty.
	Through uint64
}

// TopicInfo describes a topic.
type TopicInfo struct {
	Topic string    `json:"topic"`
	Last  Position  `json:"last"`  // of the newest record
	Count uint64    `json:"count"` // of retained records
	Time  time.Time `json:"time"`  // of the newest record
}

// How many topics and keys a log has at most, unless its options say otherwise. A topic costs
// some 160 bytes, and a key some 140.
const (
	DefaultMaxTopics = 2_000_000
	DefaultMaxKeys   = 10_000_000
)
