package segmentlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// A brokenFile has content, of which some pages cannot be read.
type brokenFile struct {
	content []byte
	broken  func(page int64) bool
}

var errBroken = errors.New("the disk cannot read the page")

func (b brokenFile) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		switch {
		case at >= int64(len(b.content)):
			return n, io.EOF
		case b.broken(at / pageBytes):
			return n, errBroken
		}
		n += copy(p[n:], b.content[at:min(int64(len(b.content)), (at/pageBytes+1)*pageBytes)])
	}
	return n, nil
}

// readable reports whether a part of the file can be read.
func (b brokenFile) readable(off, end int64) bool {
	for page := off / pageBytes; page*pageBytes < end; page++ {
		if b.broken(page) {
			return false
		}
	}
	return true
}

// frames finds the frames as docs/format.md says, at each byte in turn.
func (b brokenFile) frames(salt uint32) (offs []int64) {
	size := int64(len(b.content))
	for off := int64(0); off+headerBytes <= size; off++ {
		h := b.content[off:]
		if string(h[:4]) != "\xffT\xfed" {
			continue
		}
		n := int64(binary.LittleEndian.Uint32(h[8:]))
		end := off + 32 + int64(h[13]) + int64(h[14]) + int64(h[15]) + n
		if n <= 16<<20 && end <= size && b.readable(off, end) && binary.LittleEndian.Uint32(h[4:]) == handCRC(salt, b.content[off+8:end]) {
			offs = append(offs, off)
			off = end - 1
		}
	}
	return offs
}

// segmentOf makes the content of a segment from a script: intact frames, damaged ones,
// beginnings of frames, zeros, and any other bytes. It begins with zeros up to an offset.
func segmentOf(script []byte, offset uint16) []byte {
	b := make([]byte, offset)
	seq := uint64(0)
	for len(script) >= 2 && len(b) < 100_000 {
		op, n := script[0], int(script[1])
		script = script[2:]
		part := script[:min(n, len(script))]
		seq++
		frame := handFrame{seq: seq, flags: op >> 5, topic: "t", key: string(part[:len(part)/2]), data: string(part)}.bytes(handSalt, int64(n))
		switch op % 8 {
		case 0:
			b = append(b, frame...)
		case 1: // damaged
			frame[(n*7+int(op))%len(frame)] ^= 1 << (op >> 5)
			b = append(b, frame...)
		case 2: // begun
			b = append(b, frame[:n%len(frame)]...)
		case 3: // has a length that leads elsewhere
			binary.LittleEndian.PutUint32(frame[8:], uint32(n)<<(op>>3))
			b = append(b, frame...)
		case 4:
			b = append(b, make([]byte, n*64)...)
			continue
		case 5: // up to the end of what is read at once
			if rest := firstRead - len(b)%firstRead; rest > n {
				b = append(b, make([]byte, rest-n)...)
			}
			continue
		case 6: // inside another frame
			outer := handFrame{seq: seq, topic: "t", data: string(frame)}.bytes(handSalt, 0)
			outer[0] ^= op >> 7
			b = append(b, outer...)
		default:
			b = append(b, part...)
		}
		script = script[len(part):]
	}
	return b
}

// A cursor finds every intact frame, in order, between whatever else there is and beside
// pages that cannot be read, and nothing else.
func FuzzCursor(f *testing.F) {
	f.Add([]byte{0, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 3, 1, 2, 3, 0, 0}, uint16(0), uint64(0))
	f.Add([]byte{7, 3, 0xff, 'T', 0xfe, 0, 4, 'd', 'a', 't', 'a', 7, 1, 0xff, 0, 0, 2, 20, 0, 0}, uint16(3), uint64(0))
	f.Add([]byte{5, 3, 0, 0, 5, 40, 0, 200, 5, 20, 7, 2, 0xff, 'T', 0, 4, 'd', 'a', 't', 'a'}, uint16(0), uint64(1<<5))
	f.Add([]byte{3 + 10<<3, 200, 1, 0, 3, 1, 2, 3, 6, 1, 1, 6 + 128, 1, 1}, uint16(16384-40), uint64(0))
	f.Add([]byte{0, 255, 4, 255, 0, 20, 4, 255, 0, 20, 4, 255, 4, 255, 0, 3, 1, 2, 3}, uint16(4090), uint64(0b1010110))
	f.Fuzz(func(t *testing.T, script []byte, offset uint16, broken uint64) {
		file := brokenFile{segmentOf(script, offset), func(page int64) bool { return broken>>(page%64)&1 == 1 }}
		want := file.frames(handSalt)
		again := 0
		c := newCursor(file, handSalt, 0, int64(len(file.content)), func() { again++ })
		defer c.close()
		var got []int64
		for fr, ok := c.next(); ok; fr, ok = c.next() {
			if len(got) > len(want) {
				break
			}
			got = append(got, fr.off)
			if !bytes.Equal(fr.raw, file.content[fr.off:fr.off+int64(len(fr.raw))]) {
				t.Fatalf("the frame at %d has other bytes than the file", fr.off)
			}
			if fr.seq != c.passed {
				t.Fatalf("the cursor has passed %d after the frame %d", c.passed, fr.seq)
			}
			if m := fr.message(); len(m.Topic)+len(m.Type)+len(m.Key)+len(m.Data)+headerBytes != len(fr.raw) {
				t.Fatalf("the frame at %d has %d bytes, and its message is %+v", fr.off, len(fr.raw), m)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("the frames are at %d, want %d", got, want)
		}
		if again > len(file.content) {
			t.Errorf("it waits %d times for %d bytes", again, len(file.content))
		}
		for _, off := range slices.Backward(want) {
			c.seek(off)
			if fr, ok := c.next(); !ok || fr.off != off {
				t.Fatalf("after seek(%d) comes the frame at %d (%v)", off, fr.off, ok)
			}
		}
	})
}

// What appendFrame writes is the frame of the page, and parseFrame reads it. erase leaves
// the frame of a removed record.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("\xffT\xfed"), uint64(1), int64(handTime), "orders.42", "shipped", "k1", `{"n":1}`)
	f.Add(handFrame{seq: 1, topic: "t"}.bytes(handSalt, 1), uint64(0), int64(-1), "", "", "", "")
	f.Fuzz(func(t *testing.T, raw []byte, seq uint64, nanos int64, topic, typ, key, data string) {
		if fr, ok := parseFrame(padded(raw, headerBytes), handSalt); ok {
			fr.record()
		}
		m := eventlog.Message{Topic: topic, Type: typ, Key: key, Data: data}
		if len(topic) > 255 || len(typ) > 255 || len(key) > 255 {
			return
		}
		b := appendFrame([]byte("before"), handSalt, seq, nanos, &m)[len("before"):]
		if want := (handFrame{seq, 0, topic, typ, key, data}).bytes(handSalt, nanos); !bytes.Equal(b, want) {
			t.Fatalf("% x, want % x", b, want)
		}
		if fr, ok := parseFrame(b, handSalt); !ok || fr.message() != m || fr.seq != seq || fr.nanos != nanos || frameSize(&m) != len(b) {
			t.Fatalf("%+v (%v) is read as %+v", m, ok, fr)
		}
		erase(b, handSalt)
		blank := func(s string) string { return strings.Repeat("\x00", len(s)) }
		if want := (handFrame{seq, 1, topic, blank(typ), blank(key), blank(data)}).bytes(handSalt, nanos); !bytes.Equal(b, want) {
			t.Fatalf("erased: % x, want % x", b, want)
		}
	})
}

// padded returns b with at least n bytes.
func padded(b []byte, n int) []byte { return append(slices.Clip(b), make([]byte, max(0, n-len(b)))...) }

// A sidecar that decodeSidecar takes is what encodeSidecar writes.
func FuzzSidecar(f *testing.F) {
	f.Add([]byte{}, uint64(1), uint32(2))
	f.Add(handSidecar(1, 2, 9, 800, [][3]uint64{{1, 0, 5}, {7, 600, 6}}, [][2]uint64{{2, 3}}), uint64(1), uint32(2))
	f.Add(handSidecar(1, 2, 9, 800, nil, nil), uint64(1), uint32(2))
	f.Add(append([]byte(sidecarMagic), bytes.Repeat([]byte{0xff}, 40)...), uint64(1<<64-1), uint32(1<<32-1))
	f.Fuzz(func(t *testing.T, b []byte, first uint64, salt uint32) {
		check := func(b []byte) {
			if table, ok := decodeSidecar(b, first, salt); ok && !bytes.Equal(encodeSidecar(first, salt, table), b) {
				t.Fatalf("% x is read as %+v", b, table)
			}
		}
		check(b)
		// The same with a right beginning and checksum, so that the lengths count.
		body := append([]byte(sidecarMagic), padded(b, 24)...)
		binary.LittleEndian.PutUint64(body[18:], first)
		binary.LittleEndian.PutUint32(body[26:], salt)
		check(binary.LittleEndian.AppendUint32(body, handCRC(0, body)))
	})
}

// decodeState takes the slot with the greatest serial of those with a right checksum.
func FuzzState(f *testing.F) {
	f.Add([]byte{}, byte(0))
	f.Add(slices.Concat(handState{serial: 8, first: 1, acknowledged: 5}.bytes(), make([]byte, 440), handState{serial: 7, flags: 3}.bytes(), make([]byte, 440)), byte(3))
	f.Add(slices.Concat(make([]byte, 512), handState{serial: 1, boot: 9, nanos: -1}.bytes()), byte(2))
	f.Fuzz(func(t *testing.T, b []byte, right byte) {
		b = slices.Clone(b)
		var want handState
		valid := false
		for slot := range 2 {
			if len(b) < slot*512+72 {
				break
			}
			s := b[slot*512:][:72]
			if right>>slot&1 == 1 {
				copy(s, "tidingst")
				binary.LittleEndian.PutUint32(s[68:], handCRC(0, s[:68]))
			}
			if string(s[:8]) != "tidingst" || binary.LittleEndian.Uint32(s[68:]) != handCRC(0, s[:68]) {
				continue
			}
			h := handState{
				binary.LittleEndian.Uint64(s[8:]), binary.LittleEndian.Uint64(s[16:]), binary.LittleEndian.Uint64(s[24:]), binary.LittleEndian.Uint64(s[32:]),
				int64(binary.LittleEndian.Uint64(s[40:])), binary.LittleEndian.Uint32(s[48:]), binary.LittleEndian.Uint32(s[52:]),
				binary.LittleEndian.Uint64(s[56:]),
			}
			if !valid || h.serial > want.serial {
				want, valid = h, true
			}
		}
		st, ok := decodeState(b)
		if got := (handState{st.serial, st.first, st.acknowledged, st.synced, st.nanos, st.boot, st.flags, st.file}); ok != valid || got != want {
			t.Fatalf("got %+v, %v; want %+v, %v", got, ok, want, valid)
		}
		if again := st.encode(); ok && !bytes.Equal(again, want.bytes()) {
			t.Fatalf("it is written as % x", again)
		}
	})
}

// The names of segments and the line of the format are read only as they are written.
func FuzzNames(f *testing.F) {
	f.Add(handName(1), uint64(1), uint32(handSalt))
	f.Add("0000000000000001-+9abcdef.seg", uint64(0), uint32(0))
	f.Add("0000000000000001-89ABCDEF.seg", uint64(1<<64-1), uint32(1<<32-1))
	f.Add(string(handFormat(1, "0123456789abcdef")), uint64(1), uint32(1))
	f.Add("tidings log, format 1, id 0123456789abcdef", uint64(1), uint32(1))
	f.Add("tidings log, format +1, id x y, check z", uint64(1), uint32(1))
	f.Fuzz(func(t *testing.T, text string, first uint64, salt uint32) {
		if first, salt, ok := parseSegmentName(text); ok && (segmentName(first, salt) != text || first == 0) {
			t.Errorf("%q is taken for the segment %s", text, segmentName(first, salt))
		}
		name := segmentName(first, salt)
		if f, s, ok := parseSegmentName(name); ok != (first > 0) || ok && (f != first || s != salt) {
			t.Errorf("%q is read as %x, %x, %v", name, f, s, ok)
		}
		checked := text + ", check " + fmtCheck(text) + "\n"
		for _, b := range []string{text, checked} {
			if version, id, ok := decodeFormat([]byte(b)); ok && (string(handFormat(version, id)) != b || version < 1) {
				t.Errorf("%q is taken for the format %d of %q", b, version, id)
			}
		}
	})
}

func fmtCheck(text string) string { return string(handEpochs(text)[10:18]) }

// A folder of one file.
type oneFile struct {
	disk
	content []byte
}

func (o oneFile) readFile(string) ([]byte, error) { return o.content, nil }

// Whatever epochs.json has, a start can go on with it: the epochs ascend, the new one is
// the last, and they can be read again.
func FuzzEpochs(f *testing.F) {
	f.Add([]byte(`[{"id":"0000000aaaaa","first":1},{"id":"0000001bbbbb","first":3}]`), uint64(9), int64(handTime))
	f.Add([]byte(`[{"id":"zzzzzzzzzzzz","first":18446744073709551615}]`), uint64(0), int64(1<<40))
	f.Add([]byte(`[{"id":"x"}]`), uint64(1), int64(-1))
	f.Add([]byte(`{"check":"00000000"}`), uint64(1), int64(0))
	f.Add([]byte(`null`), uint64(1), int64(0))
	f.Fuzz(func(t *testing.T, list []byte, last uint64, seconds int64) {
		last, now := min(last, 1<<63), time.Unix(seconds%(1<<36), 0)
		for _, content := range [][]byte{list, handEpochs(string(list))} {
			known, err := loadEpochs(oneFile{content: content}, "")
			if err != nil {
				known = nil
			}
			epochs := nextEpochs(known, last, now)
			n := len(epochs)
			if n == 0 || n > maxEpochs || epochs[n-1].First != last+1 {
				t.Fatalf("%q, last %d: the epochs are %v", content, last, epochs)
			}
			for i := range epochs[1:] {
				if epochs[i].First > epochs[i+1].First {
					t.Fatalf("%q, last %d: the epochs are %v", content, last, epochs)
				}
			}
			if n > 1 && epochs[n-2].ID[:epochTime] < "zzzzzzz" && epochs[n-1].ID <= epochs[n-2].ID {
				t.Fatalf("%q: the id of the new epoch is not the greatest: %v", content, epochs[n-2:])
			}
			var records []epochRecord
			for _, e := range epochs {
				records = append(records, epochRecord{ID: e.ID, First: e.First})
			}
			saved, err := json.Marshal(records)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := loadEpochs(oneFile{content: handEpochs(string(saved))}, ""); err != nil || !slices.Equal(again, epochs) {
				t.Fatalf("%v is read again as %v, %v", epochs, again, err)
			}
		}
	})
}

// Whatever the index has, its values can be read, and are the same when they are written
// and read again.
func FuzzIndexValues(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add(appendPlaces(nil, []uint16{0, 1, 300, 65535}), []byte{1, 2, 3, 4, 5})
	f.Add(topicValue{1 << 63, -1, 5}.append(nil), []byte("f\x00\x00\x00\x01"))
	f.Add(storeMeta{"0123456789abcdef", 1, 2, 3, 4, 5}.encode(), []byte("f\xff\xff\xff\xff"))
	f.Add(bytes.Repeat([]byte{0xff}, 40), []byte{0})
	f.Fuzz(func(t *testing.T, b, key []byte) {
		places := decodePlaces(b)
		if again := decodePlaces(appendPlaces(nil, places)); len(places) > len(b) || !slices.Equal(again, places) {
			t.Errorf("the places %d are read again as %d", places, again)
		}
		hasPlace(places, len(key))
		v := decodeTopic(b)
		if again := decodeTopic(v.append(nil)); again != v {
			t.Errorf("the topic %+v is read again as %+v", v, again)
		}
		if m, ok := decodeMeta(b); ok {
			if again, ok := decodeMeta(m.encode()); !ok || again != m {
				t.Errorf("the meta %+v is read again as %+v", m, again)
			}
		}
		if c, ok := decodeChunk(key, b); ok && (c.filter != nil) != (len(b) == 24+filterBytes) {
			t.Errorf("a chunk of %d bytes has a filter: %v", len(b), c.filter != nil)
		}
	})
}

// A filter has all hashes that were added, also when it was written and read again.
func FuzzKeyFilter(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdeg"))
	f.Add(bytes.Repeat([]byte{0xff}, 16))
	f.Fuzz(func(t *testing.T, hashes []byte) {
		before := new(filter)
		for h := range slices.Chunk(hashes, 16) {
			before.add(keyHash(padded(h, 16)))
		}
		value := before.append(make([]byte, 24))
		c, ok := decodeChunk(make([]byte, 5), value)
		if !ok || c.filter == nil {
			t.Fatal("the filter is not read")
		}
		for h := range slices.Chunk(hashes, 16) {
			if hash := keyHash(padded(h, 16)); !before.has(hash) || !c.filter.has(hash) {
				t.Errorf("% x is not in the filter", hash)
			}
		}
		if _, ok := decodeFilter(value[25:]); ok {
			t.Error("a filter that is too short is read")
		}
	})
}
