package fanout_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"example.com/tidings/internal/fanout"
)

// Many silent streams get their keep-alives in time, and not all at the same one; a
// stream that gets frames gets none.
func TestKeepAlive(t *testing.T) {
	sameDescriptors(t)
	const (
		streams = 300
		every   = 640 * time.Millisecond
		rounds  = 4
		slack   = 300 * time.Millisecond // of a machine that is busy
	)
	r := newRig(t, fanout.Options{KeepAlive: every})
	beats := map[uint32][]time.Time{}
	r.do(t, func() {
		r.desk.keepAlive = func(slot uint32) { beats[slot] = append(beats[slot], time.Now()) }
	})
	opened := time.Now()
	for range streams {
		fd, client := socket(t)
		r.open(t, fd, "silent", 0, "open ")
		go io.Copy(io.Discard, client)
	}
	fd, busy := socket(t)
	busyStream := r.open(t, fd, "busy", 0, "open ")
	want(t, busy, "open ")
	allOpened := time.Now()
	last, longest := time.Now(), time.Duration(0)
	eventually(t, "all have had some", func() (done bool) {
		r.append("busy", "x ")
		want(t, busy, "x ")
		longest, last = max(longest, time.Since(last)), time.Now()
		time.Sleep(20 * time.Millisecond)
		r.do(t, func() {
			done = len(beats) >= streams
			for slot, times := range beats {
				done = done && (len(times) >= rounds || slot == busyStream.Slot)
			}
		})
		return done
	})
	r.do(t, func() {
		if n := len(beats[busyStream.Slot]); n > 0 && longest < every*3/4 {
			t.Errorf("the stream that gets frames got %d keep-alives", n)
		}
		delete(beats, busyStream.Slot)
		early, late := 0, 0
		byTime := map[time.Duration]int{}
		for _, times := range beats {
			byTime[times[1].Sub(opened)/(10*time.Millisecond)]++
			for i := 1; i < rounds; i++ {
				switch gap := times[i].Sub(times[i-1]); {
				case gap < every*7/8-slack/2:
					early++
				case gap > every+slack:
					late++
				}
			}
		}
		if early > 0 || late > streams/10 {
			t.Errorf("%d keep-alives came early and %d late", early, late)
		}
		for at, n := range byTime {
			if n > streams/2 && allOpened.Sub(opened) < every/4 {
				t.Errorf("%d of %d came at the same time, after %v", n, streams, at*10*time.Millisecond)
			}
		}
	})
}

// No keep-alives are sent when they are off, nor to who stalls, nor within a frame.
func TestKeepAliveThatIsNotDue(t *testing.T) {
	sameDescriptors(t)
	for _, every := range []time.Duration{-1, 50 * time.Millisecond} {
		r := newRig(t, fanout.Options{KeepAlive: every})
		fd, client := socket(t)
		r.open(t, fd, "a", 0, "open ")
		want(t, client, "open ")
		large := text("large", stalling)
		r.append("a", large)
		eventually(t, "it stalls", func() bool { return r.stats().Stalled == 1 })
		time.Sleep(200 * time.Millisecond)
		read := readUntil(t, client, large[len(large)-20:])
		before, after, whole := strings.Cut(read, large)
		if beats := before + after; !whole || strings.ReplaceAll(beats, "k;", "") != "" || every < 0 && beats != "" {
			t.Errorf("KeepAlive %v: within the frame or beside it comes %.40q", every, beats)
		}
		client.Close()
	}
}

// readUntil reads until there is a text.
func readUntil(t *testing.T, from io.Reader, end string) string {
	t.Helper()
	var all strings.Builder
	buf := make([]byte, 64<<10)
	for last := ""; !strings.Contains(last, end); last = all.String()[max(0, all.Len()-200):] {
		n, err := from.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
