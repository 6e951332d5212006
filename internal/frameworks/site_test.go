package frameworks

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"iter"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/memhttp"
	"example.com/tidings/sse"
)

// A way is how a client reaches a server.
type way struct {
	network string // "memory", in a synctest bubble, or "tcp"
	proto   string // "HTTP/1.1" or "h2c"
	accept  string // the Accept-Encoding of the client
}

func (y way) String() string { return y.proto + ", " + y.accept + ", " + y.network }

// patience is what catches hangs: in a bubble more than any test's time.
func (y way) patience() time.Duration {
	if y.network == "memory" {
		return time.Hour
	}
	return 10 * time.Second
}

// ways are all of them.
var ways = func() (all []way) {
	for _, network := range []string{"memory", "tcp"} {
		for _, proto := range []string{"HTTP/1.1", "h2c"} {
			for _, accept := range []string{"identity", "gzip"} {
				all = append(all, way{network, proto, accept})
			}
		}
	}
	return all
}()

// bubbles are those in which time is the test's.
var bubbles = ways[:len(ways)/2]

// each runs f for each of the given ways, those through memory in a bubble,
// where a goroutine left behind fails the test.
func each(t *testing.T, ys []way, f func(*testing.T, way)) {
	for _, y := range ys {
		t.Run(y.String(), func(t *testing.T) {
			if y.network == "memory" {
				synctest.Test(t, func(t *testing.T) { f(t, y) })
			} else {
				f(t, y)
			}
		})
	}
}

// A site is a server with one client of its own.
type site struct {
	*testing.T
	way
	client *http.Client
	url    string
}

// newSite serves h until the test ends. configure, which may be nil, changes
// the server before it starts.
func newSite(t *testing.T, y way, h http.Handler, configure func(*http.Server)) *site {
	h2 := y.proto == "h2c"
	if y.network == "memory" {
		s := memhttp.New(t, h, configure)
		return &site{t, y, s.Client(t, h2), s.URL()}
	}
	var protocols http.Protocols
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = &protocols
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if configure != nil {
		configure(s.Config)
	}
	s.Start()
	t.Cleanup(s.Close)
	transport := &http.Transport{Protocols: &protocols, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &site{t, y, &http.Client{Transport: transport}, s.URL}
}

// do sends a request, which is cut off when the returned function is called or
// the test ends.
func (s *site) do(method, path string) (*http.Response, context.CancelFunc, error) {
	ctx, cancel := context.WithTimeout(s.Context(), s.patience())
	s.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", s.accept)
	r.Header.Set("Origin", "https://page.example")
	res, err := s.client.Do(r)
	if err == nil {
		s.Cleanup(func() { res.Body.Close() })
	}
	return res, cancel, err
}

// A stream is the client's end of a response of events.
type stream struct {
	*testing.T
	*http.Response
	leave context.CancelFunc
	raw   *watched // as it comes from the connection
	text  io.Reader
	next  func() (sse.Event, error, bool)
}

// open requests the events and returns when the headers are there.
func (s *site) open() *stream {
	s.Helper()
	res, cancel, err := s.do("GET", "/events")
	if err != nil {
		s.Fatal(err)
	}
	return s.read(res, cancel)
}

func (s *site) read(res *http.Response, cancel context.CancelFunc) *stream {
	raw := &watched{r: res.Body}
	st := &stream{T: s.T, Response: res, leave: cancel, raw: raw, text: raw}
	if res.Header.Get("Content-Encoding") == "gzip" {
		st.text = &unzipped{r: raw}
	}
	var stop func()
	st.next, stop = iter.Pull2(sse.Decode(st.text, &sse.DecodeOptions{Comments: true}))
	s.Cleanup(stop)
	return st
}

// want reads the next event, which has the given data.
func (st *stream) want(data string) {
	st.Helper()
	ev, err, ok := st.next()
	if !ok || err != nil {
		st.Fatalf("no event %q: %v", data, err)
	}
	if ev.Data != data {
		st.Fatalf("event %q; want %q", ev.Data, data)
	}
}

// end reads what is left and returns how the stream has ended, nil for cleanly.
func (st *stream) end() error {
	st.Helper()
	if ev, err, ok := st.next(); ok && err == nil {
		st.Fatalf("unexpected event %+v", ev)
	}
	_, err := io.Copy(io.Discard, st.text)
	_, rawErr := io.Copy(io.Discard, st.raw)
	if st.raw.err != io.EOF {
		return st.raw.err
	}
	return errors.Join(err, rawErr)
}

// watched remembers how a body has ended.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.r.Read(b)
	w.err = err
	return n, err
}

// unzipped reads a gzip stream, whose header is not awaited before the first Read.
type unzipped struct {
	r io.Reader
	z *gzip.Reader
}

func (u *unzipped) Read(b []byte) (int, error) {
	if u.z == nil {
		z, err := gzip.NewReader(u.r)
		if err != nil {
			return 0, err
		}
		u.z = z
	}
	return u.z.Read(b)
}

// body reads the whole body of a response that is no stream.
func body(t *testing.T, res *http.Response) string {
	t.Helper()
	var r io.Reader = res.Body
	if res.Header.Get("Content-Encoding") == "gzip" {
		r = &unzipped{r: r}
	}
	var b strings.Builder
	if _, err := io.Copy(&b, r); err != nil {
		t.Fatalf("body %q: %v", b.String(), err)
	}
	return b.String()
}
