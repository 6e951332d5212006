package e2e_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/tidings/eventsource"
	publisher "example.com/tidings/eventsource/publish"
)

// hasty waits for a moment only: other tests check the waits.
func hasty(f *eventsource.Failure) { f.Wait = min(f.Wait, 50*time.Millisecond) }

// A cutter passes TCP connections on to an address, and cuts each after a random
// number of bytes.
type cutter struct {
	target string
	random func() int // the number of bytes
	cuts   atomic.Int64
	url    string
}

func newCutter(t *testing.T, target string, random func() int) *cutter {
	t.Helper()
	c := &cutter{target: strings.TrimPrefix(target, "http://"), random: random}
	ln := listen(t, "127.0.0.1:0")
	c.url = "http://" + ln.Addr().String()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { c.pass(t.Context(), conn) })
		}
	})
	t.Cleanup(func() { ln.Close(); conns.Wait() })
	return c
}

func (c *cutter) pass(ctx context.Context, client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); server.Close() })()
	go io.Copy(server, client)
	if n, _ := io.CopyN(client, server, int64(c.random())); n > 0 {
		c.cuts.Add(1)
	}
}

// follow reads count events with a client, and checks that they are those that
// publishing makes: each once and in order.
func follow(t *testing.T, c *eventsource.Client, count int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	next := 0
	for ev, err := range c.Events(ctx) {
		if err != nil {
			t.Fatalf("after %d events: %v", next, err)
		}
		if ev.Data != fmt.Sprint(next) {
			t.Fatalf("event %q comes where %d is due", ev.Data, next)
		}
		if next++; next == count {
			return
		}
	}
	t.Fatalf("the stream ends after %d events", next)
}

// publishing publishes count messages in parts. between is called after each part.
func publishing(t *testing.T, c *publisher.Client, count, parts int, between func(part int)) {
	t.Helper()
	for part := range parts {
		var ms []publisher.Message
		for i := part * count / parts; i < (part+1)*count/parts; i++ {
			ms = append(ms, publisher.Message{Topic: "a", Data: fmt.Sprint(i)})
		}
		if _, err := c.PublishAll(t.Context(), ms); err != nil {
			t.Error(err)
			return
		}
		between(part)
	}
}

// The hub is killed and stopped, nginx in front of it reloads, and a proxy cuts at
// random bytes: the client gets 10,000 messages once and in order.
func TestGoClientMissesNothing(t *testing.T) {
	t.Parallel()
	const count = 10_000
	dir := t.TempDir()
	hub := startProcess(t, dir, "127.0.0.1:0")
	proxy, reload := startReloading(t, hub.URL)
	random := rand.New(rand.NewPCG(18, 9206))
	cut := newCutter(t, proxy, func() int { return 500 + random.IntN(40_000) })
	c := eventsource.New(cut.url+"/events?topic=a&from=start", &eventsource.Options{Decide: hasty})
	pub := publisher.New(proxy, nil)
	defer pub.CloseIdleConnections()
	var done sync.WaitGroup
	done.Go(func() {
		publishing(t, pub, count, 20, func(part int) {
			switch part {
			case 4, 12:
				hub.end(syscall.SIGKILL)
				hub = startProcess(t, dir, hub.addr())
			case 8:
				hub.end(syscall.SIGTERM)
				hub = startProcess(t, dir, hub.addr())
			case 6, 10, 14:
				reload()
			}
		})
	})
	follow(t, c, count)
	done.Wait()
	if n := cut.cuts.Load(); n < 5 {
		t.Errorf("only %d connections were cut", n)
	}
}

// startReloading starts nginx, whose reload ends open connections after a second.
func startReloading(t *testing.T, target string) (url string, reload func()) {
	t.Helper()
	path := program(t, nginx.programs...)
	ln := listen(t, "127.0.0.1:0")
	addr := ln.Addr().String()
	ln.Close()
	dir := t.TempDir()
	p := nginx
	p.frame = strings.Replace(p.frame, "worker_processes 1;", "worker_processes 1; worker_shutdown_timeout 1s;", 1)
	names := placeholders(t, dir, addr, target)
	p.configure(t, dir, names, nil)
	cmd := p.command(path, dir, names)
	if err := launch(t, cmd, addr); err != nil {
		t.Fatal(err)
	}
	return "http://" + addr, func() {
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Error(err)
		}
	}
}

// With tokens of two seconds the client gets 10,000 messages once and in order,
// and is never refused: it asks for a token before each request.
func TestGoClientWithTokensOfTwoSeconds(t *testing.T) {
	t.Parallel()
	const count = 10_000
	dir := t.TempDir()
	secret := []byte(strings.Repeat("k", 32))
	writeSecret(t, filepath.Join(dir, "secret"), secret)
	hub := startProcess(t, dir, "127.0.0.1:0", "--memory", "--jwt-key", "secret", "--anonymous", "publish=a")
	tokens, refused := 0, 0
	var ends atomic.Int64
	c := eventsource.New(hub.URL+"/events?topic=a&from=start", &eventsource.Options{
		Prepare: func(_ context.Context, req *http.Request) error {
			tokens++
			req.Header.Set("Authorization", "Bearer "+signedToken(t, secret, 2*time.Second))
			return nil
		},
		Decide: func(f *eventsource.Failure) {
			switch f.Err.(type) {
			case *eventsource.EndError:
				ends.Add(1)
			case *eventsource.StatusError:
				refused++
			}
			hasty(f)
		},
	})
	var done sync.WaitGroup
	done.Go(func() {
		pub := publisher.New(hub.URL, nil)
		defer pub.CloseIdleConnections()
		publishing(t, pub, count, 10, func(part int) {
			// Two tokens end meanwhile.
			for ends.Load() < int64(min(part, 2)) && t.Context().Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
		})
	})
	follow(t, c, count)
	done.Wait()
	if tokens < 3 || refused > 0 {
		t.Errorf("%d tokens, and refused %d times", tokens, refused)
	}
}

func writeSecret(t *testing.T, file string, secret []byte) {
	t.Helper()
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
}

// signedToken returns a token that may read the topic a for a time, or for less than a second more.
func signedToken(t *testing.T, secret []byte, life time.Duration) string {
	t.Helper()
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"sub": "ada", "iat": now.Unix(), "exp": now.Add(life + time.Second - 1).Unix(),
		"tidings": map[string]any{"subscribe": []string{"a"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
