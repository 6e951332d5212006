package segmentlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
)

// verified returns what Verify reports of a folder, a line for each fault.
func verified(t *testing.T, dir string) (sum Summary, lines []string) {
	t.Helper()
	sum, err := Verify(t.Context(), dir, func(f Fault) {
		lines = append(lines, fmt.Sprintf("%d-%d %s: %s", f.First, f.Last, f.File, f.Problem))
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum, lines
}

func TestVerify(t *testing.T) {
	size := int64(len(handSegment(text(1)))) // of every plain record
	spoiled := text(2).bytes(handSalt, handNanos(2))
	spoiled[38] ^= 1
	unfinished := handState{serial: 8, first: 1, acknowledged: 3, nanos: handNanos(3), boot: 1, flags: 2}
	for _, tt := range []struct {
		name string
		make func(f folder)
		sum  Summary
		want []string
	}{
		{
			name: "an empty log",
			make: func(f folder) { f.closed(1, 0) },
			sum:  Summary{First: 1, Last: 0},
		}, {
			name: "all is well",
			make: func(f folder) {
				f.segment(1, text(1), text(2))
				f.segment(3, handFrame{seq: 3, flags: 1, topic: "t", data: "\x00"}, handFrame{seq: 4, flags: 2, topic: "t"}, handFrame{seq: 5, flags: 0x80, topic: "t"}, make([]byte, 5000))
				f.closed(1, 5)
			},
			sum: Summary{Segments: 2, First: 1, Last: 5, Records: 5, Removed: 1, Bytes: 2*size + 34 + 33 + 33},
		}, {
			name: "some have expired",
			make: func(f folder) { f.segment(1, spoiled, text(2), text(3)); f.closed(2, 3) },
			sum:  Summary{Segments: 1, First: 2, Last: 3, Records: 2, Bytes: 2 * size},
		}, {
			name: "an unfinished end",
			make: func(f folder) { f.segment(1, text(1), text(2), text(3), spoiled); f.state(unfinished) },
			sum:  Summary{Segments: 1, First: 1, Last: 3, Records: 3, Bytes: 3 * size},
		}, {
			name: "records that were not acknowledged",
			make: func(f folder) { f.segment(1, text(1), text(2), text(3), text(4), text(6)); f.state(unfinished) },
			sum:  Summary{Segments: 1, First: 1, Last: 3, Records: 3, Bytes: 3 * size},
		}, {
			name: "a damaged record",
			make: func(f folder) { f.segment(1, text(1), spoiled, text(3)); f.closed(1, 3) },
			sum:  Summary{Segments: 1, First: 1, Last: 3, Records: 2, Missing: 1, Bytes: 2 * size},
			want: []string{"2-2 0000000000000001-89abcdef.seg: bytes 39 to 77 are damaged"},
		}, {
			name: "a record is not there",
			make: func(f folder) { f.segment(1, text(1), text(3)); f.closed(1, 3) },
			sum:  Summary{Segments: 1, First: 1, Last: 3, Records: 2, Missing: 1, Bytes: 2 * size},
			want: []string{"2-2 0000000000000001-89abcdef.seg: they are not there, at byte 39"},
		}, {
			name: "the end is damaged",
			make: func(f folder) { f.segment(1, text(1), spoiled); f.closed(1, 3) },
			sum:  Summary{Segments: 1, First: 1, Last: 3, Records: 1, Missing: 2, Bytes: size},
			want: []string{"2-3 0000000000000001-89abcdef.seg: nothing intact from byte 39 on"},
		}, {
			name: "segments are missing",
			make: func(f folder) { f.segment(3, text(3)); f.segment(6, text(6)); f.closed(1, 8) },
			sum:  Summary{Segments: 2, First: 1, Last: 8, Records: 2, Missing: 6, Bytes: 2 * size},
			want: []string{
				"1-2 : no file has them",
				"4-5 0000000000000003-89abcdef.seg: the file ends at byte 39",
				"7-8 0000000000000006-89abcdef.seg: the file ends at byte 39",
			},
		}, {
			name: "all segments are missing",
			make: func(f folder) { f.closed(1, 8) },
			sum:  Summary{First: 1, Last: 8, Missing: 8},
			want: []string{"1-8 : no file has them"},
		}, {
			name: "two segments with one number",
			make: func(f folder) {
				f.write("0000000000000001-00000001.seg")
				f.segment(1, text(1))
				f.write("0000000000000001-ffffffff.seg", make([]byte, 100))
				f.segment(2, text(2))
				f.closed(1, 2)
			},
			sum: Summary{Segments: 2, First: 1, Last: 2, Records: 2, Bytes: 2 * size},
		}, {
			name: "no state",
			make: func(f folder) { f.segment(2, text(2), text(4)) },
			sum:  Summary{Segments: 1, First: 2, Last: 4, Records: 2, Missing: 1, Bytes: 2 * size},
			want: []string{
				"0-0 state: the file is missing: the newest records may be, too",
				"3-3 0000000000000002-89abcdef.seg: they are not there, at byte 39",
			},
		}, {
			name: "a damaged state",
			make: func(f folder) { f.segment(1, text(1)); f.write("state", make([]byte, 1024)) },
			sum:  Summary{Segments: 1, First: 1, Last: 1, Records: 1, Bytes: size},
			want: []string{"0-0 state: the file is damaged: the newest records may be missing"},
		}, {
			name: "one slot of the state",
			make: func(f folder) {
				f.segment(1, text(1))
				f.write("state", slices.Concat(handState{serial: 8, first: 1, acknowledged: 1}.bytes(), make([]byte, 440), []byte("x"), make([]byte, 511)))
			},
			sum:  Summary{Segments: 1, First: 1, Last: 1, Records: 1, Bytes: size},
			want: []string{"0-0 state: one of its two slots is damaged: the newest records may be missing"},
		}, {
			name: "other files are damaged",
			make: func(f folder) {
				f.segment(1, text(1))
				f.write("format", []byte("x"))
				f.write("epochs.json", []byte("x"))
				f.write("0000000000000001-89abcdef.idx", []byte("not needed"))
				f.closed(1, 1)
			},
			sum:  Summary{Segments: 1, First: 1, Last: 1, Records: 1, Bytes: size},
			want: []string{"0-0 format: the file is damaged", "0-0 epochs.json: the file is damaged"},
		}, {
			name: "other files are missing",
			make: func(f folder) {
				f.segment(1, text(1))
				f.remove("format")
				f.remove("epochs.json")
				f.closed(1, 1)
			},
			sum:  Summary{Segments: 1, First: 1, Last: 1, Records: 1, Bytes: size},
			want: []string{"0-0 format: the file is missing", "0-0 epochs.json: the file is missing"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFolder(t)
			tt.make(f)
			before := listing(t, f.dir)
			// In a bubble, the pauses for records that are being erased take no time.
			synctest.Test(t, func(t *testing.T) {
				sum, lines := verified(t, f.dir)
				if sum != tt.sum || !slices.Equal(lines, tt.want) {
					t.Errorf("got  %+v %q\nwant %+v %q", sum, lines, tt.sum, tt.want)
				}
			})
			if after := listing(t, f.dir); !slices.Equal(after, before) {
				t.Errorf("the folder is\n%q, and was\n%q", after, before)
			}
		})
	}
}

// Verify agrees with what a reader gets: it finds the numbers that a start counts as lost.
func TestVerifyAgreesWithRead(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	opts := Options{Dir: dir, Sync: time.Hour, segmentBytes: 64 << 10}
	l := opened(t, opts)
	var removed []uint64
	for range 100 {
		batch := make([]eventlog.Message, 50)
		for i := range batch {
			batch[i] = eventlog.Message{Topic: "t", Data: strings.Repeat("x", rnd.IntN(200))}
		}
		for _, a := range l.Append(t.Context(), batch) {
			if a.Err != nil {
				t.Fatal(a.Err)
			}
			if rnd.IntN(50) == 0 {
				removed = append(removed, a.ID.Seq)
			}
		}
	}
	if n, err := l.Remove(t.Context(), removed); n != len(removed) || err != nil {
		t.Fatal(n, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if sum, lines := verified(t, dir); sum.Records != 5000 || sum.Removed != uint64(len(removed)) || sum.Last != 5000 || len(lines) > 0 {
		t.Fatalf("%+v %q", sum, lines)
	}
	segments, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	for _, name := range segments {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		}
		if err := errors.Join(os.WriteFile(name, b, 0o600), os.Remove(strings.TrimSuffix(name, ".seg")+".idx")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(segments[len(segments)/2]); err != nil {
		t.Fatal(err)
	}
	sum, lines := verified(t, dir)
	l = opened(t, opts)
	defer l.Close()
	lost := uint64(0)
	for _, line := range transcriptOfHoles(t, l) {
		var first, last uint64
		fmt.Sscanf(line, "%d-%d", &first, &last)
		lost += last - first + 1
	}
	if sum.Missing != lost || sum.Records != 5000-lost || len(lines) < len(segments)-1 {
		t.Errorf("a reader misses %d, but Verify found %+v\n%s", lost, sum, strings.Join(lines, "\n"))
	}
}

// transcriptOfHoles is transcript for the holes of lost records alone.
func transcriptOfHoles(t *testing.T, l *Log) []string {
	t.Helper()
	return slices.DeleteFunc(readAll(t, l, func(eventlog.Record) string { return "" }), func(line string) bool { return !strings.HasSuffix(line, "lost") })
}

// While a process publishes, removes and expires, nothing looks damaged or missing.
func TestVerifyWhileInUse(t *testing.T) {
	dir := t.TempDir()
	l := opened(t, Options{Dir: dir, Sync: 20 * time.Millisecond, MaxBytes: 2 << 20, segmentBytes: 128 << 10})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	publish := func(seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		for ctx.Err() == nil {
			batch := make([]eventlog.Message, 1+rnd.IntN(50))
			for i := range batch {
				batch[i] = eventlog.Message{Topic: "t", Key: fmt.Sprint(rnd.Uint64()), Data: strings.Repeat("x", rnd.IntN(20_000)/(1+rnd.IntN(100)))}
			}
			for _, a := range l.Append(ctx, batch) {
				if a.Err != nil && ctx.Err() == nil {
					t.Error(a.Err)
					return
				}
			}
		}
	}
	remove := func() {
		rnd := rand.New(rand.NewPCG(7, 8))
		for ctx.Err() == nil {
			st, err := l.State(ctx)
			if err != nil || st.Last < st.First {
				continue
			}
			var seqs []uint64
			for range 100 {
				seqs = append(seqs, st.First+rnd.Uint64N(st.Last-st.First+1))
			}
			if _, err := l.Remove(ctx, seqs); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	}
	running.Go(func() { publish(1) })
	running.Go(func() { publish(2) })
	running.Go(remove)
	await(t, "retention", func() bool { return l.first.Load() > 1 })
	var last, removed uint64
	for n := 0; n < 30 || removed == 0; n++ {
		sum, lines := verified(t, dir)
		if len(lines) > 0 || sum.Missing > 0 || sum.Records != sum.Last-sum.First+1 || sum.Last < last {
			t.Errorf("%+v\n%s", sum, strings.Join(lines, "\n"))
			break
		}
		last, removed = sum.Last, sum.Removed
	}
	stop()
	running.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if sum, lines := verified(t, dir); len(lines) > 0 || sum.Records != sum.Last-sum.First+1 {
		t.Errorf("after the end: %+v\n%s", sum, strings.Join(lines, "\n"))
	}
}

// A record that is half erased is read again before it counts as damaged.
func TestVerifyReadsAgain(t *testing.T) {
	f := newFolder(t)
	erased := handFrame{seq: 2, flags: 1, topic: "t", data: strings.Repeat("\x00", 6)}
	half := text(2).bytes(handSalt, handNanos(2))
	copy(half, erased.bytes(handSalt, handNanos(2))[:16])
	for name, parts := range map[string][]any{"in the middle": {text(1), half, text(3)}, "at the end": {text(1), half}} {
		t.Run(name, func(t *testing.T) {
			f.segment(1, parts...)
			f.state(handState{serial: 1, first: 1, acknowledged: uint64(len(parts)), flags: 2})
			synctest.Test(t, func(t *testing.T) {
				go func() {
					time.Sleep(200 * time.Millisecond)
					parts[1] = erased
					f.segment(1, parts...)
				}()
				sum, lines := verified(t, f.dir)
				if len(lines) > 0 || sum.Records != uint64(len(parts)) || sum.Removed != 1 {
					t.Errorf("%+v %q", sum, lines)
				}
			})
		})
	}
}

func TestVerifyFails(t *testing.T) {
	empty := t.TempDir()
	if _, err := Verify(t.Context(), filepath.Join(empty, "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := Verify(t.Context(), empty, nil); err == nil || !strings.Contains(err.Error(), "no log") {
		t.Errorf("an empty folder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := newFolder(t)
	f.segment(1, text(1))
	f.closed(1, 1)
	if _, err := Verify(ctx, f.dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
}

func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	l, err := Open(b.Context(), &Options{Dir: dir, Sync: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]eventlog.Message, 1000)
	for i := range batch {
		batch[i] = eventlog.Message{Topic: "topic", Data: strings.Repeat("x", 100)}
	}
	for range 500 {
		l.Append(b.Context(), batch)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		sum, err := Verify(b.Context(), dir, nil)
		if err != nil || sum.Records != 500_000 {
			b.Fatal(sum, err)
		}
		b.SetBytes(sum.Bytes)
	}
}
