// Package natstest runs real NATS servers with JetStream for tests. Each is a process of its
// own, on a port of the loopback interface.
package natstest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a test waits for a server. It only catches a hang.
const patience = time.Minute

// program returns the path of the server that tools/go.mod requires. The go command builds
// it, and keeps it in its build cache.
var program = sync.OnceValues(func() (string, error) {
	mod, err := output("", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	return output(filepath.Join(filepath.Dir(mod), "tools"), "tool", "-n", "nats-server")
})

// output runs the go command in a folder, and returns its output.
func output(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// A Server is a NATS server. Its methods must be called from one goroutine at a time.
type Server struct {
	Name string
	URL  string
	Dir  string // the folder of its store

	path    string
	args    []string
	monitor string // the address of its monitoring, in a cluster
	config  string // its configuration file, if it has one
	cmd     *exec.Cmd
}

// Start starts a server with an empty store. The server ends with the test. If the server
// cannot be built the test is skipped, or fails with CI=true.
func Start(tb testing.TB) *Server {
	tb.Helper()
	s := newServer(tb, "n0")
	s.Restart(tb)
	return s
}

// StartCluster starts three servers, as Start does, and waits until they form a cluster.
func StartCluster(tb testing.TB) []*Server {
	tb.Helper()
	var servers []*Server
	var routes []string
	for i := range 3 {
		servers = append(servers, newServer(tb, fmt.Sprint("n", i)))
		routes = append(routes, "nats://"+freeAddress(tb))
	}
	for i, s := range servers {
		s.monitor = freeAddress(tb)
		_, port, _ := net.SplitHostPort(s.monitor)
		s.args = append(s.args, "--cluster_name", "test", "--cluster", routes[i], "--routes", strings.Join(routes, ","), "-m", port)
	}
	form(tb, servers)
	return servers
}

// form starts servers that are configured as a cluster, and waits until they form it.
func form(tb testing.TB, servers []*Server) {
	tb.Helper()
	var waits []func()
	for _, s := range servers {
		waits = append(waits, s.launch(tb))
	}
	for _, wait := range waits {
		wait()
	}
	for deadline := time.Now().Add(patience); !slices.ContainsFunc(servers, (*Server).leads); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("the NATS servers do not form a cluster")
		}
	}
}

// leads reports whether the server leads a cluster of three.
func (s *Server) leads() bool {
	res, err := http.Get("http://" + s.monitor + "/jsz")
	if err != nil {
		return false
	}
	defer res.Body.Close()
	var state struct {
		Cluster struct {
			Followers []struct{ Current bool } `json:"replicas"`
		} `json:"meta_cluster"`
	}
	if err := json.NewDecoder(res.Body).Decode(&state); err != nil || len(state.Cluster.Followers) != 2 {
		return false
	}
	return state.Cluster.Followers[0].Current && state.Cluster.Followers[1].Current
}

// URLs returns the URLs of servers, separated by commas.
func URLs(servers []*Server) string {
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.URL)
	}
	return strings.Join(urls, ",")
}

func newServer(tb testing.TB, name string) *Server {
	tb.Helper()
	path, err := program()
	if err != nil && os.Getenv("CI") == "true" {
		tb.Fatal(err)
	} else if err != nil {
		tb.Skip(err)
	}
	address := freeAddress(tb)
	host, port, _ := net.SplitHostPort(address)
	s := &Server{Name: name, URL: "nats://" + address, Dir: tb.TempDir(), path: path}
	s.args = []string{"-js", "-sd", s.Dir, "-n", name, "-a", host, "-p", port}
	tb.Cleanup(s.Kill)
	return s
}

// freeAddress returns a loopback address that nobody listens on. A range of ports is for
// these servers: the system gives none of it to others, and no two calls return the same.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	for range portEnd - portStart {
		address := fmt.Sprint("127.0.0.1:", portStart+int(ports.Add(1))%(portEnd-portStart))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		_ = l.Close()
		return address
	}
	tb.Fatal("no port is free")
	return ""
}

// Linux gives the ports from 32768 on to those who do not ask for one.
const portStart, portEnd = 20000, 32000

// ports is how many were tried. It begins elsewhere in each process, for those that run side by side.
var ports atomic.Int64

func init() { ports.Store(int64(rand.IntN(portEnd - portStart))) }

// Restart starts a server again that has ended, with its store and on its port.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	s.launch(tb)()
}

// launch starts the process. The function that it returns waits until the server is ready.
func (s *Server) launch(tb testing.TB) (wait func()) {
	tb.Helper()
	s.cmd = exec.Command(s.path, s.args...)
	stderr, err := s.cmd.StderrPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	ready := make(chan error, 1)
	go func() {
		var log strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if strings.Contains(lines.Text(), "Server is ready") {
				select {
				case ready <- nil:
				default:
				}
			}
			fmt.Fprintln(&log, lines.Text())
		}
		select {
		case ready <- fmt.Errorf("the NATS server has ended:\n%s", log.String()):
		default:
		}
	}()
	return func() {
		tb.Helper()
		select {
		case err := <-ready:
			if err != nil {
				tb.Fatal(err)
			}
		case <-time.After(patience):
			tb.Fatal("the NATS server is not ready")
		}
	}
}

// Kill ends the server as kill -9 does. It does nothing if the server has ended.
func (s *Server) Kill() { s.end(os.Kill) }

// Stop asks the server to end, and waits for that.
func (s *Server) Stop() { s.end(os.Interrupt) }

func (s *Server) end(signal os.Signal) {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	if s.cmd.Process.Signal(signal) != nil {
		_ = s.cmd.Process.Kill() // Windows has no other signal
	}
	_ = s.cmd.Wait() // a server that is killed has an error
	s.cmd = nil
}
