package main_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

// With the least memory the server runs, and says what it has chosen.
func TestServeWithLittleMemory(t *testing.T) {
	s := serve(t, nil, "--addr", "127.0.0.1:0", "--data", t.TempDir(), "--max-memory", "48MiB", "--h2c")
	res, err := http.Post(s.url+"/topics/a", "", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	h2 := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
	h2.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	defer h2.CloseIdleConnections()
	res, err = h2.Get(s.url + "/topics/a/events")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || !strings.Contains(string(b), "hello") || res.ProtoMajor != 2 {
		t.Errorf("%s %s, %v", res.Proto, b, err)
	}
	s.signal(t, os.Interrupt)
	if err := s.wait(t); err != nil {
		t.Error(err)
	}
	for _, says := range []string{"memory=48MiB", "from=--max-memory", "window=6MiB", "client_bytes=18MiB", "max_subscribers="} {
		if log := s.stderr.String(); !strings.Contains(log, says) {
			t.Errorf("the log does not say %s:\n%s", says, log)
		}
	}
}
