package delivery_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"example.com/tidings/internal/delivery"
)

// Wherever a partial write ends, the next write continues at the very next byte. An empty pipe
// of one page takes exactly one page of a write.
func TestPartialWrites(t *testing.T) {
	sameDescriptors(t)
	queue := []string{"first ", "second ", "third "}
	frames := []string{"one ", "two ", "three "}
	ownBytes := len(strings.Join(queue, "")) + len(strings.Join(frames, ""))
	// The second write ends beyond bytes after the rest of the first frame: within that rest,
	// at its end, within and at the end of each frame, and within the last frame.
	for beyond := -3; beyond < ownBytes+3; beyond++ {
		t.Run(fmt.Sprint(beyond), func(t *testing.T) {
			r := newRig(t, delivery.Options{})
			fd, client := pipe(t)
			st := r.open(t, fd, "a", 0, "open ")
			want(t, client, "open ")
			large := longText("large", 2*page-beyond)
			last := longText("last", 2*page)
			r.append("a", large)
			eventually(t, "the pipe is full", func() bool { return r.stats().Stalled == 1 })
			before := r.stats()
			begin := make([]byte, page)
			r.do(t, func() { // in one turn, so that the set does not drop frames meanwhile
				r.shard.Send(st.Slot, rawFrames(queue[:1]...), r.shard.Position(st.Slot))
				r.shard.Send(st.Slot, rawFrames(queue[1:]...), r.shard.Position(st.Slot))
				for _, f := range frames {
					r.add("a", f)
				}
				r.add("a", last)
				io.ReadFull(client, begin)
			})
			want(t, bytes.NewReader(begin), large[:page])
			eventually(t, "the shard writes more", func() bool { return r.stats().Bytes > before.Bytes })
			if s := r.stats(); s.Bytes != before.Bytes+page || s.Writes != before.Writes+1 {
				t.Fatalf("%d bytes in %d writes: the test proves nothing", s.Bytes-before.Bytes, s.Writes-before.Writes)
			}
			want(t, client, large[page:]+strings.Join(queue, "")+strings.Join(frames, "")+last)
			r.append("a", "more ")
			want(t, client, "more ")
			if s := r.stats(); s.Stalled != 0 || s.Deliveries != 6 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A socket that took nothing is tried again only when it is writable.
func TestFullSocketIsNotRetried(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	fd, client := pipe(t)
	filler := longText("filler", page)
	if _, err := unix.Write(fd, []byte(filler)); err != nil {
		t.Fatal(err)
	}
	r.open(t, fd, "a", 0, "open ") // not even the opening is written
	for i := range 10 {
		r.append("a", fmt.Sprintf("%d ", i))
		r.do(t, func() {})
	}
	if s := r.stats(); s.Writes != 1 || s.Stalled != 1 || s.Short != 1 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
	want(t, client, filler+"open 0 1 2 3 4 5 6 7 8 9 ")
	// The same for a frame of the set.
	if _, err := unix.Write(fd, []byte(filler)); err != nil {
		t.Fatal(err)
	}
	writes := r.stats().Writes
	r.append("a", "x ")
	eventually(t, "the stream stalls", func() bool { return r.stats().Stalled == 1 })
	r.append("a", "y ")
	r.do(t, func() {})
	if n := r.stats().Writes - writes; n != 1 {
		t.Errorf("%d writes to a full pipe, want 1", n)
	}
	want(t, client, filler+"x y ")
}

// Frames larger than any buffer arrive over TCP, at a prompt reader and at a late one.
func TestLargeFrames(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	fd, prompt := socket(t)
	lateFD, late := socket(t)
	unix.SetsockoptInt(lateFD, unix.SOL_SOCKET, unix.SO_SNDBUF, 64<<10)
	r.open(t, fd, "a", 0, "open ")
	r.open(t, lateFD, "a", 1, "open ")
	want(t, prompt, "open ")
	var plain, inBrackets strings.Builder
	for i := range 6 {
		large := longText(fmt.Sprint(i), 1<<20)
		r.append("a", large, "small ")
		plain.WriteString(large + "small ")
		inBrackets.WriteString("[" + large + "][small ]")
	}
	want(t, prompt, plain.String())
	eventually(t, "the late reader stalls", func() bool { return r.stats().Stalled == 1 })
	want(t, late, "open "+inBrackets.String())
	r.append("a", "end ")
	want(t, prompt, "end ")
	want(t, late, "[end ]")
	if s := r.stats(); s.Short == 0 || s.Stalled != 0 || s.Deliveries != 26 {
		t.Errorf("%+v", s)
	}
}

// A lagging stream gets many frames in one write. While it lacks thousands of frames, other
// streams get theirs.
func TestLaggingStreamDelaysNoOther(t *testing.T) {
	sameDescriptors(t)
	const backlog = 20_000
	r := newRig(t, delivery.Options{})
	fd, lagging := socket(t)
	otherFD, other := socket(t)
	r.open(t, fd, "lagging", 0, "open ")
	r.open(t, otherFD, "other", 0, "open ")
	want(t, lagging, "open ")
	want(t, other, "open ")
	encoded, arrived := 0, make(chan int, 1)
	var all strings.Builder
	before := r.stats()
	r.do(t, func() {
		for i := range backlog {
			f := r.add("lagging", fmt.Sprintf("%d ", i))
			f.onWire = func() { encoded++ }
			all.WriteString(f.text)
		}
		r.add("other", "x ").onWire = func() { arrived <- encoded }
	})
	want(t, other, "x ")
	if n := <-arrived; n > backlog/4 {
		t.Errorf("the other stream waited for %d of %d frames", n, backlog)
	}
	want(t, lagging, all.String())
	eventually(t, "all deliveries are counted", func() bool { return r.stats().Deliveries == before.Deliveries+backlog+1 })
	if n := r.stats().Writes - before.Writes; n > backlog/100 {
		t.Errorf("%d frames took %d writes", backlog, n)
	}
}

// A frame without a wire form breaks its stream, and no other.
func TestFrameWithoutWireForm(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	fd, client := socket(t)
	otherFD, other := socket(t)
	st := r.open(t, fd, "a", 0, "open ")
	r.open(t, otherFD, "a", 1, "open ") // its form of the frame exists
	want(t, client, "open ")
	want(t, other, "open ")
	r.do(t, func() { r.shard.Append(r.sets["a"], half{&testFrame{position: 1, text: "x"}}); r.last = 1 })
	r.ended(t, st, delivery.Broken)
	want(t, other, "[x]")
	r.append("a", "y")
	want(t, other, "[y]")
}

// half is a frame that has only its second form.
type half struct{ *testFrame }

func (h half) Wire(form uint8) []byte {
	if form == 0 {
		return nil
	}
	return h.testFrame.Wire(form)
}
