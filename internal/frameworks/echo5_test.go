package frameworks

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"
)

func mountEcho5(events http.Handler) http.Handler {
	e := echo.New()
	e.Use(middleware.RequestLogger(), middleware.Recover())
	e.GET("/events", echo.WrapHandler(events))
	return e
}

// mountEcho5Gzip compresses all but the stream.
func mountEcho5Gzip(events http.Handler) http.Handler {
	e := echo.New()
	e.Use(middleware.GzipWithConfig(middleware.GzipConfig{
		Skipper: func(c *echo.Context) bool { return c.Path() == "/events" },
	}))
	e.GET("/events", echo.WrapHandler(events))
	return e
}

// echo5ContextTimeout ends the request's context after a minute.
func echo5ContextTimeout(events http.Handler) http.Handler {
	return echo5With(middleware.ContextTimeout(time.Minute))(events)
}

// echo5With mounts for GET and HEAD, behind the middlewares. The handler
// returns the error of Serve.
func echo5With(middlewares ...echo.MiddlewareFunc) func(http.Handler) http.Handler {
	return func(events http.Handler) http.Handler {
		e := echo.New()
		e.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
		e.Use(middlewares...)
		e.Match([]string{http.MethodGet, http.MethodHead}, "/events", func(c *echo.Context) error {
			return serveResult(events, c.Response(), c.Request())
		})
		return e
	}
}

// echo5AutoHead lets echo answer HEAD with the route of GET.
func echo5AutoHead(events http.Handler) http.Handler {
	e := echo.NewWithConfig(echo.Config{Router: echo.NewRouter(echo.RouterConfig{AutoHandleHEAD: true})})
	e.GET("/events", echo.WrapHandler(events))
	return e
}

func ignoreBody5(*echo.Context, []byte, []byte, error) {}

var echo5Stacks = []stack{
	{name: "echo v5", mount: echo5With()},
	{name: "echo v5: RequestLogger, Recover", mount: mountEcho5, breaks: onlyGET},
	{name: "echo v5: RequestLogger, Recover, with the error returned", mount: echo5With(middleware.RequestLogger(), middleware.Recover())},
	{name: "echo v5: CORS, Secure, RequestID, BodyLimit, RemoveTrailingSlash", mount: echo5With(middleware.CORS("https://page.example"),
		middleware.Secure(), middleware.RequestID(), middleware.BodyLimit(1<<20), middleware.RemoveTrailingSlash())},
	{name: "echo v5: Gzip", mount: echo5With(middleware.Gzip()), compresses: true},
	{name: "echo v5: Gzip, MinLength", mount: echo5With(middleware.GzipWithConfig(middleware.GzipConfig{MinLength: 1024})), compresses: true},
	{name: "echo v5: Gzip, not of the stream", mount: mountEcho5Gzip, breaks: onlyGET},
	{name: "echo v5: BodyDump", mount: echo5With(middleware.BodyDump(ignoreBody5))},
	{name: "echo v5: ContextTimeout", mount: echo5With(middleware.ContextTimeout(time.Hour))},
	{name: "echo v5: AutoHandleHEAD", mount: echo5AutoHead},
	{name: "echo v5: all of them", mount: echo5With(middleware.RequestLogger(), middleware.Recover(), middleware.CORS("https://page.example"),
		middleware.Secure(), middleware.RequestID(), middleware.Gzip(), middleware.BodyDump(ignoreBody5),
		middleware.ContextTimeout(time.Hour)), compresses: true},
}

// The headers that a Before function sets are those of the response.
func TestEcho5BeforeComesBeforeTheHeaders(t *testing.T) {
	before := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			res, err := echo.UnwrapResponse(c.Response())
			if err != nil {
				return err
			}
			res.Before(func() { res.Header().Set("X-Before", "yes") })
			return next(c)
		}
	}
	each(t, ways, func(t *testing.T, y way) {
		st := newSite(t, y, echo5With(before)(events(script("1"), nil)), nil).open()
		if st.Header.Get("X-Before") != "yes" {
			t.Errorf("headers %v", st.Header)
		}
		st.want("1")
	})
}

// BodyDump keeps 5 MB of the stream in memory until it ends.
func TestEcho5BodyDumpKeepsTheStream(t *testing.T) {
	var dumped int
	dump := middleware.BodyDump(func(_ *echo.Context, _, b []byte, _ error) { dumped = len(b) })
	data := slices.Repeat([]string{strings.Repeat("x", 100_000)}, 60)
	w := httptest.NewRecorder()
	echo5With(dump)(events(script(data...), nil)).ServeHTTP(w, httptest.NewRequest("GET", "/events", nil))
	if dumped != 5<<20 {
		t.Errorf("%d bytes of %d are kept", dumped, w.Body.Len())
	}
}
