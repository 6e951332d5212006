//go:build unix

package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestKeyNew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	code, key, stderr := run(t, nil, "key", "new", "--keys", file, "shop", "--publish", "orders.**,carts.*", "--subscribe", "orders.*", "--for", "24h")
	if code != 0 || !strings.HasPrefix(key, "tdk_shop_") || stderr != "" {
		t.Fatalf("%d, %q, %q", code, key, stderr)
	}
	line, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(line), `"publish":["orders.**","carts.*"],"subscribe":["orders.*"]`) ||
		strings.Contains(string(line), strings.TrimSpace(key)[len("tdk_shop_"):]) {
		t.Errorf("%s, %v", line, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for want, args := range map[string][]string{
		"has a key shop already":   {"--keys", file, "shop", "--administer"},
		"would allow nothing":      {"--keys", file, "other"},
		"has an empty token":       {"--keys", file, "other", "--publish", "a..b"},
		"--keys is missing":        {"other", "--publish", "a"},
		"one argument":             {"--keys", file, "--publish", "a"},
		"other characters than":    {"--keys", file, "Shop", "--publish", "a"},
		"no such file":             {"--keys", file + "/x/y", "other", "--publish", "a"},
		`see tidings key new --he`: {"--keys", file, "other", "--pubish", "a"},
	} {
		code, stdout, stderr := run(t, nil, append([]string{"key", "new"}, args...)...)
		if code == 0 || stdout != "" || !strings.Contains(stderr, want) && want != "no such file" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: %d, %q, %q", args, code, stdout, stderr)
		}
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(line) {
		t.Errorf("a refused key changes the file to %s, %v", after, err)
	}
}

func TestToken(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if code, stdout, stderr := run(t, nil, "keygen", key); code != 0 || stdout+stderr != "" {
		t.Fatalf("%d, %q, %q", code, stdout, stderr)
	}
	if code, _, stderr := run(t, nil, "keygen", key); code != 1 || !strings.Contains(stderr, "exists") {
		t.Errorf("over another key: %d, %q", code, stderr)
	}
	code, token, stderr := run(t, nil, "token", "--key", key, "ada", "--subscribe", "users.{sub}.**")
	if code != 0 || strings.Count(token, ".") != 2 || strings.Count(token, "\n") != 1 || stderr != "" {
		t.Errorf("%d, %q, %q", code, token, stderr)
	}
	for want, args := range map[string][]string{
		"--key is missing":       {"ada"},
		"one argument":           {"--key", key},
		"would be refused":       {"--key", key, "ada", "--publish", "{sub}{sub}"},
		"PRIVATE KEY":            {"--key", key + ".pub", "ada"},
		"want more than 0":       {"--key", key, "ada", "--for", "-1s"},
		"no such file":           {"--key", key + "x", "ada"},
		"see tidings token --he": {"--key", key, "ada", "--sub", "x"},
	} {
		if code, stdout, stderr := run(t, nil, append([]string{"token"}, args...)...); code == 0 || stdout != "" || !strings.Contains(stderr, want) && want != "PRIVATE KEY" {
			t.Errorf("%v: %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestServeCheck(t *testing.T) {
	dir := t.TempDir()
	keys, key := filepath.Join(dir, "keys"), filepath.Join(dir, "key")
	if code, _, stderr := run(t, nil, "key", "new", "--keys", keys, "shop", "--publish", "orders.**"); code != 0 {
		t.Fatal(stderr)
	}
	if code, _, stderr := run(t, nil, "keygen", key); code != 0 {
		t.Fatal(stderr)
	}
	for _, tt := range []struct {
		args []string
		says []string
	}{
		{nil, []string{"Whoever reaches 127.0.0.1:8080 may read, publish and administer everything. Only this machine can reach it.\n"}},
		{[]string{"--addr", "0.0.0.0:80", "--insecure-anonymous", "--admin-addr", "0.0.0.0:90"}, []string{
			"Whoever reaches 0.0.0.0:80 may read, publish and administer everything. Other machines can reach it.\n", "The metrics are on 0.0.0.0:90, for whoever reaches it.\n",
		}},
		{[]string{"--keys", keys, "--anonymous", "subscribe=public.**", "--jwt-key", "a=" + key + ".pub", "--admin-addr", ":9090"}, []string{
			"Without a credential one may read public.**.", "The API key shop may publish to orders.**.", "The key a checks tokens (EdDSA)",
			"The server speaks plain HTTP on 127.0.0.1:8080. Only this machine can reach it.\nThe metrics are on :9090, for everyone on this machine.\n",
		}},
		{[]string{"--keys", keys, "--addr", "0.0.0.0:80", "--admin-addr", "0.0.0.0:90"}, []string{
			"The server speaks plain HTTP on 0.0.0.0:80. Other machines can reach it.\nKeys and tokens travel in clear", "The metrics are on 0.0.0.0:90, for those who may administer.\n",
		}},
		{[]string{"--anonymous", "subscribe=public.**", "--addr", "0.0.0.0:80", "--insecure-anonymous"}, []string{
			"Without a credential one may read public.**.\nThe server speaks plain HTTP on 0.0.0.0:80. Other machines can reach it.\n",
		}},
		{[]string{"--keys", keys, "--public-url", "https://hub.example.org"}, []string{"Without a credential one may do nothing.", "Pages reach the server at https://hub.example.org."}},
	} {
		code, stdout, stderr := run(t, nil, append([]string{"serve", "--check"}, tt.args...)...)
		if code != 0 || stderr != "" {
			t.Errorf("%v: %d, %s", tt.args, code, stderr)
		}
		for _, text := range tt.says {
			if !strings.Contains(stdout, text) {
				t.Errorf("%v says %s, want %s", tt.args, stdout, text)
			}
		}
		if strings.Contains(stdout, "in clear") != strings.Contains(fmt.Sprint(tt.says), "in clear") {
			t.Errorf("%v says %s", tt.args, stdout)
		}
	}
	if err := os.Chmod(keys, 0o644); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"others may read the file":  {"--keys", keys},
		"has a private key":         {"--jwt-key", key},
		"leave one of them out":     {"--jwt-key", key + ".pub", "--insecure-anonymous"},
		"no --jwt-key is given":     {"--max-token-age", "1h"},
		"want subscribe=FILTER":     {"--anonymous", "a.**"},
		"** before its end":         {"--anonymous", "publish=a.**.b"},
		"which is reserved":         {"--anonymous", "publish=tidings.x"},
		"no such file":              {"--keys", keys + "x"},
		"want https://host[:port]":  {"--public-url", "hub.example.org"},
		"do what --anonymous allow": {"--addr", "0.0.0.0:0", "--anonymous", "subscribe=**"},
		"read and publish everythi": {"--addr", "0.0.0.0:0"},
		"read the metrics":          {"--admin-addr", "0.0.0.0:0", "--anonymous", "subscribe=**"},
	} {
		commands := [][]string{{"serve", "--check"}}
		if strings.HasSuffix(args[0], "addr") {
			commands = append(commands, []string{"serve"}) // which says the same
		}
		for _, command := range commands {
			code, stdout, stderr := run(t, nil, append(command, args...)...)
			if code != 2 || stdout != "" || !strings.Contains(stderr, want) {
				t.Errorf("%v: %d, %q, %q", args, code, stdout, stderr)
			}
		}
	}
}

// A server with keys and tokens: who may do what, and how that is taken away.
func TestServeWithCredentials(t *testing.T) {
	dir := t.TempDir()
	keys, key, ops := filepath.Join(dir, "keys"), filepath.Join(dir, "key"), filepath.Join(dir, "ops")
	must := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, nil, args...)
		if code != 0 {
			t.Fatalf("%v: %s", args, stderr)
		}
		return strings.TrimSpace(stdout)
	}
	must("keygen", key)
	shop := must("key", "new", "--keys", keys, "shop", "--publish", "orders.**")
	watch := must("key", "new", "--keys", keys, "watch", "--subscribe", "orders.**")
	if err := os.WriteFile(ops, []byte(must("key", "new", "--keys", keys, "ops", "--administer")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ada := must("token", "--key", key, "--subscribe", "users.{sub}.**,orders.**", "ada")
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--keys", keys, "--jwt-key", key+".pub")
	ask := func(method, path, credential string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		if method == "GET" {
			r.Body, r.ContentLength = nil, 0
		}
		r.Header.Set("Authorization", "Bearer "+credential)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	if res := ask("POST", "/topics/orders.1", shop); res.StatusCode != 201 {
		t.Errorf("%s", res.Status)
	}
	if res := ask("POST", "/topics/orders.1", watch); res.StatusCode != 403 {
		t.Errorf("%s", res.Status)
	}
	ends := func(what string, res *http.Response, do func()) {
		t.Helper()
		if res.StatusCode != 200 {
			t.Fatalf("%s: %s", what, res.Status)
		}
		do()
		start := time.Now()
		b, err := io.ReadAll(res.Body)
		if took := time.Since(start); err == nil || !strings.Contains(string(b), `data: {"reason":"revoked"}`) || took > 10*time.Second {
			t.Errorf("%s: after %v it ends with %v: %s", what, took, err, b)
		}
	}
	ends("a subject that is revoked", ask("GET", "/events?topic=users.ada.x", ada), func() {
		must("revoke", "--url", p.url, "--token-file", ops, "jwt:ada")
	})
	if res := ask("GET", "/events?topic=users.ada.x", ada); res.StatusCode != 401 {
		t.Errorf("%s", res.Status)
	}
	ends("a key that is taken away", ask("GET", "/events?topic=orders.*", watch), func() {
		b, err := os.ReadFile(keys)
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for line := range strings.Lines(string(b)) {
			if !strings.Contains(line, `"watch"`) {
				left = append(left, line)
			}
		}
		if err := os.WriteFile(keys+".new", []byte(strings.Join(left, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(keys+".new", keys); err != nil {
			t.Fatal(err)
		}
	})
	if res := ask("GET", "/events?topic=orders.*", watch); res.StatusCode != 401 {
		t.Errorf("%s", res.Status)
	}
	for want, args := range map[string][]string{
		"Only who may administer": {"revoke", "--url", p.url, "jwt:ada"},
		"A subject is jwt:NAME":   {"revoke", "--url", p.url, "--token-file", ops, "ada"},
		"one argument":            {"revoke"},
		"no such file":            {"revoke", "--token-file", ops + "x", "jwt:ada"},
	} {
		if code, stdout, stderr := run(t, []string{"TIDINGS_TOKEN=" + shop}, args...); code == 0 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%v: %d, %q, %q", args, code, stdout, stderr)
		}
	}
	p.signal(t, syscall.SIGTERM)
	if err := p.wait(t); err != nil {
		t.Error(err)
	}
	for _, secret := range []string{shop, watch, ada, strings.Split(ada, ".")[2]} {
		if strings.Contains(p.stderr.String(), secret) {
			t.Errorf("the log has a credential: %s", p.stderr)
		}
	}
}
