// Package e2e_test tests against the real counterparts of a user: curl, nginx
// and Chromium.
//
// Time is theirs, so nothing here measures how fast something is. A test lets
// events cause each other: what comes next is sent only when what came before
// has been received. Deadlines only catch what hangs, except where a test says
// that silence is what it expects.
package e2e_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything that must happen may take.
const patience = 45 * time.Second

func TestMain(m *testing.M) {
	// What servers log of broken connections and streams is part of the tests.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	code := m.Run()
	stopChromium()
	removeTidings()
	os.Exit(code)
}

// program returns the path of the first of the named programs that is
// installed. Without one the test is skipped, or fails where CI=true says that
// all of them must be there.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		// Debian keeps nginx where the path of a plain user does not lead.
		if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
			return path
		}
	}
	why := strings.Join(names, " or ") + " is not installed: on Debian, apt-get install " + names[0]
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// A backend is an HTTP server on a port of its own, over HTTP/1 and h2c.
type backend struct {
	URL  string
	addr string
	http *http.Server
	wg   sync.WaitGroup
}

// serve starts a server that ends with the test.
func serve(t *testing.T, h http.Handler) *backend {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", h)
}

// serveAt starts a server on an address, which may just have been left.
func serveAt(t *testing.T, addr string, h http.Handler) *backend {
	t.Helper()
	ln := listen(t, addr)
	s := &backend{addr: ln.Addr().String()}
	s.URL = "http://" + s.addr
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{
		Protocols: protocols,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Handler:   h,
	}
	s.wg.Go(func() { _ = s.http.Serve(ln) })
	t.Cleanup(s.stop)
	return s
}

// stop closes the listener and every connection. To stop again does nothing.
func (s *backend) stop() {
	s.http.Close()
	s.wg.Wait()
}

// listen listens on addr, and waits for a port that something else holds for a
// moment, such as a connection that was given it as its own.
func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		ln, err := net.Listen("tcp", addr)
		if err == nil {
			return ln
		}
		if !errors.Is(err, syscall.EADDRINUSE) || ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
