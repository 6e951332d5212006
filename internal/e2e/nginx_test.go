package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/tidings/sse"
)

// silence is how long a test waits when nothing must arrive.
const silence = 1500 * time.Millisecond

// A change edits docs/nginx.conf before nginx reads it.
type change struct{ old, new string }

// http10 makes nginx speak HTTP/1.0 to its backend, its default before nginx 1.29.7.
var http10 = change{"proxy_http_version 1.1;", "proxy_http_version 1.0;"}

// readTimeout is the only setting in the http block outside docs/nginx.conf.
type readTimeout string

// startNginx starts an nginx in front of target and returns its URL. It uses
// docs/nginx.conf with other addresses and the given changes. All other settings for
// proxying are nginx's defaults.
func startNginx(t *testing.T, target string, timeout readTimeout, changes ...change) string {
	t.Helper()
	path := program(t, "nginx")
	recipe, err := os.ReadFile("../../docs/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		// Another process may take the free port before nginx.
		ln := listen(t, "127.0.0.1:0")
		addr := ln.Addr().String()
		ln.Close()

		dir := t.TempDir()
		site := string(recipe)
		for _, c := range append([]change{
			{"listen 80;", "listen " + addr + ";"},
			{"http://127.0.0.1:8080", target},
		}, changes...) {
			if strings.Count(site, c.old) != 1 {
				t.Fatalf("docs/nginx.conf does not hold %q once", c.old)
			}
			site = strings.Replace(site, c.old, c.new, 1)
		}
		config := fmt.Sprintf(`
			daemon off;
			worker_processes 1;
			pid nginx.pid;
			error_log stderr;
			events {}
			http {
				access_log off;
				client_body_temp_path body;
				proxy_temp_path proxy;
				fastcgi_temp_path fastcgi;
				uwsgi_temp_path uwsgi;
				scgi_temp_path scgi;
				%s
				include site.conf;
			}
		`, timeout)
		if me.Uid == "0" { // only as root, nginx must choose a user
			config = "user " + me.Username + ";\n" + config
		}
		writeFile(t, filepath.Join(dir, "nginx.conf"), config)
		writeFile(t, filepath.Join(dir, "site.conf"), site)

		stderr := new(bytes.Buffer)
		cmd := exec.Command(path, "-p", dir, "-c", "nginx.conf", "-e", "stderr")
		cmd.Stderr = stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan error, 1)
		go func() { exited <- cmd.Wait() }()
		err := accepts(t.Context(), addr, exited)
		if err == nil {
			t.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				<-exited
				if t.Failed() {
					t.Logf("nginx's log:\n%s", stderr)
				}
			})
			return "http://" + addr
		}
		_ = cmd.Process.Kill()
		if !strings.Contains(stderr.String(), "Address already in use") {
			t.Fatalf("nginx: %v\n%s", err, stderr)
		}
	}
	t.Fatal("nginx finds no free port")
	return ""
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// accepts waits until a program listens on addr or has exited.
func accepts(ctx context.Context, addr string, exited chan error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case err := <-exited:
			exited <- err
			return fmt.Errorf("exited at once: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("does not listen: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A get reads the response of a GET request as an event stream. It has its own
// connection, and runs until the test ends or calls leave.
type get struct {
	*receiver
	leave func()
}

// subscribe requests an event stream. It does not wait for the response.
func subscribe(t *testing.T, url string) *get {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r, w := io.Pipe()
	go func() {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			w.CloseWithError(err)
			return
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			w.CloseWithError(err)
			return
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "text/event-stream" {
			w.CloseWithError(fmt.Errorf("%s, Content-Type %q", resp.Status, got))
			return
		}
		_, err = io.Copy(w, resp.Body)
		w.CloseWithError(err) // io.EOF when nil
	}()
	return &get{receive(r), cancel}
}

// Through an nginx with docs/nginx.conf, and through one that speaks HTTP/1.0 to the
// backend, every event arrives before the next one is sent. A clean end arrives as a
// clean end. When the client leaves, the iterator ends.
func TestNginxPassesEventsAsTheyCome(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		changes []change
		proto   string
	}{
		{"recipe", nil, "HTTP/1.1"},
		{"HTTP 1.0", []change{http10}, "HTTP/1.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			src := newSource()
			url := startNginx(t, serve(t, src.handler(nil)).URL, "", tc.changes...)

			c := subscribe(t, url)
			st := src.next(t)
			if st.request.Proto != tc.proto {
				t.Errorf("nginx asks over %s, want %s", st.request.Proto, tc.proto)
			}
			for i := range 20 {
				ev := sse.Event{ID: fmt.Sprint(i), Data: "small"}
				st.send(t, ev)
				c.want(t, ev)
			}
			st.end(t)
			if err := c.end(t); err != nil {
				t.Errorf("the stream ends with %v, want a clean end", err)
			}

			c = subscribe(t, url)
			st = src.next(t)
			st.send(t, sse.Event{Data: "hello"})
			c.want(t, sse.Event{Data: "hello"})
			c.leave()
			st.wait(t)
		})
	}
}

// Without X-Accel-Buffering, an nginx that speaks HTTP/1.0 to the backend holds the
// stream back until it ends. That is the purpose of the header, and it shows that the
// test above can fail. Over HTTP/1.1 nginx passes on each chunk even while it buffers.
// There the header stops nginx from storing unread data of a slow client in memory and
// files.
func TestNginxWithoutTheHeader(t *testing.T) {
	t.Parallel()
	events := []sse.Event{{Data: "one"}, {Data: "two"}, {Data: "three"}, {Data: "four"}}
	without := func(t *testing.T, changes ...change) (*get, *stream) {
		src := newSource()
		backend := serve(t, withoutHeader(src.handler(nil), "X-Accel-Buffering"))
		c := subscribe(t, startNginx(t, backend.URL, "", changes...))
		return c, src.next(t)
	}

	t.Run("held back over HTTP 1.0", func(t *testing.T) {
		t.Parallel()
		c, st := without(t, http10)
		st.send(t, events...)
		select {
		case ev := <-c.events:
			t.Fatalf("%+v has arrived", ev)
		case <-time.After(silence):
		}
		st.end(t)
		for _, ev := range events {
			c.want(t, ev)
		}
		if err := c.end(t); err != nil {
			t.Error(err)
		}
	})

	t.Run("passed on over HTTP 1.1", func(t *testing.T) {
		t.Parallel()
		c, st := without(t)
		for _, ev := range events {
			st.send(t, ev)
			c.want(t, ev)
		}
	})
}

// withoutHeader removes a header from a handler's responses.
func withoutHeader(h http.Handler, key string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&headerRemover{w, key}, r)
	})
}

type headerRemover struct {
	http.ResponseWriter
	key string
}

func (w *headerRemover) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader is called before the first flush of a stream.
func (w *headerRemover) WriteHeader(status int) {
	w.Header().Del(w.key)
	w.ResponseWriter.WriteHeader(status)
}

// nginx closes the connection to a backend that is silent for longer than
// proxy_read_timeout. A shorter keep-alive prevents that.
func TestNginxReadTimeout(t *testing.T) {
	t.Parallel()
	const timeout readTimeout = "proxy_read_timeout 2s;"

	t.Run("an idle stream dies without keep-alive", func(t *testing.T) {
		t.Parallel()
		src := newSource()
		url := startNginx(t, serve(t, src.handler(&sse.ServeOptions{KeepAlive: -1})).URL, timeout)
		c := subscribe(t, url)
		st := src.next(t)
		st.send(t, sse.Event{Data: "hello"})
		c.want(t, sse.Event{Data: "hello"})
		if err := c.end(t); err == nil {
			t.Error("the stream ends cleanly, want it broken")
		}
		st.wait(t)
	})

	t.Run("an idle stream survives with keep-alive", func(t *testing.T) {
		t.Parallel()
		src := newSource()
		url := startNginx(t, serve(t, src.handler(&sse.ServeOptions{KeepAlive: 500 * time.Millisecond})).URL, timeout)
		// A busy machine may stop for as long as the timeout, but hardly three times.
		// A stream without keep-alive never survives.
		for range 3 {
			c := subscribe(t, url)
			st := src.next(t)
			select {
			case ev := <-c.events:
				t.Fatalf("received %+v, want silence", ev)
			case <-c.done:
			case <-time.After(5500 * time.Millisecond): // two timeouts and a half
				st.send(t, sse.Event{Data: "still here"})
				if ev, ok := c.next(t); ok {
					if ev.Data != "still here" {
						t.Errorf("received %+v", ev)
					}
					return
				}
			}
			t.Logf("the stream has ended: %v", c.err)
		}
		t.Error("no idle stream survives")
	})
}

// A client behind nginx sees an error in the sequence as a broken response, because
// nginx speaks HTTP/1.1 to the backend, as in docs/nginx.conf.
func TestNginxPassesABreakOn(t *testing.T) {
	t.Parallel()
	src := newSource()
	url := startNginx(t, serve(t, src.handler(nil)).URL, "")
	if err := failThrough(t, src, url); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ends with %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// Over HTTP/1.0 a response ends when the connection closes. So nginx takes an error for
// the end, and sends its client a clean end. This is why docs/nginx.conf sets
// proxy_http_version.
func TestNginxOverHTTP10TakesABreakForTheEnd(t *testing.T) {
	t.Parallel()
	src := newSource()
	url := startNginx(t, serve(t, src.handler(nil)).URL, "", http10)
	if err := failThrough(t, src, url); err != nil {
		t.Errorf("the stream ends with %v; if nginx can tell now, change docs/nginx.conf and the guide", err)
	}
}

// failThrough gets a stream that fails after an event. It returns the error that the
// client sees.
func failThrough(t *testing.T, src *source, url string) error {
	t.Helper()
	c := subscribe(t, url)
	st := src.next(t)
	st.send(t, sse.Event{Data: "before"})
	c.want(t, sse.Event{Data: "before"})
	st.fail(t, errors.New("the secret reason"))
	return c.end(t)
}
