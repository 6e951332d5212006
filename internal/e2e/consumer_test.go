package e2e_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A consumer is the example of this name as a process.
type consumer struct {
	t    *testing.T
	cmd  *exec.Cmd
	once sync.Once
}

// startConsumer starts the example. It is killed at the end of the test.
func startConsumer(t *testing.T, bin, url, file string) *consumer {
	t.Helper()
	c := &consumer{t: t, cmd: exec.Command(bin, url, file)}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

func (c *consumer) signal(sig syscall.Signal) {
	if err := c.cmd.Process.Signal(sig); err != nil {
		c.t.Error(err)
	}
}

func (c *consumer) kill() {
	c.once.Do(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	})
}

func countLines(t *testing.T, file string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}

// checkLines checks that a file of the consumer has the messages 0 to count-1, each
// once and in order.
func checkLines(t *testing.T, file string, count int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if _, data, _ := strings.Cut(line, " "); data != fmt.Sprintf("%q\n", fmt.Sprint(n)) {
			t.Fatalf("line %d is %q", n+1, line)
		}
		n++
	}
	if n != count {
		t.Errorf("%d lines, want %d", n, count)
	}
}

func writeSecret(t *testing.T, file string, secret []byte) {
	t.Helper()
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
}

// signedToken returns a token that may read the topic a for a time.
func signedToken(t *testing.T, secret []byte, life time.Duration) string {
	t.Helper()
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{
		"sub": "ada", "iat": now, "exp": now + int64(life/time.Second),
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
