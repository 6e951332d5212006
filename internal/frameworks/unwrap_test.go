package frameworks

import (
	"net/http"
	"testing"
	"testing/synctest"

	"example.com/tidings/sse"
)

// Events are not held back where a writer below a middleware's has Unwrap and
// no Flush, as net/http asks of writers since http.ResponseController.
func TestFlushPassesAWriterWithOnlyUnwrap(t *testing.T) {
	for _, s := range stacks() {
		t.Run(s.name, func(t *testing.T) {
			each(t, bubbles, func(t *testing.T, y way) {
				site := newSite(t, y, onlyUnwrap(s.mount(events(waiting("1"), &sse.ServeOptions{KeepAlive: -1}))), nil)
				got := make(chan string, 1)
				go func() {
					if res, cancel, err := site.do("GET", "/events"); err == nil {
						ev, _, _ := site.read(res, cancel).next()
						got <- ev.Data
					}
				}()
				synctest.Wait()
				s.check(t, y, flushThrough, len(got) == 1, "the event is held back")
			})
		})
	}
}

// onlyUnwrap puts a writer that has Unwrap and nothing else before the one of
// the server.
func onlyUnwrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&unwrapWriter{w}, r)
	})
}

type unwrapWriter struct{ http.ResponseWriter }

func (w *unwrapWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
