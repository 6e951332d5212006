package frameworks

import (
	"context"
	"iter"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/sse"
)

// Neither headers nor events are held back where a writer below a middleware's
// has Unwrap and no Flush, as net/http asks of writers since
// http.ResponseController.
func TestFlushPassesAWriterWithOnlyUnwrap(t *testing.T) {
	for _, s := range stacks() {
		t.Run(s.name, func(t *testing.T) {
			each(t, bubbles, func(t *testing.T, y way) {
				next := make(chan struct{})
				site := newSite(t, y, onlyUnwrap(s.mount(events(func(ctx context.Context) iter.Seq2[sse.Event, error] {
					return func(yield func(sse.Event, error) bool) {
						<-next
						waiting("1")(ctx)(yield)
					}
				}, &sse.ServeOptions{KeepAlive: time.Minute}))), nil)
				opened, got := make(chan struct{}), make(chan string, 1)
				go func() {
					if res, cancel, err := site.do("GET", "/events"); err == nil {
						close(opened)
						ev, _, _ := site.read(res, cancel).next()
						got <- ev.Data
					}
				}()
				synctest.Wait()
				s.check(t, y, headersThrough, closed(opened), "no headers while the sequence waits")
				time.Sleep(time.Minute)
				synctest.Wait()
				s.check(t, y, flushThrough, closed(opened), "the keep-alive is held back")
				close(next)
				synctest.Wait()
				s.check(t, y, flushThrough, len(got) == 1, "the event is held back")
			})
		})
	}
}

func closed(ch chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
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
