package frameworks

import (
	"bytes"
	"context"
	"io"
	"iter"
	"net/http"
	"testing"
	"time"

	"example.com/tidings/sse"
	"github.com/gin-contrib/cors"
	"github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"
)

func mountGin(events http.Handler) http.Handler {
	r := gin.Default()
	r.GET("/events", gin.WrapH(events))
	return r
}

// mountGinRooms hands gin's path parameters to the handler.
func mountGinRooms(events http.Handler) http.Handler {
	r := gin.Default()
	r.GET("/rooms/:room/events", func(c *gin.Context) {
		c.Request.SetPathValue("room", c.Param("room"))
		events.ServeHTTP(c.Writer, c.Request)
	})
	return r
}

// mountGinGzip compresses all but the stream.
func mountGinGzip(events http.Handler) http.Handler {
	r := gin.Default()
	r.Use(gzip.Gzip(gzip.DefaultCompression, gzip.WithExcludedPaths([]string{"/events"})))
	r.GET("/events", gin.WrapH(events))
	return r
}

// ginWith mounts for GET and HEAD, behind the middlewares.
func ginWith(engine func(...gin.OptionFunc) *gin.Engine, middlewares ...gin.HandlerFunc) func(http.Handler) http.Handler {
	return func(events http.Handler) http.Handler {
		r := engine()
		r.Use(middlewares...)
		r.Match([]string{http.MethodGet, http.MethodHead}, "/events", func(c *gin.Context) {
			if err := serveResult(events, c.Writer, c.Request); err != nil {
				_ = c.Error(err)
			}
		})
		return r
	}
}

// ginBodyLog is the middleware that is copied from answer to answer: a writer
// that embeds gin's and so has no Unwrap.
func ginBodyLog(c *gin.Context) {
	c.Writer = &noUnwrapWriter{ResponseWriter: c.Writer}
	c.Next()
}

type noUnwrapWriter struct {
	gin.ResponseWriter
	body bytes.Buffer
}

func (w *noUnwrapWriter) Write(b []byte) (int, error) {
	w.body.Write(b)
	return w.ResponseWriter.Write(b)
}

// ginBodyLogUnwrap is the same with the method that is missing.
func ginBodyLogUnwrap(c *gin.Context) {
	c.Writer = &bodyLogWriter{noUnwrapWriter{ResponseWriter: c.Writer}}
	c.Next()
}

type bodyLogWriter struct{ noUnwrapWriter }

func (w *bodyLogWriter) Unwrap() http.ResponseWriter {
	return w.ResponseWriter
}

// noUnwrap is what goes wrong behind a writer that embeds gin's without Unwrap.
var noUnwrap = map[promise]string{
	brokenOff:    "deadlines are not reached, gin's Hijack refuses once a body was written, and Recovery recovers even from http.ErrAbortHandler",
	panicBreaks:  "deadlines are not reached, gin's Hijack refuses once a body was written, and Recovery recovers even from http.ErrAbortHandler",
	ownDeadlines: "deadlines are not reached",
	refusal:      flushesOnlyFlushers,
	flushThrough: flushesOnlyFlushers,
}

var (
	ginBreaks    = map[promise]string{flushThrough: flushesOnlyFlushers}
	ginGETBreaks = map[promise]string{flushThrough: flushesOnlyFlushers, headHeaders: routeForGET}
)

var ginStacks = []stack{
	{name: "gin", mount: ginWith(gin.New), breaks: ginBreaks},
	{name: "gin: Default", mount: mountGin, breaks: ginGETBreaks},
	{name: "gin: Default, cors", mount: ginWith(gin.Default, cors.Default()), breaks: ginBreaks},
	{name: "gin: Default, gzip", mount: ginWith(gin.Default, gzip.Gzip(gzip.DefaultCompression)), compresses: true, breaks: ginBreaks, breaksGzip: noUnwrap},
	{name: "gin: Default, gzip, not of the stream", mount: mountGinGzip, breaks: ginGETBreaks},
	{name: "gin: Default, a body log with Unwrap", mount: ginWith(gin.Default, ginBodyLogUnwrap), breaks: ginBreaks},
	{name: "gin: Default, a body log without Unwrap", mount: ginWith(gin.Default, ginBodyLog), breaks: noUnwrap},
}

// Behind a writer of gin without Unwrap Serve has no better way to break a
// response off than to panic, but with nothing else than http.ErrAbortHandler:
// gin's Hijack, the way before that one, itself panics over HTTP/2.
func TestGinHijackIsNotMetOverHTTP2(t *testing.T) {
	each(t, ways, func(t *testing.T, y way) {
		recovered := make(chan any, 1)
		site := newSite(t, y, ginWith(gin.New, func(c *gin.Context) {
			defer func() {
				v := recover()
				recovered <- v
				if v != nil {
					panic(http.ErrAbortHandler)
				}
			}()
			c.Next()
		}, ginBodyLog)(events(func(context.Context) iter.Seq2[sse.Event, error] {
			return func(yield func(sse.Event, error) bool) { yield(sse.Event{}, io.ErrUnexpectedEOF) }
		}, nil)), nil)
		if res, cancel, err := site.do("GET", "/events"); err == nil {
			if err := site.read(res, cancel).end(); err == nil {
				t.Error("a clean end")
			}
		}
		if v := <-recovered; v != nil && v != http.ErrAbortHandler {
			t.Errorf("panic: %v", v)
		}
	})
}

// A writer that embeds gin's and keeps header and body for itself, as those of
// gin's timeout middlewares, passes Flush on all the same: the headers go out
// without those of the stream, and the events when all is over. Nothing tells
// Serve.
func TestGinBufferHoldsTheStream(t *testing.T) {
	buffer := func(c *gin.Context) {
		w := &bufferWriter{ResponseWriter: c.Writer, header: http.Header{}}
		c.Writer = w
		c.Next()
		_, _ = w.ResponseWriter.Write(w.body.Bytes())
	}
	each(t, bubbles, func(t *testing.T, y way) {
		st := newSite(t, y, ginWith(gin.New, buffer)(events(paced(time.Second, "1", "2"), nil)), nil).open()
		if ct := st.Header.Get("Content-Type"); ct == "text/event-stream" {
			t.Errorf("Content-Type %q", ct)
		}
		begin := time.Now()
		st.want("1")
		if d := time.Since(begin); d != 2*time.Second {
			t.Errorf("the first event came after %v", d)
		}
		st.want("2")
	})
}

type bufferWriter struct {
	gin.ResponseWriter
	header http.Header
	body   bytes.Buffer
}

func (w *bufferWriter) Header() http.Header         { return w.header }
func (w *bufferWriter) Write(b []byte) (int, error) { return w.body.Write(b) }
