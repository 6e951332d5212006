package httpapi_test

import (
	"context"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// Each answer to a request with a key says for how long that makes retries safe, also the one
// that does not know what became of the message. Other answers do not.
func TestIdempotencyWindow(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		log := eventlog.NewMemory(&eventlog.MemoryOptions{DedupWindow: 90*time.Second + time.Second/2})
		s := serve(t, setting{h2: h2, log: log})
		const plain, keyed = `{"topic":"a","data":1}` + "\n", `{"topic":"a","data":2,"key":"k-2"}` + "\n"
		for _, tt := range []struct {
			name   string
			answer func() reply
			status int
			want   string
		}{
			{"a message without a key", func() reply { return s.send(t, "POST", "/topics/a", "x") }, 201, ""},
			{"a message with a key", func() reply { return s.send(t, "POST", "/topics/a", "x", "Idempotency-Key", "k-1") }, 201, "90"},
			{"a repeat", func() reply { return s.send(t, "POST", "/topics/a", "x", "Idempotency-Key", "k-1") }, 200, "90"},
			{"another message", func() reply { return s.send(t, "POST", "/topics/a", "y", "Idempotency-Key", "k-1") }, 422, "90"},
			{"a batch without keys", func() reply { return s.batch(t, plain+plain) }, 200, ""},
			{"a batch with a key", func() reply { return s.batch(t, plain+keyed) }, 200, "90"},
		} {
			r := tt.answer()
			if got := r.header.Get("Idempotency-Window"); r.status != tt.status || got != tt.want {
				t.Errorf("%s: %d with the window %q, want %d with %q", tt.name, r.status, got, tt.status, tt.want)
			}
		}
		silent := serve(t, setting{h2: h2, log: &faultyLog{Log: log, waits: true}})
		if r := silent.send(t, "POST", "/topics/a", "z", "Idempotency-Key", "k-3"); r.status != 503 || r.header.Get("Idempotency-Window") != "90" {
			t.Errorf("a message of which nothing is known: %d with the window %q", r.status, r.header.Get("Idempotency-Window"))
		}
		windowless := serve(t, setting{h2: h2, log: windowlessLog{eventlog.NewMemory(nil)}})
		r := windowless.send(t, "POST", "/topics/a", "z", "Idempotency-Key", "k-3")
		if got, ok := r.header["Idempotency-Window"]; r.status != 201 || ok {
			t.Errorf("a log that does not say: %d with the window %q", r.status, got)
		}
	})
}

// A windowlessLog does not say how long it remembers keys.
type windowlessLog struct{ eventlog.Log }

func (l windowlessLog) State(ctx context.Context) (eventlog.State, error) {
	state, err := l.Log.State(ctx)
	state.KeyWindow = 0
	return state, err
}
