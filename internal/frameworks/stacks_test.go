package frameworks

import (
	"context"
	"io"
	"iter"
	"log"
	"log/slog"
	"net/http"
	"os"
	"testing"

	"example.com/tidings/sse"
	"github.com/gin-gonic/gin"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultWriter, gin.DefaultErrorWriter = io.Discard, io.Discard
	chimiddleware.DefaultLogger = chimiddleware.RequestLogger(&chimiddleware.DefaultLogFormatter{Logger: log.New(io.Discard, "", 0)})
	os.Exit(m.Run())
}

// A promise is one of package sse that a framework may break.
type promise string

const (
	headersFirst promise = "the headers go out before the first event"
	brokenOff    promise = "an error breaks the response"
	panicBreaks  promise = "a panic breaks the response"
	ownDeadlines promise = "a stream outlives http.Server.WriteTimeout"
	refusal      promise = "a writer that cannot flush is answered with a 500"
	headHeaders  promise = "HEAD is answered with the headers of GET"

	// Those of a writer below the stack that has Unwrap and no Flush.
	headersThrough promise = "the headers pass a writer with only Unwrap before the first event"
	flushThrough   promise = "events pass a writer with only Unwrap one by one"
)

// A stack is a framework with some of its middlewares.
type stack struct {
	name string

	// mount serves GET and HEAD of /events with the handler, which is a
	// serveFunc where the framework takes errors.
	mount func(http.Handler) http.Handler

	// compresses says that the stack compresses event streams.
	compresses bool

	// breaks holds what the stack makes impossible, and why; breaksGzip what it
	// does for a client that accepts gzip. A test fails when it has become
	// possible.
	breaks, breaksGzip map[promise]string
}

// onlyGET is what a stack breaks whose route is for GET alone, as most are.
var onlyGET = map[promise]string{headHeaders: routeForGET}

const (
	routeForGET         = "the route is for GET"
	flushesOnlyFlushers = "Flush flushes the writer below only if that has Flush itself, and cannot say that it did not"
)

func stacks() []stack {
	var all []stack
	for _, s := range [][]stack{netHTTPStacks, chiStacks, ginStacks, echo4Stacks, echo5Stacks} {
		all = append(all, s...)
	}
	return all
}

// broken returns why a promise is not kept, or "".
func (s stack) broken(p promise, y way) string {
	if why := s.breaks[p]; why != "" || y.accept != "gzip" {
		return why
	}
	return s.breaksGzip[p]
}

// compressed reports whether event streams are compressed.
func (s stack) compressed(y way) bool { return s.compresses && y.accept == "gzip" }

// check reports whether a promise was kept, and fails the test if that is not
// what the stack says.
func (s stack) check(t *testing.T, y way, p promise, kept bool, found any) {
	t.Helper()
	switch why := s.broken(p, y); {
	case kept && why != "":
		t.Errorf("%s, though it is listed as impossible (%s): take it from the list, and from docs/frameworks.md", p, why)
	case !kept && why == "":
		t.Errorf("not kept: %s: %v", p, found)
	}
}

// eachStack runs f for each stack and each of the given ways.
func eachStack(t *testing.T, ys []way, f func(*testing.T, stack, way)) {
	for _, s := range stacks() {
		t.Run(s.name, func(t *testing.T) {
			each(t, ys, func(t *testing.T, y way) { f(t, s, y) })
		})
	}
}

// A serveFunc is a handler with the result of sse.Serve, which ServeHTTP ignores.
type serveFunc func(http.ResponseWriter, *http.Request) error

func (f serveFunc) ServeHTTP(w http.ResponseWriter, r *http.Request) { _ = f(w, r) }

// serveResult returns the result of a handler that has one, to be handed to a
// framework that takes errors.
func serveResult(h http.Handler, w http.ResponseWriter, r *http.Request) error {
	if f, ok := h.(serveFunc); ok {
		return f(w, r)
	}
	h.ServeHTTP(w, r)
	return nil
}

// events makes a handler of a sequence, with Serve.
func events(seq func(context.Context) iter.Seq2[sse.Event, error], opts *sse.ServeOptions) serveFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		return sse.Serve(w, r, seq(r.Context()), opts)
	}
}

// handled makes a handler of a sequence, with Handler.
func handled(seq func(context.Context) iter.Seq2[sse.Event, error]) http.Handler {
	return sse.Handler(func(r *http.Request) (iter.Seq2[sse.Event, error], error) {
		return seq(r.Context()), nil
	}, &sse.ServeOptions{Logger: slog.New(slog.DiscardHandler)})
}

// script is a sequence of events with the given data.
func script(data ...string) func(context.Context) iter.Seq2[sse.Event, error] {
	return func(context.Context) iter.Seq2[sse.Event, error] {
		return func(yield func(sse.Event, error) bool) {
			for _, d := range data {
				if !yield(sse.Event{Data: d}, nil) {
					return
				}
			}
		}
	}
}
