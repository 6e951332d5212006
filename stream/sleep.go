package stream

import (
	"context"
	"time"
)

// Sleep waits for d, or until ctx is done. It returns nil after d, and
// [context.Cause] of ctx if ctx was done first. If ctx is already done, Sleep
// returns the cause at once, whatever d is. Otherwise, if d is not positive, it
// returns nil at once.
//
// In a sequence, use Sleep in place of [time.Sleep]. A sequence that uses
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
