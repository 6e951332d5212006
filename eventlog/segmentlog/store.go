package segmentlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"example.com/tidings/internal/yield"
)

// A store is the part of the index that is on the disk: a Pebble store, without a log of
// its own. After a crash it holds what it held a while ago. Nothing in it is needed: when it
// fails, it is dropped.
//
// The keys of the store begin with a letter. Numbers are big-endian, so that they sort.
//
//	m                  how far the store has come, see storeMeta
//	i bucket(8) topic  the places of the topic's records in the bucket
//	b bucket(8)        the bucket's topicFilter
//	r bucket(8)        the places of the bucket's removed records
//	n                  how many topics there are
//	t topic            the topic's last number, its time, and how many records there are
//	k chunk(4) hash    the record that a key belongs to, see keys
//	f chunk(4)         what is known of a chunk of keys
type store struct {
	files     vfs.FS
	dir       string
	memory    int64
	openFiles int
	log       *slog.Logger
	lane      *yield.Lane // of those who write tables, or nil

	using  sync.RWMutex // held to read while db is used
	db     *pebble.DB
	closed bool

	failure atomic.Pointer[error]
	gone    chan struct{} // closed when there is a failure
	broken  func()        // called then
}

// indexDisk is the machine's file system. It makes a folder only where the one above it is: a
// data folder that was taken away must stay away.
type indexDisk struct{ vfs.FS }

func (indexDisk) MkdirAll(dir string, perm os.FileMode) error {
	err := os.Mkdir(dir, perm)
	if errors.Is(err, fs.ErrExist) {
		return nil // as a file that is in the way it fails later
	}
	return err
}

// A pacer has the goroutine that makes a table let others run. Pebble calls it for each key, as a
// collector of properties; the table gets no property.
type pacer struct{ work yield.Work }

func (s *store) newPacer() pebble.BlockPropertyCollector { return &pacer{yield.In(s.lane)} }

// keyNanos is about what it costs to add a key to a table.
const keyNanos = 1500

func (*pacer) Name() string { return "tidings.pace" }
func (p *pacer) AddPointKey(pebble.InternalKey, []byte) error {
	p.work.Did(keyNanos)
	return nil
}
func (*pacer) AddRangeKeys(sstable.Span) error                        { return nil }
func (*pacer) AddCollectedWithSuffixReplacement(_, _, _ []byte) error { return nil }
func (*pacer) SupportsSuffixReplacement() bool                        { return true }
func (p *pacer) FinishDataBlock(buf []byte) ([]byte, error)           { return buf, nil }
func (*pacer) AddPrevDataBlockToIndexBlock()                          {}
func (*pacer) FinishIndexBlock(buf []byte) ([]byte, error)            { return buf, nil }
func (p *pacer) FinishTable(buf []byte) ([]byte, error) {
	p.work.Pause()
	return buf, nil
}

// errStore means that there is no store to ask.
var errStore = errors.New("segmentlog: the index cannot be read")

const storePrefix = "index"

// The sizes of Pebble's memtables, of which there are up to four: a fifth of the index's memory.
const (
	leastMemTable = 1 << 20
	mostMemTable  = 8 << 20
)

// openStore opens the newest store in a folder, or makes one. It removes all others.
func openStore(o *Options, lane *yield.Lane, broken func()) (*store, error) {
	anew := func() *store {
		return &store{
			files: o.indexFiles, dir: filepath.Join(o.Dir, storePrefix), memory: o.IndexMemory, openFiles: o.IndexFiles,
			log: o.Logger, lane: lane, broken: broken, gone: make(chan struct{}),
		}
	}
	s := anew()
	err := s.open()
	if err != nil {
		o.Logger.Warn("the index of the log cannot be opened; it is made again", "error", err)
		s = anew()
		if err = o.indexFiles.RemoveAll(s.dir); err == nil {
			err = s.open()
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// open opens the store. On a disk that fails or is full Pebble may hang, or end the goroutine:
// then open gives up a while after the store has failed.
func (s *store) open() error {
	opened := make(chan error, 1)
	go func() { opened <- s.openDB() }()
	select {
	case err := <-opened:
		return err
	case <-s.gone:
	}
	select {
	case err := <-opened:
		return err
	case <-time.After(closeWait):
		return *s.failure.Load()
	}
}

func (s *store) openDB() (err error) {
	defer func() {
		// Pebble panics about some kinds of damage.
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	cache := pebble.NewCache(s.memory) // memtables count, too
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                          s.files,
		Cache:                       cache,
		DisableWAL:                  true,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                uint64(min(mostMemTable, max(leastMemTable, s.memory/5))),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       8, // topics change all over: fewer compactions write them less often
		LBaseMaxBytes:               512 << 20,
		L0StopWritesThreshold:       1000, // a stalled store could not be closed
		MaxOpenFiles:                s.openFiles,
		BlockPropertyCollectors:     []func() pebble.BlockPropertyCollector{s.newPacer},
		Logger:                      storeLogger{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.failed(err) },
			DataCorruption:  func(info pebble.DataCorruptionInfo) { s.failed(info.Details) },
		},
	}
	// A table ends where a kind of keys does. So the tables of buckets, which only grow at
	// their end, are moved down without being written again.
	opts.Experimental.SpanPolicyFunc = func(start []byte) (pebble.SpanPolicy, []byte, error) {
		return pebble.SpanPolicy{}, []byte{start[0] + 1}, nil
	}
	opts.Levels[0] = pebble.LevelOptions{BlockSize: 16 << 10, FilterPolicy: bloom.FilterPolicy(10), FilterType: pebble.TableFilter}
	if err := s.files.MkdirAll(s.dir, 0o700); err != nil { // Pebble would let others read it
		return err
	}
	s.db, err = pebble.Open(s.dir, opts)
	return err
}

// failed notes that the store cannot be used any more.
func (s *store) failed(err error) {
	if s.failure.CompareAndSwap(nil, &err) {
		s.log.Warn("the index of the log is damaged; it is made again", "error", err)
		close(s.gone)
		go s.broken()
	}
}

// use calls f with the database. An error of f, but pebble.ErrNotFound, makes the store
// fail.
func (s *store) use(f func(db *pebble.DB) error) (err error) {
	if s == nil {
		return errStore
	}
	s.using.RLock()
	defer s.using.RUnlock()
	if s.closed || s.failure.Load() != nil {
		return errStore
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		if err != nil && !errors.Is(err, pebble.ErrNotFound) {
			s.failed(err)
			err = errStore
		}
	}()
	return f(s.db)
}

// get returns a copy of a value, or nil if there is none.
func get(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return append(make([]byte, 0, len(v)), v...), nil
}

// each calls f for the keys from one on and before another, in order. Key and value are valid
// during the call.
func each(r pebble.Reader, from, before []byte, f func(key, value []byte) error) error {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: before})
	if err != nil {
		return err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err == nil {
			err = f(it.Key(), value)
		}
		if err != nil {
			return err
		}
	}
	return it.Error()
}

// flush returns when what the store holds is on the disk. Pebble tries for ever: flush ends
// once that has failed.
func (s *store) flush(db *pebble.DB) error {
	flushed, err := db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-flushed:
		return nil
	case <-s.gone:
		return errStore
	}
}

// closeWait is how long open and close wait for a store that has failed: it may hang.
const closeWait = time.Second

// close ends the use of the store. If flush is true, what it holds is on the disk then, unless
// it has failed. One that hangs leaves a goroutine and a few files.
func (s *store) close(flush bool) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.end(flush)
	}()
	select {
	case <-closed:
		return
	case <-s.gone:
	}
	select {
	case <-closed:
	case <-time.After(closeWait):
	}
}

func (s *store) end(flush bool) {
	s.using.Lock()
	defer s.using.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	var err error
	func() {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%v", p)
			}
		}()
		if flush && s.failure.Load() == nil {
			err = s.flush(s.db)
		}
		err = errors.Join(err, s.db.Close())
	}()
	if err != nil && s.failure.Load() == nil {
		s.log.Warn("the index of the log cannot be completed; the next start makes it again", "error", err)
	}
}

// A storeLogger logs what the store says that people should know.
type storeLogger struct{ s *store }

func (l storeLogger) Infof(string, ...any) {}

func (l storeLogger) Errorf(format string, args ...any) {
	l.s.log.Debug("the index of the log: " + fmt.Sprintf(format, args...))
}

// Fatalf ends the goroutine in which the store cannot go on. The store is not used again.
func (l storeLogger) Fatalf(format string, args ...any) {
	l.s.failed(fmt.Errorf(format, args...))
	runtime.Goexit()
}

// A storeMeta says how far a store has come. It is written with what it speaks of.
type storeMeta struct {
	id      string // of the log
	gone    uint64 // buckets before this one are removed
	applied uint64 // buckets before this one are in the store
	keys    uint64 // the keys of records up to this one are in the store
	chunk   uint32 // the newest chunk of keys
	first   uint64 // records from here on have not expired; those before may be missing
}

const storeVersion = 3

func (m storeMeta) encode() []byte {
	b := []byte{storeVersion}
	for _, v := range []uint64{m.gone, m.applied, m.keys, uint64(m.chunk), m.first} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return append(b, m.id...)
}

func decodeMeta(b []byte) (m storeMeta, ok bool) {
	if len(b) < 41 || b[0] != storeVersion {
		return storeMeta{}, false
	}
	be := binary.BigEndian
	return storeMeta{
		gone: be.Uint64(b[1:]), applied: be.Uint64(b[9:]), keys: be.Uint64(b[17:]), chunk: uint32(be.Uint64(b[25:])),
		first: be.Uint64(b[33:]), id: string(b[41:]),
	}, true
}

var metaKey = []byte("m")

// bucketKey returns the key of a bucket, or of a topic in it.
func bucketKey(kind byte, n uint64, topic string) []byte {
	b := make([]byte, 0, 9+len(topic))
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, n)
	return append(b, topic...)
}

// A topicValue is what the store knows of a topic.
type topicValue struct {
	last  uint64
	nanos int64
	count uint64
}

func (v topicValue) append(b []byte) []byte {
	b = binary.AppendUvarint(b, v.last)
	b = binary.AppendVarint(b, v.nanos)
	return binary.AppendUvarint(b, v.count)
}

func decodeTopic(b []byte) (v topicValue) {
	var n int
	v.last, n = binary.Uvarint(b)
	b = b[max(n, 0):]
	v.nanos, n = binary.Varint(b)
	v.count, _ = binary.Uvarint(b[max(n, 0):])
	return v
}

// appendPlaces appends ascending places as their differences.
func appendPlaces(b []byte, places []uint16) []byte {
	var last uint16
	for _, p := range places {
		b = binary.AppendUvarint(b, uint64(p-last))
		last = p
	}
	return b
}

// decodePlaces is the inverse of appendPlaces.
func decodePlaces(b []byte) []uint16 {
	places := make([]uint16, 0, len(b))
	var last uint16
	for len(b) > 0 {
		d, n := binary.Uvarint(b)
		if n <= 0 {
			break
		}
		last += uint16(d)
		places, b = append(places, last), b[n:]
	}
	return places
}

// prefixEnd returns the first key after all keys with a prefix.
func prefixEnd(prefix []byte) []byte {
	end := []byte(strings.Clone(string(prefix)))
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
