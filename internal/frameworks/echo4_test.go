package frameworks

import (
	"net/http"
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
	{name: "echo v4: Logger, Recover", mount: mountEcho4, breaks: map[promise]string{
		headHeaders: "the route is for GET",
	}},
	{name: "echo v4: Logger, Recover, with the error returned", mount: echo4With(middleware.Logger(), middleware.Recover())},
	{name: "echo v4: CORS, Secure, RequestID, BodyLimit, RemoveTrailingSlash", mount: echo4With(middleware.CORS(), middleware.Secure(),
		middleware.RequestID(), middleware.BodyLimit("1M"), middleware.RemoveTrailingSlash())},
	{name: "echo v4: Gzip", mount: echo4With(middleware.Gzip()), compresses: true},
	{name: "echo v4: Gzip, MinLength", mount: echo4With(middleware.GzipWithConfig(middleware.GzipConfig{MinLength: 1024})), compresses: true},
	{name: "echo v4: BodyDump", mount: echo4With(middleware.BodyDump(func(echo.Context, []byte, []byte) {}))},
	{name: "echo v4: ContextTimeout", mount: echo4With(middleware.ContextTimeout(time.Hour))},
	{name: "echo v4: all of them", mount: echo4With(middleware.Logger(), middleware.Recover(), middleware.CORS(), middleware.Secure(),
		middleware.RequestID(), middleware.Gzip(), middleware.BodyDump(func(echo.Context, []byte, []byte) {}),
		middleware.ContextTimeout(time.Hour)), compresses: true},
}
