package segmentlog

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

func keyKey(chunk uint32, hash keyHash) []byte {
	b := binary.BigEndian.AppendUint32([]byte("k"), chunk)
	return append(b, hash[:]...)
}

func chunkKey(id uint32) []byte { return binary.BigEndian.AppendUint32([]byte("f"), id) }

// put adds what is known of a chunk to a batch. A whole chunk gets no more keys.
func (c *chunk) put(batch *pebble.Batch, whole bool) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.n))
	b = binary.BigEndian.AppendUint64(b, uint64(c.first))
	b = binary.BigEndian.AppendUint64(b, uint64(c.last))
	if whole && c.filter != nil {
		b = c.filter.append(b)
	}
	return batch.Set(chunkKey(c.id), b, nil)
}

func decodeChunk(key, value []byte) (*chunk, bool) {
	if len(key) != 5 || len(value) < 24 {
		return nil, false
	}
	be := binary.BigEndian
	c := &chunk{id: be.Uint32(key[1:]), n: int(be.Uint64(value)), first: int64(be.Uint64(value[8:])), last: int64(be.Uint64(value[16:]))}
	c.filter, _ = decodeFilter(value[24:])
	return c, true
}

// fill makes the filter of a chunk from its keys in the store.
func (c *chunk) fill(db *pebble.DB) error {
	c.filter = new(filter)
	return each(db, keyKey(c.id, keyHash{}), keyKey(c.id+1, keyHash{}), func(key, _ []byte) error {
		if len(key) == 21 {
			c.filter.add(keyHash(key[5:]))
		}
		return nil
	})
}
