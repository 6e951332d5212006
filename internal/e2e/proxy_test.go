package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A proxy is a program with its recipe in docs/proxies.
type proxy struct {
	name     string
	programs []string // the first one names Debian's package
	files    []string // of the recipe; the first one is the configuration

	// frame is the configuration around the recipe, if the program needs one. args start
	// the program in the foreground. In both, and in the new text of each change, @DIR@ is
	// the folder of the files, @ADDR@ and @PORT@ are where the proxy listens, and @BACKEND@
	// and @BACKENDPORT@ are the address of the server behind it. @USER@ names the user who
	// runs the tests.
	frame   string
	args    []string
	changes []change // of every start

	// impatient and impatientArgs make the proxy's time-out for a silent stream one second,
	// if it has one.
	impatient     []change
	impatientArgs []string
	// passesBreaks says that a stream that breaks off also breaks off for the client.
	passesBreaks bool
	// notices says that the proxy sees a client leave although nothing is sent to it.
	notices bool
}

// A change edits the recipe before the proxy reads it.
type change struct{ old, new string }

var nginx = proxy{
	name:     "nginx",
	programs: []string{"nginx"},
	files:    []string{"nginx.conf"},
	frame: `
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
			include nginx.conf;
		}
	`,
	args:         []string{"-p", "@DIR@", "-c", "frame", "-e", "stderr"},
	changes:      []change{{"listen 80;", "listen @ADDR@;"}, {"127.0.0.1:8080", "@BACKEND@"}},
	impatient:    []change{{"proxy_http_version 1.1;", "proxy_http_version 1.1; proxy_read_timeout 1s;"}},
	passesBreaks: true,
	notices:      true,
}

var caddy = proxy{
	name:     "Caddy",
	programs: []string{"caddy"},
	files:    []string{"Caddyfile"},
	// Caddy otherwise waits for open streams when it stops.
	frame:   "{\n\tadmin off\n\tgrace_period 1ms\n}\nimport Caddyfile\n",
	args:    []string{"run", "--adapter", "caddyfile", "--config", "@DIR@/frame"},
	changes: []change{{"tidings.example.org {", "http://:@PORT@ {\n\tbind 127.0.0.1"}, {"127.0.0.1:8080", "@BACKEND@"}},
	notices: true,
}

var haproxy = proxy{
	name:         "HAProxy",
	programs:     []string{"haproxy"},
	files:        []string{"haproxy.cfg"},
	frame:        "global\n\tmaxconn 1000\n",
	args:         []string{"-db", "-f", "@DIR@/frame", "-f", "@DIR@/haproxy.cfg"},
	changes:      []change{{"bind :80", "bind @ADDR@"}, {"127.0.0.1:8080", "@BACKEND@"}},
	impatient:    []change{{"timeout server 60s", "timeout server 1s"}, {"timeout client 60s", "timeout client 1s"}},
	passesBreaks: true,
}

var apache = proxy{
	name:     "Apache",
	programs: []string{"apache2"},
	files:    []string{"apache.conf", "unavailable.asis"},
	frame: `
		ServerRoot "@DIR@"
		ServerName localhost
		DefaultRuntimeDir "@DIR@"
		PidFile "@DIR@/pid"
		ErrorLog /dev/stderr
		Mutex pthread
		Listen @ADDR@
		LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
		LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
		LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
		LoadModule asis_module /usr/lib/apache2/modules/mod_asis.so
		LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
		LoadModule include_module /usr/lib/apache2/modules/mod_include.so
		LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
		LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
		<Directory "/">
			Require all denied
		</Directory>
		Include "@DIR@/apache.conf"
	`,
	args: []string{"-D", "FOREGROUND", "-f", "@DIR@/frame"},
	changes: []change{
		{"<VirtualHost *:80>", "<VirtualHost @ADDR@>"},
		{"127.0.0.1:8080", "@BACKEND@"},
		{"/etc/apache2/unavailable.asis", "@DIR@/unavailable.asis"},
	},
	impatient:    []change{{"retry=0", "retry=0 timeout=1"}},
	passesBreaks: true,
}

var varnish = proxy{
	name:     "Varnish",
	programs: []string{"varnish", "varnishd"},
	files:    []string{"varnish.vcl"},
	args: []string{
		"-F", "-j", "none", "-n", "@DIR@/work", "-a", "@ADDR@", "-f", "@DIR@/varnish.vcl", "-s", "malloc,16M",
		"-p", "thread_pools=1", "-p", "thread_pool_min=10",
	},
	changes:       []change{{`"8080"`, `"@BACKENDPORT@"`}},
	impatientArgs: []string{"-p", "pipe_timeout=1"},
	passesBreaks:  true,
	notices:       true,
}

var proxies = []proxy{nginx, caddy, haproxy, apache, varnish}

// eachProxy runs a test for each proxy, all at the same time.
func eachProxy(t *testing.T, test func(*testing.T, proxy)) {
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

// hurried returns the proxy with a time-out of one second for a silent stream.
func (p proxy) hurried() proxy {
	p.changes = slices.Concat(p.changes, p.impatient)
	p.args = slices.Concat(p.args, p.impatientArgs)
	return p
}

// startProxy starts a proxy in front of the server at target and returns its URL. It uses
// the recipe with other addresses and the given changes. All other settings are the
// program's defaults.
func startProxy(t *testing.T, p proxy, target string, changes ...change) string {
	t.Helper()
	path := program(t, p.programs...)
	for range 5 {
		// Another process may take the free port before the proxy.
		ln := listen(t, "127.0.0.1:0")
		addr := ln.Addr().String()
		ln.Close()

		dir := t.TempDir()
		names := placeholders(t, dir, addr, target)
		p.configure(t, dir, names, changes)
		if err := launch(t, p.command(path, dir, names), addr); err == nil {
			return "http://" + addr
		} else if !strings.Contains(strings.ToLower(err.Error()), "address already in use") {
			t.Fatalf("%s: %v", p.name, err)
		}
	}
	t.Fatalf("%s finds no free port", p.name)
	return ""
}

// placeholders returns a replacer of the names in a proxy's configuration.
func placeholders(t *testing.T, dir, addr, target string) *strings.Replacer {
	t.Helper()
	backend, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("@DIR@", dir, "@ADDR@", addr, "@PORT@", port,
		"@BACKEND@", backend.Host, "@BACKENDPORT@", backend.Port())
}

// configure writes the proxy's configuration into a folder.
func (p proxy) configure(t *testing.T, dir string, names *strings.Replacer, changes []change) {
	t.Helper()
	changes = slices.Concat(p.changes, changes)
	for i, name := range p.files {
		recipe, err := os.ReadFile("../../docs/proxies/" + name)
		if err != nil {
			t.Fatal(err)
		}
		text := string(recipe)
		if i == 0 {
			for _, c := range changes {
				if !strings.Contains(text, c.old) {
					t.Fatalf("docs/proxies/%s does not hold %q", name, c.old)
				}
				text = strings.ReplaceAll(text, c.old, names.Replace(c.new))
			}
		}
		writeFile(t, filepath.Join(dir, name), text)
	}
	frame := names.Replace(p.frame)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if me.Uid == "0" { // only as root, these must choose a user
		switch p.name {
		case nginx.name:
			frame = "user " + me.Username + ";\n" + frame
		case apache.name:
			frame = "User www-data\nGroup www-data\n" + frame
			// That user reads unavailable.asis.
			for _, folder := range []string{dir, filepath.Dir(dir)} {
				if err := os.Chmod(folder, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	writeFile(t, filepath.Join(dir, "frame"), frame)
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// command returns the command that runs the proxy.
func (p proxy) command(path, dir string, names *strings.Replacer) *exec.Cmd {
	cmd := exec.Command(path)
	for _, arg := range p.args {
		cmd.Args = append(cmd.Args, names.Replace(arg))
	}
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	return cmd
}

// launch starts a program that ends with the test, and waits until it listens on addr. The
// error of a program that does not holds what it printed.
func launch(t *testing.T, cmd *exec.Cmd, addr string) error {
	t.Helper()
	var output bytes.Buffer // complete once the program has exited
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second // children may keep the output open
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	if err := accepts(t.Context(), addr, exited); err != nil {
		_ = cmd.Process.Kill()
		<-exited
		return fmt.Errorf("%w\n%s", err, &output)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(patience):
			t.Errorf("%s does not end", cmd.Path)
			_ = cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("the log of %s:\n%s", cmd.Path, &output)
		}
	})
	return nil
}

// accepts waits until a program listens on addr or has exited.
func accepts(ctx context.Context, addr string, exited chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-exited:
			return fmt.Errorf("exited at once")
		case <-ctx.Done():
			return fmt.Errorf("does not listen: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
