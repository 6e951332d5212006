package segmentlog

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/yield"
)

// onSync has a log call f in the writer's goroutine each time that a segment is synced, with the number of the call from 0 on.
func onSync(t *testing.T, f func(l *Log, n int)) *Log {
	t.Helper()
	files := new(faulty)
	l := opened(t, Options{Dir: t.TempDir(), files: files, Logger: quiet()})
	t.Cleanup(func() { closeLog(t, l) })
	n := 0
	files.set(func(call, name string) error {
		if call == "sync" && strings.HasSuffix(name, segmentSuffix) {
			n++
			f(l, n-1)
		}
		return nil
	})
	return l
}

// send appends n messages of a size. Its result is closed when they are acknowledged.
func send(t *testing.T, l *Log, n, size int) <-chan struct{} {
	messages := make([]eventlog.Message, n)
	for i := range messages {
		messages[i] = eventlog.Message{Topic: "t", Data: strings.Repeat("x", size)}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, r := range l.Append(t.Context(), messages) {
			if r.Err != nil {
				t.Error(r.Err)
			}
		}
	}()
	return done
}

// acknowledged fails the test if it takes too long.
func acknowledged(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s is not acknowledged", what)
	}
}

// While the store is behind, large requests wait, and small ones do not.
func TestSmallRequestsGoOnWhileTheStoreIsBehind(t *testing.T) {
	first, queued := make(chan struct{}), make(chan struct{})
	l := onSync(t, func(l *Log, n int) {
		switch n {
		case 0:
			close(first)
			<-queued
			l.writer.paused = time.Now().Add(time.Hour)
		case 1:
			if got := len(l.writer.group.records); got != 2 {
				t.Errorf("the group has %d records, want the two small ones", got)
			}
		case 3:
			l.writer.paused = time.Time{}
		}
	})
	before := send(t, l, 1, 1)
	<-first
	large := send(t, l, 100, 10<<10)
	small := []<-chan struct{}{send(t, l, 1, 1), send(t, l, 1, 1)}
	for deadline := time.Now().Add(30 * time.Second); l.writer.queued() < 3 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	close(queued)
	acknowledged(t, "the first message", before)
	for _, s := range small {
		acknowledged(t, "a small message", s)
	}
	acknowledged(t, "a message that comes while only a large request waits", send(t, l, 1, 1))
	select {
	case <-large:
		t.Error("the large request is acknowledged while it has to wait")
	default:
	}
	acknowledged(t, "the last message", send(t, l, 1, 1))
	acknowledged(t, "the large request", large)
}

// A large request waits for a reader that follows the log, for a while, and small ones do not.
func TestLargeRequestsWaitForReaders(t *testing.T) {
	var mu sync.Mutex
	var groups []int
	l := onSync(t, func(l *Log, _ int) {
		mu.Lock()
		defer mu.Unlock()
		groups = append(groups, len(l.writer.group.records))
		l.writer.patience = time.Hour
	})
	st, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	received, goOn := make(chan int), make(chan struct{})
	go func() {
		defer close(received)
		for records, err := range l.Tail(t.Context(), st.Generation, st.Last) {
			if err != nil {
				return
			}
			received <- len(records)
			<-goOn
		}
	}()
	acknowledged(t, "the first message", send(t, l, 1, 1))
	<-received // the reader is busy with it
	large := send(t, l, 3*mostLag, 100)
	for deadline := time.Now().Add(30 * time.Second); l.lag() <= mostLag && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	acknowledged(t, "a small message", send(t, l, 1, 1))
	select {
	case <-large:
		t.Error("the large request is acknowledged while the reader is behind")
	default:
	}
	close(goOn)
	go func() {
		for range received {
		}
	}()
	acknowledged(t, "the large request", large)
	mu.Lock()
	defer mu.Unlock()
	if len(groups) < 5 || groups[2] != 1 {
		t.Errorf("the groups have %v records, want the small request alone in the third", groups)
	}
}

// A reader that does nothing holds large requests up for a while only, whatever small ones come.
func TestReadersDoNotStopTheWriter(t *testing.T) {
	l := onSync(t, func(*Log, int) {})
	acknowledged(t, "the first message", send(t, l, 1, 1))
	st, err := l.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan struct{})
	go func() {
		for range l.Tail(t.Context(), st.Generation, st.Last) {
			close(received)
			<-t.Context().Done()
		}
	}()
	acknowledged(t, "the second message", send(t, l, 1, 1))
	<-received
	large, stop := send(t, l, 5*mostLag, 100), make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				<-send(t, l, 1, 1)
			}
		}
	})
	acknowledged(t, "a large request", large)
	close(stop)
	others.Wait()
	if n := l.lag(); n < mostLag {
		t.Errorf("the reader is %d records behind: it has gone on", n)
	}
}

// A reader that begins far behind holds nothing up: it has not followed the log yet.
func TestReadersThatCatchUpHoldNothingUp(t *testing.T) {
	l := onSync(t, func(*Log, int) {})
	acknowledged(t, "the first message", send(t, l, 1, 1))
	acknowledged(t, "more than is in memory", send(t, l, 2*mostLag, 2*recentBytes/mostLag))
	received := make(chan struct{})
	go func() {
		for range l.Tail(t.Context(), generation, 0) {
			close(received)
			<-t.Context().Done()
		}
	}()
	<-received
	if n := l.lag(); n != 0 {
		t.Errorf("large requests wait for a reader that is %d records behind from the start", n)
	}
}

// A publisher does not wait for the lock of a bucket, which the writer has while it adds thousands of records.
func TestAdmitWaitsForNoBucket(t *testing.T) {
	l := opened(t, Options{Logger: quiet()})
	defer closeLog(t, l)
	publish(t, l, eventlog.Message{Topic: "a"}, eventlog.Message{Topic: "b"})
	l.index.open.mu.Lock()
	defer l.index.open.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.index.admit(&request{messages: []eventlog.Message{{Topic: "c"}}})
		if n := l.index.topicBound([]*bucket{l.index.open}); n != 2 {
			t.Errorf("there may be %d topics, want 2", n)
		}
	}()
	acknowledged(t, "a request", done)
}

// Keys that have come to the store are forgotten a few at a time, and none counts twice meanwhile.
func TestStoredKeysAreForgottenInPieces(t *testing.T) {
	l := opened(t, Options{Logger: quiet()})
	defer closeLog(t, l)
	const n = 1 << 17
	k := newKeys(l.index)
	stored := make([]keyed, n)
	for i := range stored {
		stored[i] = keyed{hash: hashKey("t", fmt.Sprint(i)), seq: uint64(i + 1)}
		k.recent[stored[i].hash] = stored[i]
	}
	k.chunks = []*chunk{{id: 1, n: n}}
	between := false
	var ended atomic.Bool
	var watching sync.WaitGroup
	watching.Go(func() {
		for !ended.Load() {
			k.mu.RLock()
			left := len(k.recent)
			k.mu.RUnlock()
			between = between || left > 0 && left < n
			if got := k.count(); got != n {
				t.Errorf("%d keys count, want %d", got, n)
				return
			}
		}
	})
	k.flushed(stored)
	ended.Store(true)
	watching.Wait()
	if got := k.count(); got != n || len(k.recent) != 0 {
		t.Errorf("in the end %d keys count, want %d, and %d are in memory", got, n, len(k.recent))
	}
	if !between {
		t.Error("they were forgotten at once")
	}
}

// The store writes tables in the lane of long work.
func TestTablesTakeTurns(t *testing.T) {
	lane := yield.NewLane(1)
	s := &store{lane: lane}
	p := s.newPacer()
	for range 1000 {
		if err := p.AddPointKey(pebble.InternalKey{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := lane.Used(); n != 1 {
		t.Errorf("a goroutine that writes a table has %d places, want 1", n)
	}
	if b, err := p.FinishTable(nil); len(b) != 0 || err != nil {
		t.Errorf("the table gets %q, %v", b, err)
	}
	if n := lane.Used(); n != 0 {
		t.Errorf("%d places are taken in the end", n)
	}

	l := opened(t, Options{Logger: quiet()})
	defer closeLog(t, l)
	publishMany(t, l, bucketSize+1, 1)
	var paced bool
	for deadline := time.Now().Add(30 * time.Second); !paced && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		l.index.mu.RLock()
		st := l.index.store
		l.index.mu.RUnlock()
		err := st.use(func(db *pebble.DB) error {
			if err := db.Flush(); err != nil {
				return err
			}
			levels, err := db.SSTables(pebble.WithProperties())
			for _, level := range levels {
				for _, table := range level {
					_, ok := table.Properties.UserProperties["tidings.pace"]
					paced = paced || ok
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !paced {
		t.Error("no table was written by a pacer")
	}
}
