package segmentlog

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// A message waits for the group that is being written, and not for the large batches that have come before it. These
// go on together.
func TestMessageGoesBeforeLargeBatches(t *testing.T) {
	files := new(faulty)
	l := opened(t, Options{Dir: t.TempDir(), files: files, Logger: quiet()})
	defer closeLog(t, l)
	release := make(chan struct{})
	var once sync.Once
	syncing := make(chan struct{})
	files.set(func(call, name string) error {
		if call == "sync" && strings.HasSuffix(name, segmentSuffix) {
			once.Do(func() { close(syncing) })
			<-release
		}
		return nil
	})
	var all sync.WaitGroup
	var mu sync.Mutex
	first := map[string]uint64{} // number of each topic
	send := func(topic string, n, size int) {
		messages := make([]eventlog.Message, n)
		for i := range messages {
			messages[i] = eventlog.Message{Topic: topic, Data: strings.Repeat("x", size)}
		}
		all.Go(func() {
			results := l.Append(t.Context(), messages)
			mu.Lock()
			defer mu.Unlock()
			first[topic] = results[0].ID.Seq
		})
	}
	queued := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); l.writer.queued() != n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d requests are queued, want %d", l.writer.queued(), n)
			}
		}
	}
	send("before", 1, 1)
	<-syncing
	const batches, n = 8, 200
	for i := range batches {
		send(fmt.Sprint("batch.", i), n, 10<<10)
		queued(i + 1)
	}
	send("after", 1, 1)
	queued(batches + 1)
	close(release)
	all.Wait()
	if got := first["after"]; got != 2 {
		t.Errorf("the message has the number %d, want 2", got)
	}
	for i := range batches {
		if got := first[fmt.Sprint("batch.", i)]; got > n {
			t.Errorf("batch %d begins at %d, after a whole batch", i, got)
		}
	}
}
