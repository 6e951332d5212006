package frameworks

import (
	"iter"
	"net/http"
	"testing"

	"example.com/tidings/sse"
	"github.com/go-chi/chi/v5"
	echo5 "github.com/labstack/echo/v5"
)

// A handler reads its path parameters with http.Request.PathValue in all
// frameworks; gin and echo v4 need a line for it.
func TestPathValue(t *testing.T) {
	for name, mount := range map[string]func(http.Handler) http.Handler{
		"chi": func(h http.Handler) http.Handler {
			r := chi.NewRouter()
			r.Method(http.MethodGet, "/rooms/{room}/events", h)
			return r
		},
		"gin":     mountGinRooms,
		"echo v4": mountEcho4Rooms,
		"echo v5": func(h http.Handler) http.Handler {
			e := echo5.New()
			e.GET("/rooms/:room/events", echo5.WrapHandler(h))
			return e
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, ways, func(t *testing.T, y way) {
				site := newSite(t, y, mount(sse.Handler(func(r *http.Request) (iter.Seq2[sse.Event, error], error) {
					return script(r.PathValue("room"))(r.Context()), nil
				}, nil)), nil)
				res, cancel, err := site.do("GET", "/rooms/blue/events")
				if err != nil {
					t.Fatal(err)
				}
				site.read(res, cancel).want("blue")
			})
		})
	}
}
