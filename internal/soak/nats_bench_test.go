//go:build unix

package soak_test

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Durable publishes over HTTP, to one NATS server and to three that replicate, all
// on this machine.
func BenchmarkPublishToNATS(b *testing.B) {
	server := filepath.Join(b.TempDir(), "nats-server")
	if out, err := exec.Command("go", "build", "-o", server, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			urls := startNATS(b, server, replicas)
			for i, l := range []load{single, batch100} {
				for _, connections := range []int{1, 64} {
					b.Run(fmt.Sprintf("%s/connections=%d", l.name, connections), func(b *testing.B) {
						stream := fmt.Sprintf("bench%d-%d", i, connections)
						l.run(b, serve(b, "--nats", urls, "--nats-replicas", fmt.Sprint(replicas), "--nats-stream", stream), connections)
					})
				}
			}
		})
	}
}

// startNATS starts servers that end with the benchmark, a cluster if they are
// several, and returns their URLs.
func startNATS(b *testing.B, program string, n int) string {
	b.Helper()
	var clients, routes, urls []string
	for range n {
		clients, routes = append(clients, freePort(b)), append(routes, freePort(b))
		urls = append(urls, "nats://"+clients[len(clients)-1])
	}
	for i := range n {
		host, port, _ := net.SplitHostPort(clients[i])
		args := []string{"-a", host, "-p", port, "-js", "-sd", b.TempDir(), "-n", fmt.Sprint("n", i)}
		if n > 1 {
			args = append(args, "--cluster_name", "bench", "--cluster", "nats://"+routes[i], "--routes", "nats://"+strings.Join(routes, ",nats://"))
		}
		cmd := exec.Command(program, args...)
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
	for _, addr := range clients {
		for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
				break
			}
			if time.Now().After(deadline) {
				b.Fatal(err)
			}
		}
	}
	time.Sleep(5 * time.Second) // until they have a leader
	return strings.Join(urls, ",")
}

// freePort returns an address that nobody listens on.
func freePort(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
