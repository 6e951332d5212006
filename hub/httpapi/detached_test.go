package httpapi_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/hub/httpapi"
)

// What a log may rely on in the context of a publish.
func TestContextOfPublish(t *testing.T) {
	type key struct{}
	const timeout = 10*time.Second + 5*time.Millisecond // of two messages
	ended := func(ctx context.Context) bool {
		select {
		case <-ctx.Done():
			return true
		default:
			return false
		}
	}
	for _, tt := range []struct {
		rule string
		do   func(ctx context.Context, hangUp, cancel func())
		want error
	}{
		{"it outlives the request", func(_ context.Context, hangUp, _ func()) { hangUp() }, nil},
		{"and its deadline is not early", func(context.Context, func(), func()) { time.Sleep(timeout - 1) }, nil},
		{"it ends at its deadline, if nobody waits", func(context.Context, func(), func()) { time.Sleep(timeout) }, context.DeadlineExceeded},
		{"and if somebody does", func(ctx context.Context, _, _ func()) { <-ctx.Done() }, context.DeadlineExceeded},
		{"it ends when the request is answered, if nobody waits", func(_ context.Context, _, cancel func()) { cancel() }, context.Canceled},
		{"and if somebody does", func(ctx context.Context, _, cancel func()) { ctx.Done(); cancel() }, context.Canceled},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				request, hangUp := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
				defer hangUp()
				ctx, cancel := httpapi.Detach(httptest.NewRequestWithContext(request, "POST", "/batch", nil), 2)
				defer cancel()
				if at, ok := ctx.Deadline(); !ok || time.Until(at) != timeout {
					t.Errorf("the deadline is in %v, %v", time.Until(at), ok)
				}
				if ctx.Value(key{}) != "value" {
					t.Error("the request's values are gone")
				}
				tt.do(ctx, hangUp, cancel)
				if err := ctx.Err(); !errors.Is(err, tt.want) {
					t.Errorf("Err: %v, want %v", err, tt.want)
				}
				child, stop := context.WithCancel(ctx)
				defer stop()
				synctest.Wait()
				if got := ended(ctx); got != (tt.want != nil) || ended(child) != got {
					t.Errorf("it has ended: %v, and a context derived from it: %v", got, ended(child))
				}
			})
		})
	}
}
