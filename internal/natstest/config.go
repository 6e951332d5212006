package natstest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A Config configures the servers of [StartConfigured].
type Config struct {
	// Servers is how many servers there are, 1 or 3. Three form a cluster.
	Servers int

	// SyncAlways has the servers sync each message to their disks before they acknowledge
	// it. By default they sync every two minutes.
	SyncAlways bool

	// Users has the password of each user. If there is none, everybody may connect.
	Users map[string]string

	// Route returns the address at which a server reaches another, which listens for
	// servers at an address. Nil means that address. Servers know no other way to each
	// other, and tell clients of no other server.
	Route func(from, to int, address string) string
}

// StartConfigured starts servers as [Start] and [StartCluster] do, with a configuration. Each has
// its name as a tag, by which streams can be placed.
func StartConfigured(tb testing.TB, c Config) []*Server {
	tb.Helper()
	var servers []*Server
	var routes []string
	for i := range c.Servers {
		s := newServer(tb, fmt.Sprint("n", i))
		s.config = filepath.Join(tb.TempDir(), "nats.conf")
		s.monitor = freeAddress(tb)
		servers, routes = append(servers, s), append(routes, freeAddress(tb))
	}
	for i, s := range servers {
		s.Configure(tb, c.Users)
		rest := fmt.Sprintf("http: %q\njetstream { store_dir: %q", s.monitor, s.Dir)
		if c.SyncAlways {
			rest += ", sync_interval: always"
		}
		rest += " }\n"
		if c.Servers > 1 {
			rest += c.cluster(tb, i, routes)
		}
		if err := os.WriteFile(s.config, []byte(s.listen()+rest+"include \"users.conf\"\n"), 0o600); err != nil {
			tb.Fatal(err)
		}
		s.args = []string{"-c", s.config}
	}
	if c.Servers > 1 {
		form(tb, servers)
	} else {
		servers[0].Restart(tb)
	}
	return servers
}

// listen returns the lines of a configuration with the server's name, tag and address.
func (s *Server) listen() string {
	return fmt.Sprintf("server_name: %s\nserver_tags: [ %q ]\nlisten: %q\n", s.Name, s.Name, strings.TrimPrefix(s.URL, "nats://"))
}

// cluster returns the lines of a configuration about the cluster of server i.
func (c Config) cluster(tb testing.TB, i int, addresses []string) string {
	var routes strings.Builder
	for to, address := range addresses {
		if to == i {
			continue
		}
		if c.Route != nil {
			address = c.Route(i, to, address)
		}
		fmt.Fprintf(&routes, " %q,", "nats://"+address)
	}
	// Servers pass on to each other where a server can be reached. Nobody listens there.
	_, nowhere, _ := net.SplitHostPort(freeAddress(tb))
	return fmt.Sprintf("cluster { name: test, listen: %q, no_advertise: true, advertise: \"127.0.0.1:%s\", routes: [%s ] }\n",
		addresses[i], nowhere, strings.TrimSuffix(routes.String(), ","))
}

// Configure gives a server of [StartConfigured] other users. A running one obeys when
// Configure has returned, or soon after.
func (s *Server) Configure(tb testing.TB, users map[string]string) {
	tb.Helper()
	var lines strings.Builder
	for user, password := range users {
		fmt.Fprintf(&lines, " { user: %q, password: %q },", user, password)
	}
	text := ""
	if lines.Len() > 0 {
		text = "authorization { users: [" + strings.TrimSuffix(lines.String(), ",") + " ] }\n"
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(s.config), "users.conf"), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	if s.Running() {
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			tb.Fatal(err)
		}
	}
}

// Running reports whether the server has been started, and not ended by a method.
func (s *Server) Running() bool { return s.cmd != nil }
