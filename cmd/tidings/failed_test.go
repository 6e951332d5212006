//go:build unix

package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	main "example.com/tidings/cmd/tidings"
	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
)

// complaint returns the lines of stderr that are not of the log.
func complaint(stderr string) (lines []string) {
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "time=") {
			lines = append(lines, line)
		}
	}
	return lines
}

// A publisher posts messages until the server is gone, and notes what it is told.
type publisher struct {
	mu       sync.Mutex
	stored   map[string]string // data by id
	statuses map[int]int
}

func (p *publisher) publish(t *testing.T, url string) {
	for n := 0; ; n++ {
		data := fmt.Sprint("message ", n)
		res, err := http.Post(url+"/topics/a", "text/plain", strings.NewReader(data))
		if err != nil {
			return
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return
		}
		var stored struct{ ID string }
		p.mu.Lock()
		p.statuses[res.StatusCode]++
		if res.StatusCode == 201 {
			if err := json.Unmarshal(b, &stored); err != nil {
				t.Errorf("%q: %v", b, err)
			}
			p.stored[stored.ID] = data
		}
		p.mu.Unlock()
	}
}

func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.stored)
}

// A server whose data folder is taken away ends by itself: with 1, within 5 seconds, and one
// sentence that names the folder. Streams are told that it stops. What was acknowledged is in the folder.
func TestFolderTakenAway(t *testing.T) {
	for _, way := range []string{"removed", "renamed"} {
		t.Run(way, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			p := serve(t, nil, "--addr", "127.0.0.1:0", "--data", data)
			stream := get(t, p.url+"/events?topic=a")
			told := publisher{stored: map[string]string{}, statuses: map[int]int{}}
			var all sync.WaitGroup
			defer all.Wait()
			for range 2 {
				all.Go(func() { told.publish(t, p.url) })
			}
			for deadline := time.Now().Add(patience); told.count() < 50; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("nothing is stored")
				}
			}
			if way == "removed" {
				for os.RemoveAll(data) != nil { // the server makes files meanwhile
				}
			} else if err := os.Rename(data, data+".old"); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			b, err := io.ReadAll(stream.Body)
			if err == nil || !strings.Contains(string(b), "data: message 0\n") || !strings.Contains(string(b), "\ndata: {\"reason\":\"stopping\"}\n") {
				t.Errorf("the stream has %d bytes and ends with %v and %q, want it told why", len(b), err, b[max(0, len(b)-100):])
			}
			exit, ok := p.wait(t).(*exec.ExitError)
			took := time.Since(start)
			if !ok || exit.ExitCode() != 1 || took > 5*time.Second {
				t.Errorf("after %v the program ends with %v, want exit code 1", took, exit)
			}
			all.Wait()
			t.Logf("after %v; the statuses are %v", took.Round(time.Millisecond), told.statuses)
			for status := range told.statuses {
				if status != 201 && status != 500 && status != 503 {
					t.Errorf("publishers got %d", status)
				}
			}
			if lines := complaint(p.stderr.String()); len(lines) != 1 || !strings.HasPrefix(lines[0], "tidings: ") || !strings.Contains(lines[0], data) || !strings.Contains(lines[0], "start again") {
				t.Errorf("it says %q; stderr:\n%s", lines, p.stderr)
			}
			if way == "removed" {
				return
			}
			if err := os.Rename(data+".old", data); err != nil {
				t.Fatal(err)
			}
			p = serve(t, nil, "--addr", "127.0.0.1:0", "--data", data)
			for id, want := range told.stored {
				var got struct{ Data string }
				res := get(t, p.url+"/topics/a/events/"+id)
				if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Data != want {
					t.Fatalf("%s is %q, %v (%s); want %q", id, got.Data, err, res.Status, want)
				}
				res.Body.Close()
			}
		})
	}
}

// A second server on a data folder is refused. The first one goes on.
func TestSecondServerOnAFolder(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--data", data)
	post(t, p.url, said("one"))
	code, stdout, stderr := run(t, nil, "serve", "--addr", "127.0.0.1:0", "--data", data)
	want := fmt.Sprintf("in use by another process (pid %d)", p.cmd.Process.Pid)
	if lines := complaint(stderr); code != 1 || stdout != "" || len(lines) != 1 || !strings.Contains(lines[0], data) || !strings.Contains(lines[0], want) {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	post(t, p.url, said("two"))
}

// A failedLog has failed for good.
type failedLog struct{ eventlog.Log }

func (failedLog) Failed() <-chan struct{} { return nil }
func (failedLog) Err() error              { return errors.New("the disk has failed; check it") }

// A server that does not stop in time says why: the log's reason if that has failed, however long
// the disk then hangs.
func TestWhyLate(t *testing.T) {
	for want, log := range map[string]eventlog.Log{
		"the disk has failed; check it":                   failedLog{eventlog.NewMemory(nil)},
		"the server has not stopped within 2.3s of the s": eventlog.NewMemory(nil),
	} {
		h, err := hub.New(t.Context(), log, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := main.WhyLate(h); !strings.HasPrefix(got.Error(), want) {
			t.Errorf("it says %q, want %q", got, want)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := main.WhyLate(nil); got == nil {
		t.Error("while the log opens, it says nothing")
	}
}
