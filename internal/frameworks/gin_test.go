package frameworks

import (
	"bytes"
	"context"
	"io"
	"iter"
	"net/http"
	"strings"
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
	panicBreaks:    "deadlines are not reached, gin's Hijack refuses once a body was written, and Recovery recovers from the panic",
	ownDeadlines:   "deadlines are not reached",
	refusal:        flushesOnlyFlushers,
	headersThrough: flushesOnlyFlushers,
	flushThrough:   flushesOnlyFlushers,
}

var (
	ginBreaks    = map[promise]string{headersThrough: flushesOnlyFlushers}
	ginGETBreaks = map[promise]string{headersThrough: flushesOnlyFlushers, headHeaders: routeForGET}
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

// Behind a writer of gin without Unwrap an error ends the handler's goroutine:
// deferred functions run, and find no panic, but what follows c.Next does not,
// as the log line of gin's Logger. Over HTTP/1 Hijack is possible before the
// first event, and Serve returns. Over HTTP/2 gin's Hijack, which panics there,
// is not called.
func TestGinErrorWithoutUnwrapEndsTheGoroutine(t *testing.T) {
	for name, data := range map[string][]string{"at once": nil, "after an event": {"1"}} {
		t.Run(name, func(t *testing.T) {
			each(t, ways, func(t *testing.T, y way) {
				type end struct {
					panicked any
					returned bool
					line     string
				}
				ended := make(chan end, 1)
				var line bytes.Buffer
				outermost := func(c *gin.Context) {
					returned := false
					defer func() { ended <- end{recover(), returned, line.String()} }()
					c.Next()
					returned = true
				}
				site := newSite(t, y, ginWith(gin.New, outermost, gin.LoggerWithWriter(&line), gin.Recovery(), ginBodyLog)(
					events(func(ctx context.Context) iter.Seq2[sse.Event, error] {
						return func(yield func(sse.Event, error) bool) {
							script(data...)(ctx)(yield)
							yield(sse.Event{}, io.ErrUnexpectedEOF)
						}
					}, nil)), nil)
				if res, cancel, err := site.do("GET", "/events"); err == nil {
					st := site.read(res, cancel)
					for _, d := range data {
						st.want(d)
					}
					if err := st.end(); err == nil {
						t.Error("a clean end")
					}
				}
				got := <-ended
				returns := len(data) == 0 && y.proto == "HTTP/1.1"
				if got.panicked != nil || got.returned != returns || (got.line != "") != returns {
					t.Errorf("%+v; want no panic, and a return and a line: %t", got, returns)
				}
			})
		})
	}
}

// Behind a writer of gin without Unwrap ServeOptions.WriteTimeout is without
// effect.
func TestGinWriteTimeoutNeedsUnwrap(t *testing.T) {
	for name, tt := range map[string]struct {
		log  gin.HandlerFunc
		ends bool
	}{
		"a body log with Unwrap":    {ginBodyLogUnwrap, true},
		"a body log without Unwrap": {ginBodyLog, false},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, bubbles, func(t *testing.T, y way) {
				ended := make(chan struct{})
				data := strings.Repeat("x", 1<<20)
				st := newSite(t, y, ginWith(gin.Default, tt.log)(events(func(context.Context) iter.Seq2[sse.Event, error] {
					return func(yield func(sse.Event, error) bool) {
						defer close(ended)
						for yield(sse.Event{Data: data}, nil) {
						}
					}
				}, nil)), nil).open()
				time.Sleep(time.Minute) // the client takes nothing; WriteTimeout is 10 seconds
				if closed(ended) != tt.ends {
					t.Errorf("the sequence has ended: %t", !tt.ends)
				}
				st.leave()
				<-ended
			})
		})
	}
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
