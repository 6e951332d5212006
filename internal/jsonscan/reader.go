// Package jsonscan takes apart the JSON texts (RFC 8259) that clients send. Beside encoding/json it lets others
// run while it reads a long text, allocates little, tells names in their exact case, and does not hide that one stands
// twice.
//
// Its functions count their work in a [yield.Work], which may be nil for a short text.
package jsonscan

import "example.com/tidings/internal/yield"

const (
	// step is after how many bytes the work is counted, and byteNanos about what each of them costs.
	step      = 4 << 10
	byteNanos = 8
)

// A reader reads a text from the byte i on.
type reader struct {
	b       []byte
	i       int
	counted int // bytes whose work is counted
	work    *yield.Work
}

// pause counts the work of what was read, once that is a step.
func (r *reader) pause() {
	if r.i-r.counted >= step {
		r.count()
	}
}

// count counts the work of what was read.
func (r *reader) count() {
	if r.work != nil {
		r.work.Did((r.i - r.counted) * byteNanos)
	}
	r.counted = r.i
}

// space passes over white space. It reports whether something follows.
func (r *reader) space() bool { return r.i < len(r.b) && r.b[r.i] > ' ' || r.spaces() }

func (r *reader) spaces() bool {
	for ; r.i < len(r.b) && isSpace(r.b[r.i]); r.i++ {
		r.pause()
	}
	return r.i < len(r.b)
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }
