package frameworks

import (
	"context"
	"iter"
	"net/http"
	"testing"
	"time"

	"example.com/tidings/sse"
)

// A middleware that ends the request's context ends the stream, cleanly when
// the sequence just returns, and nothing is added to it.
func TestContextTimeoutEndsTheStream(t *testing.T) {
	for name, mount := range map[string]func(http.Handler) http.Handler{
		"chi: Timeout":            chiTimeout,
		"echo v4: ContextTimeout": echo4ContextTimeout,
		"echo v5: ContextTimeout": echo5ContextTimeout,
	} {
		for when, tt := range map[string]struct {
			data []string
			want string
		}{
			"before the first event": {nil, ""},
			"after an event":         {[]string{"1"}, "data: 1\n\n"},
		} {
			t.Run(name+", "+when, func(t *testing.T) {
				each(t, bubbles, func(t *testing.T, y way) {
					begin := time.Now()
					site := newSite(t, y, mount(events(waiting(tt.data...), &sse.ServeOptions{KeepAlive: -1})), nil)
					res, _, err := site.do("GET", "/events")
					if err != nil {
						t.Fatal(err)
					}
					if got := body(t, res); got != tt.want {
						t.Errorf("body %q; want %q", got, tt.want)
					}
					if d := time.Since(begin); d != time.Minute {
						t.Errorf("the stream ended after %v", d)
					}
				})
			})
		}
	}
}

// waiting is a sequence of events with the given data that then waits for the
// end of its context.
func waiting(data ...string) func(context.Context) iter.Seq2[sse.Event, error] {
	return func(ctx context.Context) iter.Seq2[sse.Event, error] {
		return func(yield func(sse.Event, error) bool) {
			script(data...)(ctx)(yield)
			<-ctx.Done()
		}
	}
}
