package jsonscan

import (
	"strings"

	"example.com/tidings/internal/yield"
)

// MaxDepth is how deeply arrays and objects may stand inside one another, as in encoding/json.
const MaxDepth = 10_000

// NestedTooDeeply says what is wrong with a text that is [Deep].
const NestedTooDeeply = "the JSON is nested too deeply: there may be up to 10,000 arrays and objects inside one another"

// A Fault is why a text is not JSON.
type Fault int

const (
	None  Fault = iota
	Early       // the text ends too early
	Char        // a character cannot stand where it does
	Deep        // arrays and objects are nested too deeply
)

// Check returns whether a text is one JSON value, as json.Valid does, and at which byte it is not. It
// does not look for invalid UTF-8.
func Check(text []byte, work *yield.Work) (offset int, fault Fault) {
	c := checker{reader: reader{b: text, work: work}}
	var few [2]uint64
	c.open = few[:]
	fault = c.check()
	c.count()
	return c.i, fault
}

// A checker is a reader that stops at what cannot stand in JSON.
type checker struct {
	reader
	depth int
	open  []uint64 // a bit for each array or object that is open: 1 for an object
}

// check reads one value and the white space around it.
func (c *checker) check() Fault {
	for {
		opened, fault := c.begin()
		for fault == None && !opened {
			if !c.space() {
				if c.depth > 0 {
					return Early
				}
				return None
			}
			opened, fault = c.next()
		}
		if fault != None {
			return fault
		}
	}
}

// begin reads a value, or the beginning of an array or object that is not empty. It then reports that
// a value follows.
func (c *checker) begin() (follows bool, fault Fault) {
	if !c.space() {
		return false, Early
	}
	c.pause()
	switch b := c.b[c.i]; b {
	case '{', '[':
		return c.enter(b)
	case '"':
		return false, c.str()
	case 't':
		return false, c.word("true")
	case 'f':
		return false, c.word("false")
	case 'n':
		return false, c.word("null")
	}
	return false, c.number()
}

// enter reads the beginning of an array or object.
func (c *checker) enter(opening byte) (follows bool, fault Fault) {
	if c.depth == MaxDepth {
		return false, Deep
	}
	c.i++
	if !c.space() {
		return false, Early
	}
	if c.b[c.i] == opening+2 { // the closing bracket, in ASCII
		c.i++
		return false, None
	}
	bit := uint64(1) << (c.depth % 64)
	if c.depth/64 == len(c.open) {
		c.open = append(c.open, 0)
	}
	if opening == '{' {
		c.open[c.depth/64] |= bit
		fault = c.name()
	} else {
		c.open[c.depth/64] &^= bit
	}
	c.depth++
	return true, fault
}

// next reads what follows a value: the end of the array or object, or a comma, after which another value follows.
func (c *checker) next() (follows bool, fault Fault) {
	if c.depth == 0 {
		return false, Char
	}
	c.pause()
	object := c.open[(c.depth-1)/64]>>((c.depth-1)%64)&1 == 1
	closing := byte(']')
	if object {
		closing = '}'
	}
	switch c.b[c.i] {
	case closing:
		c.i++
		c.depth--
		return false, None
	case ',':
		c.i++
		if object {
			fault = c.name()
		}
		return true, fault
	}
	return false, Char
}

// name reads the name of a field, and the colon.
func (c *checker) name() Fault {
	if !c.space() {
		return Early
	}
	if c.b[c.i] != '"' {
		return Char
	}
	if fault := c.str(); fault != None {
		return fault
	}
	if !c.space() {
		return Early
	}
	if c.b[c.i] != ':' {
		return Char
	}
	c.i++
	return None
}

// str reads a string.
func (c *checker) str() Fault {
	for c.i++; ; {
		n := 0
		for part := c.b[c.i:min(len(c.b), c.i+step)]; n < len(part) && part[n] >= ' ' && part[n] != '"' && part[n] != '\\'; {
			n++
		}
		c.i += n
		c.pause()
		if c.i == len(c.b) {
			return Early
		}
		switch b := c.b[c.i]; {
		case b == '"':
			c.i++
			return None
		case b == '\\':
			if fault := c.escape(); fault != None {
				return fault
			}
		case b < ' ':
			return Char
		}
	}
}

// escape reads an escape in a string.
func (c *checker) escape() Fault {
	c.i++
	switch {
	case c.i == len(c.b):
		return Early
	case strings.IndexByte(`"\/bfnrtu`, c.b[c.i]) < 0:
		return Char
	}
	digits := 0
	if c.b[c.i] == 'u' {
		digits = 4
	}
	for c.i++; digits > 0; digits-- {
		if c.i == len(c.b) {
			return Early
		}
		if _, ok := hexDigit(c.b[c.i]); !ok {
			return Char
		}
		c.i++
	}
	return None
}

// word reads a word.
func (c *checker) word(word string) Fault {
	for k := range len(word) {
		if c.i == len(c.b) {
			return Early
		}
		if c.b[c.i] != word[k] {
			return Char
		}
		c.i++
	}
	return None
}

// number reads a number.
func (c *checker) number() Fault {
	if c.b[c.i] == '-' {
		c.i++
	}
	whole := c.i
	if fault := c.digits(); fault != None {
		return fault
	}
	if c.b[whole] == '0' {
		c.i = whole + 1 // what follows is for the caller to refuse
	}
	if c.at('.') {
		c.i++
		if fault := c.digits(); fault != None {
			return fault
		}
	}
	if c.at('e') || c.at('E') {
		c.i++
		if c.at('+') || c.at('-') {
			c.i++
		}
		return c.digits()
	}
	return None
}

// digits reads digits, at least one.
func (c *checker) digits() Fault {
	begin := c.i
	for ; c.i < len(c.b) && '0' <= c.b[c.i] && c.b[c.i] <= '9'; c.i++ {
		c.pause()
	}
	switch {
	case c.i > begin:
		return None
	case c.i == len(c.b):
		return Early
	}
	return Char
}

// at reports whether the next byte is b.
func (c *checker) at(b byte) bool { return c.i < len(c.b) && c.b[c.i] == b }
