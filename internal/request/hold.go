package request

import (
	"math/rand/v2"
	"strconv"

	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/yield"
)

// uncounted is how many bytes of a body are not counted: a connection costs more than that
// anyway. So no budget refuses a short message.
const uncounted = 4 << 10

// A Hold is what one request has of the budgets for bodies: of that for small ones, until it
// needs more than [budget.SmallBody]. One goroutine uses it.
type Hold struct {
	Work yield.Work // what is done with the body

	budgets      *budget.Budgets
	small, large budget.Claim
	n            int
}

// NewHold returns a Hold of nothing. The caller releases it.
func NewHold(b *budget.Budgets) Hold {
	return Hold{Work: yield.In(b.Bodies), budgets: b, small: b.SmallBodies.Claim(), large: b.LargeBodies.Claim()}
}

// Grow has the Hold hold n bytes in all. Otherwise it returns how the request is refused.
func (h *Hold) Grow(n int) error {
	more := n - max(h.n, uncounted)
	if more <= 0 {
		return nil
	}
	if err := h.fits(n); err != nil {
		return err
	}
	smallest := h.budgets.SmallBodies.Share()
	switch {
	case n <= smallest && h.small.Grow(more):
	case n > smallest && h.n > smallest && h.large.Grow(more):
	case n > smallest && h.n <= smallest && h.large.Grow(n-uncounted):
		h.small.Release()
	default:
		return busy()
	}
	h.n = n
	return nil
}

// fits refuses a body that is too large for the budget, however little others have of it.
func (h *Hold) fits(n int) error {
	large := &h.budgets.LargeBodies
	if n <= h.budgets.SmallBodies.Share() || n <= large.Share() {
		return nil
	}
	large.Refuse()
	return problem.BodyTooLarge.Withf("The server holds up to %d bytes of a request, and this one needs more. Send less at a time.", large.Share())
}

func busy() error {
	const soonest, spread = 1, 3 // seconds
	return problem.Unavailable.With("The server holds as many bodies of requests as it takes. It has stored nothing of this one. Send it again in a moment, or less at a time.").
		Set("Retry-After", strconv.Itoa(soonest+rand.N(spread)))
}

// Shrink gives all but n bytes back.
func (h *Hold) Shrink(n int) {
	if n >= h.n {
		return
	}
	h.small.Shrink(max(0, n-uncounted))
	h.large.Shrink(max(0, n-uncounted))
	h.n = n
}

// Release gives everything back.
func (h *Hold) Release() {
	h.small.Release()
	h.large.Release()
	h.n = 0
}
