package segmentlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"
)

// stateFile holds a [state], in two slots that are written in turn: a write that is cut off
// leaves the other one.
const (
	stateFile  = "state"
	stateMagic = "tidingst"
	slotBytes  = 512
	stateBytes = 72
)

// A state is what the log knows beside its segments. It is written after each group, before
// the answer, and so tells a start which numbers must be there.
type state struct {
	serial       uint64 // of the write
	first        uint64 // the first number that is retained
	acknowledged uint64 // the greatest number that a publisher was given
	synced       uint64 // every number up to here is on the disk
	nanos        int64  // the log's time
	boot         uint32 // see bootID
	flags        uint32
	file         uint64 // the id of the file: another one is a copy that somebody has restored
}

// The flags of a state.
const (
	stateClean  = 1 << iota // the log was closed
	stateAlways             // what is acknowledged is on the disk
	stateStale              // the index on the disk may have records that were removed
)

func (st state) encode() []byte {
	le := binary.LittleEndian
	b := append(make([]byte, 0, stateBytes), stateMagic...)
	for _, v := range []uint64{st.serial, st.first, st.acknowledged, st.synced, uint64(st.nanos)} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, st.boot)
	b = le.AppendUint32(b, st.flags)
	b = le.AppendUint64(b, st.file)
	b = append(b, make([]byte, stateBytes-4-len(b))...)
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeState returns the newest valid state of the two slots.
func decodeState(b []byte) (newest state, ok bool) {
	le := binary.LittleEndian
	for slot := range 2 {
		if len(b) < slot*slotBytes+stateBytes {
			break
		}
		s := b[slot*slotBytes:][:stateBytes]
		sum := stateBytes - 4
		if string(s[:8]) != stateMagic || le.Uint32(s[sum:]) != crc32.Checksum(s[:sum], castagnoli) {
			continue
		}
		st := state{
			serial: le.Uint64(s[8:]), first: le.Uint64(s[16:]), acknowledged: le.Uint64(s[24:]), synced: le.Uint64(s[32:]),
			nanos: int64(le.Uint64(s[40:])), boot: le.Uint32(s[48:]), flags: le.Uint32(s[52:]),
			file: le.Uint64(s[56:]),
		}
		if !ok || st.serial > newest.serial {
			newest, ok = st, true
		}
	}
	return newest, ok
}

// A stateKeeper writes the state. Its methods may be called concurrently.
type stateKeeper struct {
	mu  sync.Mutex
	f   file
	now state

	half bool // one of the two slots was damaged: the other one may be older
}

// openState reads the state of the log in a folder. ok is false if there is none, or both
// slots are damaged: then the file is set aside.
func openState(files fileSystem, dir string, logger *slog.Logger) (k *stateKeeper, st state, ok bool, err error) {
	name := filepath.Join(dir, stateFile)
	b, err := files.readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case tooBusy(err):
		return nil, state{}, false, err
	default:
		st, ok = decodeState(b)
		if !ok && (err != nil || !allZero(b[:min(len(b), pageBytes)])) {
			aside, e := setAside(files, dir, stateFile)
			if e != nil {
				return nil, state{}, false, errors.Join(err, e)
			}
			logger.Error("the state of the log is damaged", "file", name, "aside", aside)
		}
	}
	k = &stateKeeper{now: st, half: ok && wholeSlots(b, st) < 2}
	if k.half {
		logger.Error("one of the two slots of the log's state is damaged", "file", name)
	}
	if k.f, err = files.open(name); errors.Is(err, fs.ErrNotExist) {
		k.f, err = files.create(name, 2*slotBytes)
	}
	return k, st, ok, err
}

// wholeSlots returns how many slots of a state are as the log has written them. st is the
// newest one. The first state of a log has one slot, and zeros for the other.
func wholeSlots(b []byte, st state) (n int) {
	for slot := range 2 {
		part := b[min(slot*slotBytes, len(b)):min(slot*slotBytes+stateBytes, len(b))]
		if _, ok := decodeState(part); ok || st.serial == 1 && allZero(part) {
			n++
		}
	}
	return n
}

// update changes the state and writes it.
func (k *stateKeeper) update(change func(*state)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.now)
	k.now.serial++
	_, err := k.f.WriteAt(k.now.encode(), int64(k.now.serial%2)*slotBytes)
	return err
}

// sync forces the state to the disk.
func (k *stateKeeper) sync() error { return k.f.sync() }

func (k *stateKeeper) close() error { return k.f.Close() }

// time returns the log's time in a state.
func (st state) time() time.Time { return time.Unix(0, st.nanos).UTC() }
