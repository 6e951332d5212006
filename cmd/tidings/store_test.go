//go:build unix

package main_test

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	main "example.com/tidings/cmd/tidings"
	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/streamtest"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

// A subscriber reads a stream, event by event.
type subscriber struct {
	next func() (sse.Event, error, bool)
	stop func()
}

func subscribe(t *testing.T, url string, header ...string) *subscriber {
	t.Helper()
	res := get(t, url, header...)
	if res.StatusCode != 200 {
		t.Fatalf("GET %s: %s", url, res.Status)
	}
	next, stop := iter.Pull2(sse.Decode(res.Body, nil))
	t.Cleanup(stop)
	return &subscriber{next, func() { res.Body.Close() }}
}

// event reads the next event that is not one of the hub's own.
func (s *subscriber) event(t *testing.T) sse.Event {
	t.Helper()
	for {
		ev, err, ok := s.next()
		if !ok || err != nil {
			t.Fatalf("the stream ends (%v)", err)
		}
		if !strings.HasPrefix(ev.Type, topics.ReservedPrefix) || ev.Type == sse.GapEventType {
			return ev
		}
	}
}

// texts reads the texts of the next messages.
func (s *subscriber) texts(t *testing.T, n int) []string {
	t.Helper()
	var all []string
	for range n {
		all = append(all, s.event(t).Data)
	}
	return all
}

func said(text string) string { return fmt.Sprintf(`{"user":"alice","text":%q}`, text) }

// Acknowledged messages survive SIGKILL. A subscriber that reconnects with its
// last id gets exactly the messages after it.
func TestKilledServerGoesOnWhereItWas(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--data", data)
	s := subscribe(t, p.url+"/events")
	for _, text := range []string{"one", "two", "three"} {
		post(t, p.url, said(text))
	}
	if got := s.event(t); got.Data != said("one") {
		t.Fatalf("the first event is %+v", got)
	}
	second := s.event(t)
	p.signal(t, syscall.SIGKILL)
	p.wait(t)

	p = serve(t, nil, "--addr", strings.TrimPrefix(p.url, "http://"), "--data", data)
	post(t, p.url, said("four"))
	s = subscribe(t, p.url+"/events", "Last-Event-ID", second.ID)
	post(t, p.url, said("five"))
	if got, want := s.texts(t, 3), []string{said("three"), said("four"), said("five")}; !slices.Equal(got, want) {
		t.Errorf("after %s comes %q, want %q", second.ID, got, want)
	}
	p.signal(t, syscall.SIGTERM)
	if err := p.wait(t); err != nil {
		t.Errorf("the program: %v", err)
	}
	if logged := p.stderr.String(); !strings.Contains(logged, "in="+data+" messages=3 opened_in=") {
		t.Errorf("the log does not say where messages are, and how many:\n%s", logged)
	}
}

// Messages that were acknowledged before SIGTERM reach every subscriber. Then its
// stream breaks off, after an event that says why.
func TestSIGTERMDeliversWhatWasAcknowledged(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0")
	var streams []*http.Response
	for range 5 {
		streams = append(streams, get(t, p.url+"/events"))
	}
	var want []string
	for i := range 300 {
		text := said(fmt.Sprint(i))
		post(t, p.url, text)
		want = append(want, text)
	}
	p.signal(t, syscall.SIGTERM)
	for i, res := range streams {
		var got []string
		var last sse.Event
		var end error
		for ev, err := range sse.Decode(res.Body, nil) {
			switch {
			case err != nil:
				end = err
			case ev.Type == "":
				got = append(got, ev.Data)
			}
			last = cmp.Or(ev, last)
		}
		if !slices.Equal(got, want) {
			t.Errorf("stream %d has %d messages, want all %d in order", i, len(got), len(want))
		}
		if last.Type != hub.EndEventType || last.Data != `{"reason":"stopping"}` || end == nil {
			t.Errorf("stream %d ends with %+v, %v", i, last, end)
		}
	}
	if err := p.wait(t); err != nil {
		t.Errorf("the program: %v, want exit code 0; stderr:\n%s", err, p.stderr)
	}
}

// Two servers on one folder would both acknowledge messages.
func TestSecondProcessOnAFolderIsRefused(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--data", data)
	code, stdout, stderr := run(t, nil, "serve", "--addr", "127.0.0.1:0", "--data", data)
	if code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, data) || !strings.Contains(stderr, fmt.Sprint(p.cmd.Process.Pid)) {
		t.Errorf("exit code %d, stdout %q, stderr %q; want 1 and one line with the folder and the process", code, stdout, stderr)
	}
	post(t, p.url, said("still here"))
}

// By default messages are in the working folder, and other users cannot read them.
func TestDataFolderIsPrivate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	p := serve(t, nil, "--addr", "127.0.0.1:0")
	post(t, p.url, said("hello"))
	data := filepath.Join(p.cmd.Dir, "tidings-data")
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("the folder's mode is %o, want 700", got)
	}
	err = filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && info.IsDir() && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMemoryLeavesNothing(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	post(t, p.url, said("hello"))
	if got := subscribe(t, p.url+"/events?from=start").texts(t, 1); got[0] != said("hello") {
		t.Errorf("the message is %q", got)
	}
	p.signal(t, syscall.SIGTERM)
	p.wait(t)
	if entries, err := os.ReadDir(p.cmd.Dir); err != nil || len(entries) > 0 {
		t.Errorf("the working folder has %v, %v", entries, err)
	}
}

// For the store and the hub, a flag and its environment variable do the same.
func TestStoreSettings(t *testing.T) {
	dirs := [2]string{filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "data")}
	for i, given := range []struct {
		name string
		env  []string
		args []string
	}{
		{"as flags", nil, []string{
			"--data", dirs[0], "--sync", "always", "--retention-age", "1h", "--retention-bytes", "64KiB", "--dedup-window", "30m",
			"--max-message", "1KiB", "--reserve", "1MiB", "--max-subscribers", "2", "--buffer", "16",
		}},
		{"as environment variables", []string{
			"TIDINGS_DATA=" + dirs[1], "TIDINGS_SYNC=always", "TIDINGS_RETENTION_AGE=1h", "TIDINGS_RETENTION_BYTES=65536", "TIDINGS_DEDUP_WINDOW=30m",
			"TIDINGS_MAX_MESSAGE=1024", "TIDINGS_RESERVE=1048576", "TIDINGS_MAX_SUBSCRIBERS=2", "TIDINGS_BUFFER=16",
		}, nil},
	} {
		t.Run(given.name, func(t *testing.T) {
			p := serve(t, given.env, append([]string{"--addr", "127.0.0.1:0"}, given.args...)...)
			if _, err := os.Stat(filepath.Join(dirs[i], "lock")); err != nil {
				t.Errorf("--data: %v", err)
			}
			publish := func(size int) int {
				res, err := http.Post(p.url+"/topics/sizes", "text/plain", strings.NewReader(strings.Repeat("x", size)))
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				return res.StatusCode
			}
			if at, above := publish(1024), publish(1025); at != 201 || above != 413 {
				t.Errorf("--max-message 1KiB: %d for 1024 bytes, %d for 1025", at, above)
			}
			// The topic gets some 200 KiB. The log keeps at most the newest 64 KiB.
			for range 200 {
				publish(1000)
			}
			first, second := subscribe(t, p.url+"/events?topic=sizes&from=start"), subscribe(t, p.url+"/events")
			id, err := eventlog.ParsePosition(first.event(t).ID)
			if err != nil || id.Seq < 201-64 || id.Seq > 201 {
				t.Errorf("--retention-bytes 64KiB: the oldest of 201 messages is %v, %v", id, err)
			}
			third := get(t, p.url+"/events", "Accept", "text/event-stream")
			if b, err := io.ReadAll(third.Body); err == nil || streamtest.Mask(string(b)) != "event: tidings.unavailable\n"+streamtest.Retry+"data: {}\n\n" {
				t.Errorf("--max-subscribers 2: the third gets %q, %v", b, err)
			}
			first.stop()
			second.stop()
		})
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "65536": 65536, "1KiB": 1 << 10, "512KiB": 512 << 10, "3 MiB": 3 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40,
	} {
		if got, err := main.ParseSize(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
		if again, err := main.ParseSize(main.FormatSize(want)); err != nil || again != want {
			t.Errorf("%d is written as %s, which is %d, %v", want, main.FormatSize(want), again, err)
		}
	}
	for _, text := range []string{"", " ", "x", "-1", "+1", "1.5MiB", "1MB", "1kib", "KiB", "9223372036854775808", "8388608TiB"} {
		if got, err := main.ParseSize(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}

// A message that is larger than retention keeps would be gone at once. It is refused with
// the limit that counts, which is not that of --max-message.
func TestMessageLargerThanRetention(t *testing.T) {
	for name, args := range map[string][]string{"disk": nil, "memory": {"--memory"}} {
		t.Run(name, func(t *testing.T) {
			p := serve(t, nil, append([]string{"--addr", "127.0.0.1:0", "--retention-bytes", "300KiB"}, args...)...)
			large := strings.Repeat("x", 400_000)
			for _, request := range []struct {
				path, contentType, body string
				status                  int
			}{
				{"/topics/a", "text/plain", "before", 201},
				{"/topics/a", "text/plain", large, 413},
				{"/batch", "application/x-ndjson", `{"topic":"a","data":"` + large + `"}`, 413},
				{"/messages", "application/json", said(large), 413},
				{"/topics/a", "text/plain", "after", 201},
			} {
				res, err := http.Post(p.url+request.path, request.contentType, strings.NewReader(request.body))
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != request.status || res.StatusCode == 413 && !strings.Contains(string(b), "307200") {
					t.Errorf("%s with %d bytes: %s %s, %v; want %d", request.path, len(request.body), res.Status, b, err, request.status)
				}
			}
			if got := subscribe(t, p.url+"/events?topic=a&from=start").texts(t, 2); !slices.Equal(got, []string{"before", "after"}) {
				t.Errorf("then the topic has %q", got)
			}
		})
	}
}
