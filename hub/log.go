package hub

import (
	"context"
	"iter"
	"time"
)

// A Log stores messages in one order, for all topics together. The hub stands on
// it: [NewMemoryLog] is one in memory, package jetlog has the durable one, and
// package logtest has the tests that every Log passes. All methods may be
// called concurrently.
//
// Each stored message has a sequence number: the first of a new log has 1, each
// next one the next number. Old messages go from the front as retention says;
// nothing else is ever removed on purpose. What is missing elsewhere has been
// lost, and Read says so.
type Log interface {
	// Append stores the messages, in order, and returns when they are stored:
	// what the log promises of a stored message is promised from then on.
	//
	// There is a result for each message: those before one that could not be
	// stored stand. A message whose Key was used on its topic within the log's
	// window is not stored again: its result is that of the first, with Repeat,
	// if that had the same type and data, and [ErrKeyConflict] otherwise. Of
	// [ErrKeyConflict] and [ErrTooLarge] the messages that follow are stored all
	// the same; of any other error they are not, and have that error too.
	//
	// When ctx is done while messages are under way, those without a result yet
	// have its error and may or may not be stored.
	Append(ctx context.Context, messages []Message) []Appended

	// State returns what is retained.
	State(ctx context.Context) (State, error)

	// Epochs returns the epochs that positions are named after, oldest first,
	// at least one. It is the same slice, never changed in place, until the log is
	// opened anew, or has lost its end; then it is another one, from before Tail
	// or Read return anything of the new log.
	Epochs() []Epoch

	// Read returns the next retained records that q asks for. When there are
	// none it returns at once.
	Read(ctx context.Context, q Query) (Batch, error)

	// Tail returns the sequence of all records after the given sequence
	// number, some at a time, and waits for more. Where one is missing, a
	// number is skipped. It ends with an error, and without one only when ctx
	// is done or the log is closed.
	Tail(ctx context.Context, after uint64) iter.Seq2[[]Record, error]

	// Get returns one record, or ErrNotFound.
	Get(ctx context.Context, seq uint64) (Record, error)

	// Newest returns the sequence numbers of retained records that are the newest
	// of their topic at the time of the call, and whose topic one of the filters
	// matches: of the records after the given sequence number, up to and including
	// through, in ascending order, and at most limit. limit is at least 1, and
	// upTo is bounded as Query.UpTo is.
	//
	// A call does a bounded amount of work. through is how far it has looked: more
	// than after, and at most upTo, unless upTo is not more than after. Then
	// through is after, and there are none. A caller that passes through as after
	// until it is upTo gets them all in pieces, some of which may be empty. When
	// ctx is done Newest returns its error.
	Newest(ctx context.Context, filters []Filter, after, upTo uint64, limit int) (seqs []uint64, through uint64, err error)

	// Back returns the sequence number after which the newest n of the
	// retained records up to upTo lie that the filters match, or 0 if there are
	// fewer. n is at least 1. When ctx is done while Back searches, it returns the
	// error of ctx.
	Back(ctx context.Context, filters []Filter, n int, upTo uint64) (after uint64, err error)

	// At returns the sequence number of the first retained record that was
	// stored at t or later, or one more than the last if there is none.
	At(ctx context.Context, t time.Time) (seq uint64, err error)

	// Count returns how many of the retained records after the given sequence
	// number, up to and including through, the filters match.
	Count(ctx context.Context, filters []Filter, after uint64) (n, through uint64, err error)

	// Topics returns up to limit topics that the filter matches and that have a
	// retained record, ordered by name, beginning after the given one.
	Topics(ctx context.Context, filter Filter, after string, limit int) ([]TopicInfo, error)

	// Close ends the log, and every Tail. It returns when all that was stored
	// is as durable as a clean end makes it. After it methods return ErrClosed.
	// Closing again does nothing.
	Close() error
}

// A Message is what is published.
type Message struct {
	// Topic is where it is published, see [CheckTopic].
	Topic string

	// Type is the event type, which subscribers see. Empty stands for the
	// standard's default, "message". At most [MaxTypeBytes], UTF-8, with no line
	// end and no NUL; it may not begin with [ReservedPrefix].
	Type string

	// Data is the payload, any text in UTF-8, empty included.
	Data string

	// Key, if not empty, makes publishing idempotent: a message that is
	// published again on the same topic with the same key within the log's
	// window is stored and delivered once. At most [MaxKeyBytes].
	Key string
}

// The bounds of a message's type and key.
const (
	MaxTypeBytes = 200
	MaxKeyBytes  = 255
)

// A Record is a message that is stored.
type Record struct {
	Seq   uint64
	Time  time.Time // when it was stored, UTC
	Topic string
	Type  string
	Data  string
}

// Appended is the result of one message given to [Log.Append].
type Appended struct {
	Seq    uint64
	Repeat bool  // it was stored before, under the same key
	Err    error // it was not stored, or that is not known
}

// State is what a log retains: the records First to Last, of which some may be
// lost. In a log that is empty First is Last + 1.
type State struct {
	First, Last uint64
}

// A Query is what [Log.Read] is asked for: the records that one of the filters
// matches, after a sequence number and up to another, in order.
type Query struct {
	Filters []Filter // at least one
	After   uint64
	UpTo    uint64 // inclusive, at most the last that Tail has yielded or State has told

	// The most that is returned at a time: so many records, and no more once
	// their data has so many bytes. Both are at least 1.
	MaxRecords, MaxBytes int
}

// A Batch is what [Log.Read] returns.
type Batch struct {
	// Lost, if not 0, says that the log lacks records from Query.After + 1 up to
	// and including this number, or some of them, some of which the filters may
	// have matched. Expired is set if they went by retention; otherwise they
	// were lost.
	Lost    uint64
	Expired bool

	Records []Record // all after Lost

	// Through is how far the batch reaches: what matches after Query.After, up
	// to and including this number, is in Records or covered by Lost. It is more
	// than Query.After, and at most Query.UpTo, unless Query.UpTo is not more
	// than Query.After: then both are the same and the batch is empty.
	Through uint64
}

// TopicInfo is what [Log.Topics] tells of a topic.
type TopicInfo struct {
	Topic string
	Count uint64    // retained records
	Last  uint64    // the newest's sequence number
	Time  time.Time // and its time
}
