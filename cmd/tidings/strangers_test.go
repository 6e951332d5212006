//go:build unix

package main_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Each command asks a hub.
var asking = [][]string{{"sub", "-n", "1", "a"}, {"pub", "a", "x"}, {"topics"}, {"history", "-r", "a"}, {"revoke", "jwt:ada"}}

// A redirect to another origin, be it only another port, takes no credential and no header of the
// user there.
func TestSecretsStayWithTheHub(t *testing.T) {
	var mu sync.Mutex
	var seen []*http.Request
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r)
		w.WriteHeader(http.StatusNotFound)
	}))
	defer elsewhere.Close()
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") == "" || r.Header.Get("Authorization") == "" || r.Host != "hub.test" {
			t.Errorf("%s does not come with the headers: %v, for the host %s", r.URL, r.Header, r.Host)
		}
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer hub.Close()
	for i, args := range asking {
		code, _, errs := run(t, []string{"TIDINGS_URL=" + hub.URL, "TIDINGS_TOKEN=secret"}, append(args, "--header", "X-Key: secret", "--header", "Host: hub.test")...)
		if code != 1 || !strings.Contains(errs, "404") {
			t.Errorf("%s: %d, %s", args[0], code, errs)
		}
		mu.Lock()
		if len(seen) != i+1 {
			t.Fatalf("%s: %d requests elsewhere", args[0], len(seen))
		}
		if seen[i].Host == "hub.test" {
			t.Errorf("%s: the request elsewhere has the host of the hub", args[0])
		}
		for name, values := range seen[i].Header {
			if name == "X-Key" || name == "Authorization" || strings.Contains(fmt.Sprint(values), "secret") {
				t.Errorf("%s: the request elsewhere has %s: %q", args[0], name, values)
			}
		}
		mu.Unlock()
	}
}

// A credential or a header that no request can have is an error at once, whose text does not have it.
func TestCredentialsThatCannotBeSent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("sec\x1bret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		env  string
		args []string
		code int
		says string
	}{
		{"TIDINGS_TOKEN=sec\nret", nil, 1, "TIDINGS_TOKEN"},
		{"X=", []string{"--token-file", file}, 1, "--token-file"},
		{"X=", []string{"--header", "X-Key: sec\x01ret"}, 2, "--header"},
		{"X=", []string{"--header", "X Key: secret"}, 2, "--header"},
	} {
		for _, args := range asking {
			code, _, errs := run(t, []string{tt.env, "TIDINGS_URL=http://127.0.0.1:1"}, append(args, tt.args...)...)
			if code != tt.code || !strings.Contains(errs, tt.says) || strings.Contains(errs, "sec") || strings.Count(errs, "\n") != 1 {
				t.Errorf("%s %s %q: %d, %q", tt.env, args[0], tt.args, code, errs)
			}
		}
	}
}

// Whatever a server says, no control character of it reaches the terminal.
func TestErrorsOfAStranger(t *testing.T) {
	const wild = "\x1b[31m\u009b1m\u202e"
	body := `{"title":"T","detail":"wi\u001b[31m\u009b1m\u202eld"}`
	for what, answer := range map[string]string{
		"a problem": "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body,
		"a reason":  "HTTP/1.1 400 wi" + wild + "ld\r\nContent-Length: 0\r\n\r\n",
		"a type":    "HTTP/1.1 404 OK\r\nContent-Type: wi\u009b1m\u202eld\r\nContent-Length: 0\r\n\r\n",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					conn.Read(make([]byte, 4096))
					fmt.Fprint(conn, answer)
					time.Sleep(100 * time.Millisecond)
				}()
			}
		}()
		for _, args := range asking {
			if _, out, errs := run(t, []string{"TIDINGS_URL=http://" + l.Addr().String()}, args...); strings.ContainsAny(errs, wild[:1]+"\u009b\u202e") || errs == "" || out != "" {
				t.Errorf("%s, %s: %q", what, args[0], errs)
			}
		}
		l.Close()
	}
	// The same holds for what goes to stdout.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"topics":[{"topic":"wi\u009b1m\u202eld","count":1}]}`)
	}))
	defer s.Close()
	if _, out, _ := run(t, []string{"TIDINGS_URL=" + s.URL}, "topics", "--json"); strings.ContainsAny(out, "\u009b\u202e") || !strings.Contains(out, `wi\u009b1m\u202eld`) {
		t.Errorf("%q", out)
	}
}

// While nobody takes what was printed, sub is not idle: everything that is stored comes.
func TestIdleWithASlowReader(t *testing.T) {
	t.Parallel()
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	p.pub(t, strings.Repeat(strings.Repeat("x", 999)+"\n", 400), "a") // several times what a pipe holds
	c := begin(t, p.hubEnv(), nil, "sub", "--from", "start", "--idle", "2s", "a")
	c.line(t)
	time.Sleep(2500 * time.Millisecond)
	for range 399 {
		c.line(t)
	}
	if st := c.end(t); st.ExitStatus() != 0 {
		t.Errorf("%d, %s", st.ExitStatus(), c.errs)
	}
}

// When the topic or the type of all lines is refused, pub says that once, and reads no further.
func TestPubOfWhatIsRefused(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	_, key, _ := run(t, nil, "key", "new", "--keys", keys, "--publish", "a.**", "service")
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory", "--keys", keys)
	env := append(p.hubEnv(), "TIDINGS_TOKEN="+strings.TrimSpace(key))
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"b"}, "403 Forbidden: You may not publish to the topic b"},
		{[]string{"a.b", "--type", "two\nlines"}, "400 Bad Request: The type"},
		{[]string{"a.b", "--type", "tidings.open"}, "403 Forbidden"},
	} {
		cmd := command(t, env, append([]string{"pub"}, tt.args...)...)
		in, err := cmd.StdinPipe() // it does not end
		if err != nil {
			t.Fatal(err)
		}
		var errs strings.Builder
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(in, strings.Repeat("x\n", 900))
		cmd.Wait()
		if got := errs.String(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(got, "gave up: the hub answered "+tt.says) || strings.Contains(got, "ine 1") || strings.Count(got, "\n") > 2 {
			t.Errorf("%q: %d, %s", tt.args, cmd.ProcessState.ExitCode(), got)
		}
	}
}
