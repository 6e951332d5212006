package segmentlog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"time"

	"example.com/tidings/eventlog"
)

// A frame is a record in a segment: a header of headerBytes, then topic, type, key and data.
// The header has, little-endian:
//
//	 0  magic
//	 4  CRC32C of everything after it, begun with the segment's salt
//	 8  length of the data
//	12  flags
//	13  lengths of topic, type and key
//	16  sequence number
//	24  time in nanoseconds since 1970
//
// No text in UTF-8 has the magic, and no publisher knows the salt: nothing in a record can
// pass for a frame.
const headerBytes = 32

var magic = [4]byte{0xff, 'T', 0xfe, 'd'}

// The flags of a frame. A reader passes over a frame with a flag that it does not know.
const (
	flagRemoved  = 1 << iota // type, key and data are erased: their bytes are 0
	flagInternal             // it is the hub's own: no subscriber sees it

	flagsKnown = flagRemoved | flagInternal
)

// maxFrame bounds a frame, and so how far a damaged length can lead.
const maxFrame = 16 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A frame is what a header says, and the bytes of the whole frame.
type frame struct {
	seq   uint64
	nanos int64
	flags byte
	raw   []byte // valid until the reader goes on
	off   int64
	topic int // lengths
	typ   int
	key   int
}

// frameSize returns the size of the frame of a message.
func frameSize(m *eventlog.Message) int {
	return headerBytes + len(m.Topic) + len(m.Type) + len(m.Key) + len(m.Data)
}

// appendFrame appends the frame of a message. Its parts have the lengths that the header can
// hold.
func appendFrame(b []byte, salt uint32, seq uint64, nanos int64, m *eventlog.Message) []byte {
	start := len(b)
	b = append(b, magic[:]...)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Data)))
	b = append(b, 0, byte(len(m.Topic)), byte(len(m.Type)), byte(len(m.Key)))
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(nanos))
	b = append(b, m.Topic...)
	b = append(b, m.Type...)
	b = append(b, m.Key...)
	b = append(b, m.Data...)
	seal(b[start:], salt)
	return b
}

// seal sets the checksum of a frame.
func seal(raw []byte, salt uint32) {
	binary.LittleEndian.PutUint32(raw[4:], checksum(raw, salt))
}

func checksum(raw []byte, salt uint32) uint32 { return crc32.Update(salt, castagnoli, raw[8:]) }

// parseHeader returns the size of the frame that a header begins, or false if the header is
// not one of a frame.
func parseHeader(h []byte) (size int, ok bool) {
	if [4]byte(h) != magic {
		return 0, false
	}
	data := binary.LittleEndian.Uint32(h[8:])
	if data > maxFrame {
		return 0, false
	}
	return headerBytes + int(h[13]) + int(h[14]) + int(h[15]) + int(data), true
}

// parseFrame returns the frame that has all of raw, or false if its checksum is wrong.
func parseFrame(raw []byte, salt uint32) (frame, bool) {
	size, ok := parseHeader(raw)
	if !ok || size != len(raw) || binary.LittleEndian.Uint32(raw[4:]) != checksum(raw, salt) {
		return frame{}, false
	}
	return frame{
		seq:   binary.LittleEndian.Uint64(raw[16:]),
		nanos: int64(binary.LittleEndian.Uint64(raw[24:])),
		flags: raw[12],
		raw:   raw,
		topic: int(raw[13]), typ: int(raw[14]), key: int(raw[15]),
	}, true
}

// hidden reports whether nobody may see the record.
func (f *frame) hidden() bool { return f.flags&(flagInternal|^byte(flagsKnown)) != 0 }

func (f *frame) removed() bool { return f.flags&flagRemoved != 0 }

// topicBytes are valid until the reader goes on.
func (f *frame) topicBytes() []byte { return f.raw[headerBytes : headerBytes+f.topic] }

// message returns the message of a frame.
func (f *frame) message() eventlog.Message {
	text := string(f.raw[headerBytes:])
	typ := f.topic + f.typ
	key := typ + f.key
	return eventlog.Message{Topic: text[:f.topic], Type: text[f.topic:typ], Key: text[typ:key], Data: text[key:]}
}

// record returns the record of a frame.
func (f *frame) record() eventlog.Record {
	m := f.message()
	return eventlog.Record{Seq: f.seq, Time: time.Unix(0, f.nanos).UTC(), Topic: m.Topic, Type: m.Type, Data: m.Data}
}

// erase turns the bytes of a frame into those of a removed record, which keeps the number,
// the time, the topic, and the lengths.
func erase(raw []byte, salt uint32) {
	raw[12] |= flagRemoved
	clear(raw[headerBytes+int(raw[13]):])
	seal(raw, salt)
}

// findMagic returns where the next frame may begin in b, from the given offset on, or
// len(b)-3 if there is none: the last three bytes may begin a magic.
func findMagic(b []byte, from int) int {
	if from < len(b) {
		if i := bytes.Index(b[from:], magic[:]); i >= 0 {
			return from + i
		}
	}
	return max(from, len(b)-len(magic)+1)
}

// nanosOf returns a time as a frame holds it.
func nanosOf(t time.Time) int64 {
	switch n := t.UnixNano(); {
	case t.Year() < 1680:
		return math.MinInt64
	case t.Year() > 2260:
		return math.MaxInt64
	default:
		return n
	}
}
