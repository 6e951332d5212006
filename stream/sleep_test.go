package stream_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/stream"
)

func TestSleep(t *testing.T) {
	errCause := errors.New("the cause")
	never := time.Duration(-1)
	tests := []struct {
		rule string
		d    time.Duration
		done time.Duration // when the context is done
		want error
		took time.Duration
	}{
		{"nil after d", time.Second, never, nil, time.Second},
		{"nil after d, when the context is done later", time.Second, time.Minute, nil, time.Second},
		{"the cause when the context is done first", time.Minute, time.Second, errCause, time.Second},
		{"the cause at once when it is done already", time.Minute, 0, errCause, 0},
		{"the cause at once for a zero time too", 0, 0, errCause, 0},
		{"the cause at once for a negative time too", -time.Second, 0, errCause, 0},
		{"a zero time does not wait", 0, never, nil, 0},
		{"a negative time does not wait", -time.Second, never, nil, 0},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				switch {
				case test.done == 0:
					cancel(errCause)
				case test.done > 0:
					defer time.AfterFunc(test.done, func() { cancel(errCause) }).Stop()
				}
				begin := time.Now()
				err := stream.Sleep(ctx, test.d)
				if err != test.want {
					t.Errorf("Sleep returned %v, want %v", err, test.want)
				}
				if took := time.Since(begin); took != test.took {
					t.Errorf("Sleep took %v, want %v", took, test.took)
				}
			})
		})
	}
}

// If a context has no cause of its own, Sleep returns its plain error.
func TestSleepWithoutCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := stream.Sleep(ctx, time.Minute); err != context.DeadlineExceeded {
			t.Errorf("Sleep returned %v, want %v", err, context.DeadlineExceeded)
		}
	})
}
