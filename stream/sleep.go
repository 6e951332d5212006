package stream

import (
	"context"
	"time"
)

// Sleep waits for d, or until ctx is done. It returns nil after d, and
// [context.Cause] of ctx when that was done first. If ctx is done already it
// returns at once, whatever d is; otherwise a d that is not positive returns
// nil at once.
//
// It is for sequences what [time.Sleep] is for other functions: one that uses
// time.Sleep holds its goroutine after its client has left.
func Sleep(ctx context.Context, d time.Duration) error {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx) // nil unless ctx is done
}
