package segmentlog

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// What a bucket adds to the counts of its topics is what it adds to their places, also if
// its records expire meanwhile.
func TestBucketExpiresWhileItIsStored(t *testing.T) {
	l := opened(t, Options{})
	l.indexed(t)
	st := l.index.store
	for n := uint64(10); n < 16; n++ {
		b := newBucket(n, bucketStart(n))
		for p := range 8000 {
			b.add(seqOf(n, p), int64(p), fmt.Sprint("t.", p%100), p%10 == 3)
		}
		var expiring sync.WaitGroup
		expiring.Go(func() {
			for p := range 200 {
				b.expire(seqOf(n, 40*p))
			}
		})
		var counted, places int
		err := st.use(func(db *pebble.DB) error {
			batch := db.NewBatch()
			changes, _, err := putBucket(batch, b, nil)
			if err != nil {
				return err
			}
			for _, c := range changes {
				counted += int(c.count)
			}
			if err := batch.Commit(pebble.NoSync); err != nil {
				return err
			}
			removed, err := get(db, bucketKey('r', n, ""))
			if err != nil {
				return err
			}
			it, err := db.NewIter(&pebble.IterOptions{LowerBound: bucketKey('i', n, ""), UpperBound: bucketKey('i', n+1, "")})
			if err != nil {
				return err
			}
			defer it.Close()
			for it.First(); it.Valid(); it.Next() {
				for _, p := range decodePlaces(it.Value()) {
					if !hasPlace(decodePlaces(removed), int(p)) {
						places++
					}
				}
			}
			return it.Error()
		})
		expiring.Wait()
		if err != nil || counted != places {
			t.Fatalf("%d records are counted, and %d are in the places: %v", counted, places, err)
		}
	}
	closeLog(t, l)
}
