package hub_test

import (
	"testing"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/hub/logtest"
)

func TestMemoryLog(t *testing.T) {
	logtest.Run(t, logtest.Kit{
		Open: func(*testing.T) hub.Log { return hub.NewMemoryLog(nil) },
		OpenSmall: func(_ *testing.T, maxBytes int64, maxAge time.Duration) hub.Log {
			return hub.NewMemoryLog(&hub.MemoryOptions{MaxBytes: int(maxBytes), MaxAge: maxAge})
		},
	})
}
