package e2e_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// A reader is a client that others wrote, and what it has received.
type reader interface {
	// got returns the data of the messages so far. final is not empty if the client has
	// given up for good.
	got(t *testing.T) (messages []string, final string)
}

// clientsDir has the pinned npm packages, and the programs that use them.
const clientsDir = "testdata/clients"

// npmPackages returns a folder with the pinned packages and with clients.mjs. They are installed
// once, into the user's cache.
func npmPackages(t *testing.T) string {
	t.Helper()
	npm := program(t, "npm")
	dir, err := installClients(npm)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return dir
}

var installing sync.Mutex

func installClients(npm string) (dir string, err error) {
	installing.Lock()
	defer installing.Unlock()
	hash := sha256.New()
	files := map[string][]byte{}
	for _, name := range []string{"package.json", "package-lock.json", "clients.mjs"} {
		if files[name], err = os.ReadFile(filepath.Join(clientsDir, name)); err != nil {
			return "", err
		}
		hash.Write(files[name])
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, "tidings-clients", hex.EncodeToString(hash.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), "part-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(part, name), b, 0o644); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", part)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w: %s", err, out)
	}
	if err := os.Rename(part, dir); err != nil { // another process may have been faster
		if _, statErr := os.Stat(dir); statErr != nil {
			return "", err
		}
	}
	return dir, nil
}

// A processReader is a client that is a process of its own.
type processReader struct {
	process *os.Process

	mu       sync.Mutex
	messages []string
	final    string
}

func (r *processReader) got(*testing.T) ([]string, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages), r.final
}

// runNode starts a client of clients.mjs. It ends with the test.
func runNode(t *testing.T, client, url string) reader {
	t.Helper()
	node, dir := program(t, "node"), npmPackages(t)
	cmd := exec.CommandContext(t.Context(), node, "clients.mjs", client, url)
	cmd.Dir = dir
	return runProcess(t, cmd)
}

// runPHP starts client.php. It ends with the test.
func runPHP(t *testing.T, s *switching, query string) reader {
	t.Helper()
	return runProcess(t, exec.CommandContext(t.Context(), program(t, "php"), filepath.Join(clientsDir, "client.php"), s.url+"/events?"+query))
}

// runProcess starts a client that prints a line of JSON for each message.
func runProcess(t *testing.T, cmd *exec.Cmd) *processReader {
	t.Helper()
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r, read := &processReader{process: cmd.Process}, make(chan struct{})
	t.Cleanup(func() {
		<-read
		cmd.Wait()
	})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var line struct{ Data, Final string }
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				line.Final = lines.Text()
			}
			r.mu.Lock()
			if line.Final != "" {
				r.final = line.Final
			} else {
				r.messages = append(r.messages, line.Data)
			}
			r.mu.Unlock()
		}
	}()
	return r
}

// A pageReader is a client in a page of Chromium.
type pageReader struct{ tab *tab }

func (r pageReader) got(t *testing.T) (messages []string, final string) {
	return eval[[]string](t, r.tab, `[...document.querySelectorAll("#out li")].map(li => li.innerText)`), eval[string](t, r.tab, `window.final ?? ""`)
}

// runPage returns a function that opens a page whose body has a client of the stream at /events.
// It takes the query of the stream's URL.
func runPage(body string) func(t *testing.T, s *switching, query string) reader {
	return func(t *testing.T, s *switching, query string) reader {
		t.Helper()
		dir := npmPackages(t)
		s.mux.HandleFunc("GET /modules/", func(w http.ResponseWriter, r *http.Request) {
			path := filepath.Join(dir, "node_modules", filepath.FromSlash(strings.TrimPrefix(r.URL.Path, "/modules/")))
			for _, suffix := range []string{"", ".js", "/index.js"} { // Datastar's modules are for a bundler
				switch info, err := os.Stat(path + suffix); {
				case err != nil || info.IsDir():
					continue
				case suffix != "": // their imports are relative to the file
					http.Redirect(w, r, r.URL.Path+suffix, http.StatusMovedPermanently)
				default:
					http.ServeFile(w, r, path)
				}
				return
			}
			http.NotFound(w, r)
		})
		s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, "<!doctype html><ul id=out></ul>"+body, "/events?"+query)
		})
		tb := newTab(t)
		tb.do(t, chromedp.Navigate(s.url+"/page"))
		return pageReader{tb}
	}
}

// reset breaks a stream in the middle of an event, as a server does whose client took nothing
// until the write deadline.
func reset(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	id := cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("lastEventId"))
	event := "event: tidings.open\nretry: 100\ndata: {\"topics\":[\"a\"]}\nid: " + id + "\n\n"
	fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n400\r\ndata: half an ", len(event), event)
	rw.Flush()
	time.Sleep(100 * time.Millisecond) // a reset may overtake what was sent before
	conn.(*net.TCPConn).SetLinger(0)
}
