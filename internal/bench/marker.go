package bench

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A marker is the beginning of a message's data. Its text is
//
//	SUM RUN TOPIC SEQUENCE TIME
//
// and the rest of the data is filler. The numbers are hexadecimal with eight digits,
// TIME with sixteen. SUM is the CRC-32C of the data after it, which shows any changed
// byte.
type marker struct {
	run   uint32
	topic uint32 // from 0
	seq   uint32 // among the topic's messages, from 0
	at    int64  // nanoseconds since the run began
}

// The offsets of the numbers in a marker, each with a space before it, and the size
// of a marker.
const (
	runAt      = 9
	topicAt    = 18
	seqAt      = 27
	timeAt     = 36
	markerSize = 52
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newData returns data of the given size in bytes, for put.
func newData(size int) []byte {
	data := bytes.Repeat([]byte{'x'}, size)
	for _, i := range []int{runAt, topicAt, seqAt, timeAt} {
		data[i-1] = ' '
	}
	return data
}

// put writes the marker and its sum to the front of data.
func (m marker) put(data []byte) {
	putHex(data[runAt:], m.run)
	putHex(data[topicAt:], m.topic)
	putHex(data[seqAt:], m.seq)
	putHex(data[timeAt:], uint32(uint64(m.at)>>32))
	putHex(data[timeAt+8:], uint32(m.at))
	putHex(data, crc32.Update(0, castagnoli, data[runAt:]))
}

// parseMarker returns the marker of a message's data. It reports false if data has
// changed since put. Foreign data passes only if its sum of 32 bits is right by
// chance.
func parseMarker(data []byte) (m marker, ok bool) {
	if len(data) < markerSize || data[runAt-1] != ' ' || binary.LittleEndian.Uint64(data) != hex(crc32.Update(0, castagnoli, data[runAt:])) {
		return m, false
	}
	return marker{
		run:   parseHex(data[runAt:]),
		topic: parseHex(data[topicAt:]),
		seq:   parseHex(data[seqAt:]),
		at:    int64(uint64(parseHex(data[timeAt:]))<<32 | uint64(parseHex(data[timeAt+8:]))),
	}, true
}

func putHex(b []byte, v uint32) { binary.LittleEndian.PutUint64(b, hex(v)) }

// ones has a 1 in each of its eight bytes.
const ones = 0x0101010101010101

// hex returns the eight digits of v, the first in the lowest byte. It computes all
// digits at once, because every delivery needs it.
func hex(v uint32) uint64 {
	x := uint64(v)
	x = (x>>16 | x<<32) & 0x0000ffff0000ffff
	x = (x>>8 | x<<16) & 0x00ff00ff00ff00ff
	x = (x>>4 | x<<8) & (0xf * ones)
	letters := (x + 6*ones) >> 4 & ones // 1 where the digit is 10 or more
	return x + '0'*ones + letters*('a'-'0'-10)
}

// parseHex is the inverse of hex. b must begin with eight digits of hex.
func parseHex(b []byte) uint32 {
	x := binary.LittleEndian.Uint64(b)
	x = x&(0xf*ones) + x>>6&ones*9
	x = (x<<4 | x>>8) & 0x00ff00ff00ff00ff
	x = (x<<8 | x>>16) & 0x0000ffff0000ffff
	return uint32(x<<16 | x>>32)
}
