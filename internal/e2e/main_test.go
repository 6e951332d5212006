// Package e2e_test tests with the real programs of a user: curl, Chromium and proxies such as nginx.
//
// These programs use real time, so no test measures speed. A test sends the next event
// only after the previous one has arrived. Deadlines only turn a hang into a failure,
// except where a test expects silence.
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

const (
	// patience is the longest wait for an event that must happen.
	patience = 45 * time.Second
	// silence is how long a test waits when nothing must arrive.
	silence = 1500 * time.Millisecond
)

func TestMain(m *testing.M) {
	// The tests break connections and streams on purpose: discard the log of that.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	code := m.Run()
	stopChromium()
	removeTidings()
	os.Exit(code)
}

// program returns the path of the first of the named programs that is installed. If
// there is none, it skips the test, or fails it with CI=true, where all must be
// installed.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		// Debian puts the proxies into a directory that is not in a plain user's PATH.
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

// serveAt starts a server on an address that may have been in use until now.
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

// stop closes the listener and every connection. A second call does nothing.
func (s *backend) stop() {
	s.http.Close()
	s.wg.Wait()
}

// listen listens on addr. If the port is in use, it waits: an outgoing connection may use
// it for a moment.
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

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("this has not come true: %s", what)
		}
	}
}
