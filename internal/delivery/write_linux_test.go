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

// Whatever part of what it is owed a stream's socket takes, the rest comes, from the very
// byte on. A pipe of one page takes just that of a write, when it is empty.
func TestPartialWrites(t *testing.T) {
	sameDescriptors(t)
	opening := []string{"first ", "second ", "third "}
	frames := []string{"one ", "two ", "three "}
	ownBytes := len(strings.Join(opening, "")) + len(strings.Join(frames, ""))
	// The write ends so many bytes after the rest of a frame: in that rest, at its end,
	// in and at the end of each piece of the queue and each frame, and in the last.
	for beyond := -3; beyond < ownBytes+3; beyond++ {
		t.Run(fmt.Sprint(beyond), func(t *testing.T) {
			r := newRig(t, delivery.Options{})
			fd, client := pipe(t)
			st := r.open(t, fd, "a", 0, "open ")
			want(t, client, "open ")
			large := text("large", 2*page-beyond)
			last := text("last", 2*page)
			r.append("a", large)
			eventually(t, "the pipe is full", func() bool { return r.stats().Stalled == 1 })
			before := r.stats()
			begin := make([]byte, page)
			r.do(t, func() { // before the set moves on without it
				r.shard.Send(st.Slot, pieces(opening[:1]...), r.shard.Position(st.Slot))
				r.shard.Send(st.Slot, pieces(opening[1:]...), r.shard.Position(st.Slot))
				for _, f := range frames {
					r.add("a", f)
				}
				r.add("a", last)
				io.ReadFull(client, begin)
			})
			want(t, bytes.NewReader(begin), large[:page])
			eventually(t, "more is written", func() bool { return r.stats().Bytes > before.Bytes })
			if s := r.stats(); s.Bytes != before.Bytes+page || s.Writes != before.Writes+1 {
				t.Fatalf("%d bytes in %d writes: the test is blind", s.Bytes-before.Bytes, s.Writes-before.Writes)
			}
			want(t, client, large[page:]+strings.Join(opening, "")+strings.Join(frames, "")+last)
			r.append("a", "more ")
			want(t, client, "more ")
			if s := r.stats(); s.Stalled != 0 || s.Deliveries != 6 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A socket that takes nothing at all is tried again only when it does.
func TestWritesThatTakeNothing(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	fd, client := pipe(t)
	filler := text("filler", page)
	if _, err := unix.Write(fd, []byte(filler)); err != nil {
		t.Fatal(err)
	}
	r.open(t, fd, "a", 0, "open ") // its opening, too
	for i := range 10 {
		r.append("a", fmt.Sprintf("%d ", i))
		r.do(t, func() {})
	}
	if s := r.stats(); s.Writes != 1 || s.Stalled != 1 || s.Short != 1 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
	want(t, client, filler+"open 0 1 2 3 4 5 6 7 8 9 ")
	// And when it is a frame.
	if _, err := unix.Write(fd, []byte(filler)); err != nil {
		t.Fatal(err)
	}
	writes := r.stats().Writes
	r.append("a", "x ")
	eventually(t, "it stalls", func() bool { return r.stats().Stalled == 1 })
	r.append("a", "y ")
	r.do(t, func() {})
	if n := r.stats().Writes - writes; n != 1 {
		t.Errorf("%d writes for nothing, want one", n)
	}
	want(t, client, filler+"x y ")
}

// Frames larger than any buffer, through TCP, to who reads at once and who reads late.
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
		large := text(fmt.Sprint(i), 1<<20)
		r.append("a", large, "small ")
		plain.WriteString(large + "small ")
		inBrackets.WriteString("[" + large + "][small ]")
	}
	want(t, prompt, plain.String())
	eventually(t, "one is late", func() bool { return r.stats().Stalled == 1 })
	want(t, late, "open "+inBrackets.String())
	r.append("a", "end ")
	want(t, prompt, "end ")
	want(t, late, "[end ]")
	if s := r.stats(); s.Short == 0 || s.Stalled != 0 || s.Deliveries != 26 {
		t.Errorf("%+v", s)
	}
}

// What is owed goes out in one write, and a stream that is owed thousands of frames
// does not keep others from theirs.
func TestWhoIsOwedMuchDelaysNobody(t *testing.T) {
	sameDescriptors(t)
	const owed = 20_000
	r := newRig(t, delivery.Options{})
	fd, much := socket(t)
	otherFD, other := socket(t)
	r.open(t, fd, "much", 0, "open ")
	r.open(t, otherFD, "other", 0, "open ")
	want(t, much, "open ")
	want(t, other, "open ")
	asked, came := 0, make(chan int, 1)
	var all strings.Builder
	before := r.stats()
	r.do(t, func() {
		for i := range owed {
			f := r.add("much", fmt.Sprintf("%d ", i))
			f.asked = func() { asked++ }
			all.WriteString(f.text)
		}
		r.add("other", "x ").asked = func() { came <- asked }
	})
	want(t, other, "x ")
	if n := <-came; n > owed/4 {
		t.Errorf("the other one came after %d of %d frames", n, owed)
	}
	want(t, much, all.String())
	eventually(t, "that is counted", func() bool { return r.stats().Deliveries == before.Deliveries+owed+1 })
	if n := r.stats().Writes - before.Writes; n > owed/100 {
		t.Errorf("%d frames took %d writes", owed, n)
	}
}

// A frame that cannot be had breaks the stream, and no other.
func TestFrameThatCannotBeHad(t *testing.T) {
	sameDescriptors(t)
	r := newRig(t, delivery.Options{})
	fd, client := socket(t)
	otherFD, other := socket(t)
	st := r.open(t, fd, "a", 0, "open ")
	r.open(t, otherFD, "a", 1, "open ") // which has its form of it
	want(t, client, "open ")
	want(t, other, "open ")
	r.do(t, func() { r.shard.Append(r.sets["a"], half{&note{position: 1, text: "x"}}); r.last = 1 })
	r.ended(t, st, delivery.Broken)
	want(t, other, "[x]")
	r.append("a", "y")
	want(t, other, "[y]")
}

// half has only its second form.
type half struct{ *note }

func (h half) Wire(form uint8) []byte {
	if form == 0 {
		return nil
	}
	return h.note.Wire(form)
}
