package frameworks

import (
	"bytes"
	"net/http"

	"github.com/gin-contrib/cors"
	"github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"
)

func mountGin(events http.Handler) http.Handler {
	r := gin.Default()
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
	c.Writer = &bodyLogWriter{ResponseWriter: c.Writer}
	c.Next()
}

type bodyLogWriter struct {
	gin.ResponseWriter
	body bytes.Buffer
}

func (w *bodyLogWriter) Write(b []byte) (int, error) {
	w.body.Write(b)
	return w.ResponseWriter.Write(b)
}

// noUnwrap is what goes wrong behind a writer that embeds gin's without Unwrap.
var noUnwrap = map[promise]string{
	brokenOff:    "neither deadlines nor, once a body was written, Hijack are reached, and gin.Recovery recovers from http.ErrAbortHandler",
	panicBreaks:  "as for an error",
	ownDeadlines: "deadlines are not reached",
	refusal:      "gin's Flush is one whether or not the writer below has one",
}

var ginStacks = []stack{
	{name: "gin", mount: ginWith(gin.New)},
	{name: "gin: Default", mount: mountGin, breaks: map[promise]string{
		headHeaders: "the route is for GET",
	}},
	{name: "gin: Default, cors", mount: ginWith(gin.Default, cors.Default())},
	{name: "gin: Default, gzip", mount: ginWith(gin.Default, gzip.Gzip(gzip.DefaultCompression)), compresses: true, breaks: noUnwrap},
	{name: "gin: Default, a body log without Unwrap", mount: ginWith(gin.Default, ginBodyLog), breaks: noUnwrap},
}
