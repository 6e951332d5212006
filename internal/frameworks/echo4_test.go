package frameworks

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

func mountEcho4(events http.Handler) http.Handler {
	e := echo.New()
	e.Use(middleware.Logger(), middleware.Recover())
	e.GET("/events", echo.WrapHandler(events))
	return e
}

// mountEcho4Rooms hands echo's path parameters to the handler.
func mountEcho4Rooms(events http.Handler) http.Handler {
	e := echo.New()
	e.GET("/rooms/:room/events", func(c echo.Context) error {
		c.Request().SetPathValue("room", c.Param("room"))
		events.ServeHTTP(c.Response(), c.Request())
		return nil
	})
	return e
}

// mountEcho4Gzip compresses all but the stream.
func mountEcho4Gzip(events http.Handler) http.Handler {
	e := echo.New()
	e.Use(middleware.GzipWithConfig(middleware.GzipConfig{
		Skipper: func(c echo.Context) bool { return c.Path() == "/events" },
	}))
	e.GET("/events", echo.WrapHandler(events))
	return e
}

// echo4ContextTimeout ends the request's context after a minute.
func echo4ContextTimeout(events http.Handler) http.Handler {
	return echo4With(middleware.ContextTimeout(time.Minute))(events)
}

// echo4With mounts for GET and HEAD, behind the middlewares. The handler
// returns the error of Serve.
func echo4With(middlewares ...echo.MiddlewareFunc) func(http.Handler) http.Handler {
	return func(events http.Handler) http.Handler {
		e := echo.New()
		e.Use(middlewares...)
		e.Match([]string{http.MethodGet, http.MethodHead}, "/events", func(c echo.Context) error {
			return serveResult(events, c.Response(), c.Request())
		})
		return e
	}
}

var echo4Stacks = []stack{
	{name: "echo v4", mount: echo4With()},
	{name: "echo v4: Logger, Recover", mount: mountEcho4, breaks: onlyGET},
	{name: "echo v4: Logger, Recover, with the error returned", mount: echo4With(middleware.Logger(), middleware.Recover())},
	{name: "echo v4: CORS, Secure, RequestID, BodyLimit, RemoveTrailingSlash", mount: echo4With(middleware.CORS(), middleware.Secure(),
		middleware.RequestID(), middleware.BodyLimit("1M"), middleware.RemoveTrailingSlash())},
	{name: "echo v4: Gzip", mount: echo4With(middleware.Gzip()), compresses: true},
	{name: "echo v4: Gzip, MinLength", mount: echo4With(middleware.GzipWithConfig(middleware.GzipConfig{MinLength: 1024})), compresses: true},
	{name: "echo v4: Gzip, not of the stream", mount: mountEcho4Gzip, breaks: onlyGET},
	{name: "echo v4: BodyDump", mount: echo4With(middleware.BodyDump(func(echo.Context, []byte, []byte) {}))},
	{name: "echo v4: ContextTimeout", mount: echo4With(middleware.ContextTimeout(time.Hour))},
	{name: "echo v4: all of them", mount: echo4With(middleware.Logger(), middleware.Recover(), middleware.CORS(), middleware.Secure(),
		middleware.RequestID(), middleware.Gzip(), middleware.BodyDump(func(echo.Context, []byte, []byte) {}),
		middleware.ContextTimeout(time.Hour)), compresses: true},
}

// The headers that a Before function sets are those of the response.
func TestEcho4BeforeComesBeforeTheHeaders(t *testing.T) {
	before := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			c.Response().Before(func() { c.Response().Header().Set("X-Before", "yes") })
			return next(c)
		}
	}
	each(t, ways, func(t *testing.T, y way) {
		st := newSite(t, y, echo4With(before)(events(script("1"), nil)), nil).open()
		if st.Header.Get("X-Before") != "yes" {
			t.Errorf("headers %v", st.Header)
		}
		st.want("1")
	})
}

// BodyDump keeps all of the stream in memory until it ends.
func TestEcho4BodyDumpKeepsTheStream(t *testing.T) {
	var dumped int
	dump := middleware.BodyDump(func(_ echo.Context, _, b []byte) { dumped = len(b) })
	data := slices.Repeat([]string{strings.Repeat("x", 100_000)}, 60)
	w := httptest.NewRecorder()
	echo4With(dump)(events(script(data...), nil)).ServeHTTP(w, httptest.NewRequest("GET", "/events", nil))
	if dumped != 60*100_008 {
		t.Errorf("%d bytes of %d are kept", dumped, w.Body.Len())
	}
}

// Timeout is http.TimeoutHandler, which cannot flush. The refusal reaches the
// client unless the handler returns the error of Serve: then the middleware
// drops what was written, and echo, for which the response is committed, adds
// nothing.
func TestEcho4TimeoutCannotStream(t *testing.T) {
	timeout := middleware.TimeoutWithConfig(middleware.TimeoutConfig{Timeout: time.Hour})
	for name, tt := range map[string]struct {
		handler http.Handler
		status  int
		text    string
	}{
		"Handler":                     {handled(script("1")), 500, "Streaming is not possible here: the response cannot be flushed.\n"},
		"the error of Serve returned": {events(script("1"), nil), 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, ways, func(t *testing.T, y way) {
				res, _, err := newSite(t, y, echo4With(timeout)(tt.handler), nil).do("GET", "/events")
				if err != nil {
					t.Fatal(err)
				}
				if text := body(t, res); res.StatusCode != tt.status || text != tt.text {
					t.Errorf("%d %q; want %d %q", res.StatusCode, text, tt.status, tt.text)
				}
			})
		})
	}
}
