package window

import (
	"bytes"
	"sync"
	"sync/atomic"
	"unsafe"

	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/delivery"
)

// An Account counts the bytes of memory that its entries take, with the forms that were
// encoded so far. Its methods may be called concurrently.
type Account struct {
	bytes  atomic.Int64
	shared bool          // the log holds the strings of the records anyway
	also   *budget.Bytes // nil, or counts the same bytes
	pinned *budget.Bytes // nil, or counts what is held of entries that the account does not own

	most  atomic.Int64  // the bytes beyond which a value is sent to grown
	grown chan struct{} // nil, or has capacity 1
}

// NewAccount returns an account of entries that are in no window. The budget counts the same
// bytes.
func NewAccount(also *budget.Bytes) *Account { return &Account{also: also} }

// Bytes returns how many bytes the account's entries take.
func (a *Account) Bytes() int { return int(a.bytes.Load()) }

func (a *Account) add(n int) {
	if a.also != nil {
		a.also.Add(n)
	}
	if a.bytes.Add(int64(n)) > a.most.Load() && a.grown != nil {
		select {
		case a.grown <- struct{}{}:
		default:
		}
	}
}

// A holding counts the bytes of one object, in the account that owns it or else as pinned. It is
// a [delivery.Pinner].
type holding struct {
	account *Account

	mu    sync.Mutex
	owned bool // by the account
	pins  int32
	bytes int
}

// count counts bytes where they are held. Callers hold mu.
func (h *holding) count(n int) {
	switch {
	case h.account == nil:
	case h.owned:
		h.account.add(n)
	case h.pins > 0 && h.account.pinned != nil:
		h.account.pinned.Add(n)
	}
}

// own sets whether the account owns the object.
func (h *holding) own(owned bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count(-h.bytes)
	h.owned = owned
	h.count(h.bytes)
}

// Pin implements [delivery.Pinner].
func (h *holding) Pin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pins++; h.pins == 1 && !h.owned {
		h.count(h.bytes)
	}
}

// Unpin implements [delivery.Pinner].
func (h *holding) Unpin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pins == 1 && !h.owned {
		h.count(-h.bytes)
	}
	h.pins--
}

// Pinned implements [delivery.Pinner].
func (h *holding) Pinned() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.owned || h.pins == 0 {
		return 0
	}
	return h.bytes / int(h.pins)
}

// A chunk is an encoded form of an entry.
type chunk struct {
	wire []byte
	holding
}

func newChunk(wire []byte) *chunk {
	begin := max(0, digits-bytes.IndexByte(wire, '\r')) // of wire, in its array
	return &chunk{wire: wire, holding: holding{bytes: begin + cap(wire) + chunkOverhead}}
}

// Own has an account count what an entry takes, with its forms, until Disown. It is called
// before any other goroutine has the entry.
func (e *Entry) Own(by *Account) {
	e.account = by
	e.bytes = e.Size()
	e.own(true)
}

// ownChunk has the account of the entry count a form that was encoded. Callers hold mu until
// the entry has the form: a form that is replaced or disowned before it is counted would stay
// counted.
func (e *Entry) ownChunk(c *chunk) {
	c.account = e.account
	if e.owned {
		c.own(true)
	}
}

// Disown is called when the entry has left the window, or is no longer shared otherwise. From
// then on its parts count as pinned while streams hold them.
func (e *Entry) Disown() {
	e.own(false)
	for i := range e.chunks {
		if c := e.chunks[i].Load(); c != nil {
			c.own(false)
		}
	}
}

// Part implements [delivery.Pinnable].
func (e *Entry) Part(form uint8) delivery.Pinner {
	if form == NoForm {
		return &e.holding
	}
	return e.chunk(form)
}

// Cost returns how many bytes the entry takes with one form, or without any if the form is
// NoForm. The form is encoded for that.
func (e *Entry) Cost(form uint8) int {
	if form == NoForm {
		return e.Size()
	}
	return e.Size() + e.chunk(form).bytes
}

// What an entry takes beside its strings and forms, and a form beside its bytes.
var (
	entryBytes    = allocated(int(unsafe.Sizeof(Entry{})))
	chunkOverhead = allocated(int(unsafe.Sizeof(chunk{})))
)
