package frameworks

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/sse"
)

// Each event is with the client before the next one exists, and the end of the
// sequence is the clean end of the response.
func TestEventsArriveOneByOne(t *testing.T) {
	eachStack(t, ways, func(t *testing.T, s stack, y way) {
		next := make(chan string, 1)
		site := newSite(t, y, s.mount(events(func(ctx context.Context) iter.Seq2[sse.Event, error] {
			return func(yield func(sse.Event, error) bool) {
				for {
					select {
					case data, ok := <-next:
						if !ok || !yield(sse.Event{Data: data}, nil) {
							return
						}
					case <-ctx.Done():
						return
					}
				}
			}
		}, nil)), nil)

		opened := make(chan *stream, 1)
		go func() {
			defer close(opened)
			res, cancel, err := site.do("GET", "/events")
			if err != nil {
				t.Error(err)
				return
			}
			opened <- site.read(res, cancel)
		}()
		if y.network == "memory" {
			synctest.Wait()
			s.check(t, y, headersFirst, len(opened) == 1, "no headers while the sequence waits")
		}
		var st *stream
		if s.broken(headersFirst, y) == "" {
			st = <-opened
			next <- "1"
		} else {
			next <- "1"
			st = <-opened
		}
		if st == nil {
			return
		}
		s.checkHeaders(t, y, st.Response)
		st.want("1")
		for _, data := range []string{"2", strings.Repeat("3", 100_000), "4"} {
			next <- data
			st.want(data)
		}
		close(next)
		if err := st.end(); err != nil {
			t.Errorf("the end is not clean: %v", err)
		}
	})
}

// checkHeaders checks those of a stream.
func (s stack) checkHeaders(t *testing.T, y way, res *http.Response) {
	t.Helper()
	h := res.Header
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
	if v := h.Values("Content-Type"); len(v) != 1 || v[0] != "text/event-stream" {
		t.Errorf("Content-Type %q", v)
	}
	if v := h.Get("Cache-Control"); !strings.Contains(v, "no-cache") {
		t.Errorf("Cache-Control %q", v)
	}
	if v := h.Get("X-Accel-Buffering"); v != "no" {
		t.Errorf("X-Accel-Buffering %q", v)
	}
	if v := h.Get("Content-Length"); v != "" || res.ContentLength != -1 {
		t.Errorf("Content-Length %q, %d", v, res.ContentLength)
	}
	encoding := ""
	if s.compressed(y) {
		encoding = "gzip"
	}
	if v := h.Get("Content-Encoding"); v != encoding {
		t.Errorf("Content-Encoding %q; want %q", v, encoding)
	}
}

// The client's leaving ends the sequence and runs its defers.
func TestLeavingEndsTheSequence(t *testing.T) {
	eachStack(t, ways, func(t *testing.T, s stack, y way) {
		ended := make(chan struct{})
		st := newSite(t, y, s.mount(events(func(ctx context.Context) iter.Seq2[sse.Event, error] {
			return func(yield func(sse.Event, error) bool) {
				defer close(ended)
				if yield(sse.Event{Data: "1"}, nil) {
					<-ctx.Done()
				}
			}
		}, nil)), nil).open()
		st.want("1")
		st.leave()
		select {
		case <-ended:
		case <-time.After(y.patience()):
			t.Error("the sequence runs on")
		}
	})
}

// An error of the sequence is seen by the client as a response that broke off,
// whether or not somebody looks at the result of Serve.
func TestErrorBreaksTheResponse(t *testing.T) {
	for name, data := range map[string][]string{"at once": nil, "after an event": {"1"}} {
		failing := func(ctx context.Context) iter.Seq2[sse.Event, error] {
			return func(yield func(sse.Event, error) bool) {
				for ev, err := range script(data...)(ctx) {
					if !yield(ev, err) {
						return
					}
				}
				yield(sse.Event{}, errors.New("no more"))
			}
		}
		t.Run(name+", Serve", func(t *testing.T) { testBreaks(t, brokenOff, events(failing, nil), data) })
		t.Run(name+", Handler", func(t *testing.T) { testBreaks(t, brokenOff, handled(failing), data) })
	}
}

// A panic of the sequence is seen by the client as a response that broke off,
// whoever recovers from it.
func TestPanicBreaksTheResponse(t *testing.T) {
	for name, data := range map[string][]string{"at once": nil, "after an event": {"1"}} {
		panicking := func(ctx context.Context) iter.Seq2[sse.Event, error] {
			return func(yield func(sse.Event, error) bool) {
				for ev, err := range script(data...)(ctx) {
					if !yield(ev, err) {
						return
					}
				}
				panic("no more")
			}
		}
		t.Run(name+", Serve", func(t *testing.T) { testBreaks(t, panicBreaks, events(panicking, nil), data) })
		t.Run(name+", Handler", func(t *testing.T) { testBreaks(t, panicBreaks, handled(panicking), data) })
	}
}

func testBreaks(t *testing.T, p promise, h http.Handler, data []string) {
	eachStack(t, ways, func(t *testing.T, s stack, y way) {
		site := newSite(t, y, s.mount(h), nil)
		res, cancel, err := site.do("GET", "/events")
		if err == nil {
			st := site.read(res, cancel)
			for _, d := range data {
				st.want(d)
			}
			err = st.end()
		}
		if s.broken(p, y) != "" && len(data) == 0 && y.proto == "HTTP/1.1" && !s.compressed(y) {
			// Hijack is possible as long as nothing of a body, and no gzip
			// header, is written.
			if err == nil {
				t.Error("a clean end before the first event")
			}
			return
		}
		s.check(t, y, p, err != nil, "a clean end")
	})
}

// Where the server's own writer cannot flush, the answer is a readable 500,
// and no wrapper's Flush is called, some of which panic then.
func TestUnflushableIsRefused(t *testing.T) {
	for name, hide := range map[string]func(http.Handler) http.Handler{
		"http.TimeoutHandler": func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Hour, "too late") },
		"a bare writer": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachStack(t, ways, func(t *testing.T, s stack, y way) {
				site := newSite(t, y, hide(s.mount(events(script("1"), nil))), nil)
				res, _, err := site.do("GET", "/events")
				if err != nil {
					t.Fatal(err)
				}
				text := body(t, res)
				ct := res.Header.Get("Content-Type")
				s.check(t, y, refusal, res.StatusCode == 500 && strings.HasPrefix(ct, "text/plain") &&
					strings.HasPrefix(text, "Streaming is not possible here"), []any{res.StatusCode, ct, text})
			})
		})
	}
}

// Handler's refusals are what the client gets.
func TestRefusalOfHandler(t *testing.T) {
	eachStack(t, ways, func(t *testing.T, s stack, y way) {
		site := newSite(t, y, s.mount(sse.Handler(func(*http.Request) (iter.Seq2[sse.Event, error], error) {
			return nil, &sse.StatusError{Status: 403, Message: "not for you"}
		}, nil)), nil)
		res, _, err := site.do("GET", "/events")
		if err != nil {
			t.Fatal(err)
		}
		if text := body(t, res); res.StatusCode != 403 || text != "not for you\n" {
			t.Errorf("%d %q", res.StatusCode, text)
		}
	})
}

// HEAD is answered with the headers, and the sequence is not ranged.
func TestHead(t *testing.T) {
	eachStack(t, ways, func(t *testing.T, s stack, y way) {
		site := newSite(t, y, s.mount(events(func(context.Context) iter.Seq2[sse.Event, error] {
			return func(func(sse.Event, error) bool) { t.Error("the sequence is ranged") }
		}, nil)), nil)
		res, _, err := site.do("HEAD", "/events")
		if err != nil {
			t.Fatal(err)
		}
		h := res.Header
		s.check(t, y, headHeaders, res.StatusCode == 200 && h.Get("Content-Type") == "text/event-stream" &&
			h.Get("Content-Length") == "" && h.Get("X-Accel-Buffering") == "no", []any{res.StatusCode, h})
		if b, err := io.ReadAll(res.Body); len(b) > 0 || err != nil {
			t.Errorf("body %q, %v", b, err)
		}
	})
}

// The deadlines of each write reach the connection, so that a stream outlives
// http.Server.WriteTimeout.
func TestOutlivesWriteTimeout(t *testing.T) {
	eachStack(t, bubbles, func(t *testing.T, s stack, y way) {
		site := newSite(t, y, s.mount(events(paced(time.Minute, "1", "2", "3"), nil)), func(s *http.Server) {
			s.WriteTimeout = 5 * time.Second
			s.ReadTimeout = 5 * time.Second
		})
		res, cancel, err := site.do("GET", "/events")
		var got []string
		if err == nil {
			st := site.read(res, cancel)
			for {
				ev, nextErr, ok := st.next()
				if !ok || nextErr != nil {
					break
				}
				got = append(got, ev.Data)
			}
			err = st.end()
		}
		s.check(t, y, ownDeadlines, len(got) == 3 && err == nil, []any{got, err})
	})
}

// paced is a sequence of events with the given data, a pause before each.
func paced(pause time.Duration, data ...string) func(context.Context) iter.Seq2[sse.Event, error] {
	return func(ctx context.Context) iter.Seq2[sse.Event, error] {
		return func(yield func(sse.Event, error) bool) {
			for _, d := range data {
				select {
				case <-time.After(pause):
				case <-ctx.Done():
					return
				}
				if !yield(sse.Event{Data: d}, nil) {
					return
				}
			}
		}
	}
}

// Keep-alives are sent, and flushed, while the sequence is silent.
func TestKeepAlive(t *testing.T) {
	eachStack(t, bubbles, func(t *testing.T, s stack, y way) {
		site := newSite(t, y, s.mount(events(paced(40*time.Second, "1"), nil)), nil)
		begin := time.Now()
		st := site.open()
		for i := range 2 {
			if b := make([]byte, 2); !read(t, st.text, b) || string(b) != ":\n" {
				t.Fatalf("%q; want a keep-alive", b)
			}
			if at := time.Since(begin); at != time.Duration(i+1)*15*time.Second {
				t.Errorf("keep-alive after %v", at)
			}
		}
		st.want("1")
		if err := st.end(); err != nil {
			t.Error(err)
		}
	})
}

func read(t *testing.T, r io.Reader, b []byte) bool {
	t.Helper()
	_, err := io.ReadFull(r, b)
	if err != nil {
		t.Error(err)
	}
	return err == nil
}
