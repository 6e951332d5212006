//go:build unix

package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	main "example.com/tidings/cmd/tidings"
	"example.com/tidings/eventlog"
)

// The cursor is the id of the last message that was printed, soon after that, and at any time whole.
// A sub that begins again with it repeats at most what it had printed just before it was killed.
func TestCursor(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	dir := t.TempDir()
	file := filepath.Join(dir, "cursor")
	args := []string{"sub", "--from", "start", "--cursor", file, "a"}
	const total = 3000
	stop := make(chan struct{})
	torn := make(chan string, 1)
	go func() {
		defer close(torn)
		for {
			b, err := os.ReadFile(file)
			if _, parseErr := eventlog.ParsePosition(strings.TrimSpace(string(b))); err == nil && (parseErr != nil || !strings.HasSuffix(string(b), "\n")) {
				torn <- string(b)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i := range total / 100 {
			var lines strings.Builder
			for j := range 100 {
				fmt.Fprintln(&lines, i*100+j)
			}
			p.pub(t, lines.String(), "a")
		}
	}()
	next, repeated, kills := 0, 0, 0
	for next < total {
		c := begin(t, p.hubEnv(), nil, args...)
		for n := 0; next < total && (n < 700 || kills == 3); n++ {
			var i int
			if _, err := fmt.Sscan(c.line(t), &i); err != nil || i > next {
				t.Fatalf("after %d comes %d, %v", next-1, i, err)
			}
			if i < next {
				repeated++
			} else {
				next++
			}
		}
		c.Process.Kill()
		c.end(t)
		kills++
	}
	<-published
	close(stop)
	if got, ok := <-torn; ok {
		t.Errorf("the file holds %q", got)
	}
	t.Logf("%d messages came again after %d kills", repeated, kills)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 1+kills {
		t.Errorf("%v, %v", entries, err)
	}
}

// While messages come all the time, the file is at no moment older than 100 ms.
func TestCursorIsNeverOlderThan100Milliseconds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cursor")
	synctest.Test(t, func(t *testing.T) {
		c, _, err := main.OpenCursor(file)
		if err != nil {
			t.Fatal(err)
		}
		const step = 10 * time.Millisecond
		for i := range 100 {
			if err := c.Move(fmt.Sprintf("0w3k7zq4m8tc-%d", i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(step)
			oldest := i - int(100*time.Millisecond/step) + 1
			b, err := os.ReadFile(file)
			id, parseErr := eventlog.ParsePosition(strings.TrimSpace(string(b)))
			if oldest >= 0 && (err != nil || parseErr != nil || int(id.Seq) < oldest) {
				t.Fatalf("100 ms after the message %d the cursor is %q, %v", oldest, b, err)
			}
		}
		time.Sleep(100*time.Millisecond - step)
		if b, err := os.ReadFile(file); string(b) != "0w3k7zq4m8tc-99\n" {
			t.Errorf("at the end the cursor is %q, %v", b, err)
		}
	})
}

// The file is written soon after the output, while the stream goes on.
func TestCursorIsWrittenSoon(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, file); err != nil {
		t.Fatal(err)
	}
	c := begin(t, p.hubEnv(), nil, "sub", "--from", "start", "--cursor", file, "a")
	soonest := time.Hour // the others may be late because the machine is busy
	for i := range 5 {
		id := p.publish(t, "a", fmt.Sprint(i))[0]
		c.line(t)
		printed := time.Now()
		for {
			b, err := os.ReadFile(target)
			if err == nil && string(b) == id+"\n" {
				break
			}
			if time.Since(printed) > patience {
				t.Fatalf("the cursor is %q, %v", b, err)
			}
			time.Sleep(time.Millisecond)
		}
		soonest = min(soonest, time.Since(printed))
	}
	if soonest > 100*time.Millisecond {
		t.Errorf("the cursor was written after %v at the earliest", soonest)
	}
	// It is still a link to a file of the same mode.
	link, err := os.Lstat(file)
	info, statErr := os.Stat(file)
	if err != nil || statErr != nil || link.Mode()&os.ModeSymlink == 0 || info.Mode().Perm() != 0o640 {
		t.Errorf("%v %v", link, info)
	}
}

// A cursor that cannot be written is an error, however sub ends.
func TestCursorThatCannotBeWritten(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory")
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := begin(t, p.hubEnv(), nil, "sub", "--from", "start", "-n", "2", "--cursor", filepath.Join(dir, "cursor"), "a")
	id := p.publish(t, "a", "1")[0]
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(filepath.Join(dir, "cursor"))
		if string(b) == id+"\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cursor is %q, %v", b, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p.publish(t, "a", "2")
	if st := c.end(t); st.ExitStatus() != 1 || !strings.Contains(c.errs.String(), "--cursor") {
		t.Errorf("%d, %s", st.ExitStatus(), c.errs)
	}
}

// The cursor wins over --from, and --last-event-id over both. It follows a quiet topic, too.
func TestCursorAndOtherBeginnings(t *testing.T) {
	p := serve(t, nil, "--addr", "127.0.0.1:0", "--memory", "--keep-alive", "100ms")
	ids := p.publish(t, "a", "1", "2", "3")
	file := filepath.Join(t.TempDir(), "cursor")
	sub := func(args ...string) string {
		_, out, errs := run(t, p.hubEnv(), append([]string{"sub", "-e", "--from", "start"}, append(args, "a")...)...)
		return strings.Join(strings.Fields(out), " ") + errs
	}
	if got := sub("--cursor", file, "--count", "1"); got != "1" {
		t.Errorf("without a file: %q", got)
	}
	if got := sub("--cursor", file, "--last-event-id", ids[1]); got != "3" {
		t.Errorf("with --last-event-id: %q", got)
	}
	if err := os.WriteFile(file, []byte(ids[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := sub("--cursor", file); got != "2 3" {
		t.Errorf("with a file: %q", got)
	}
	if got := sub("--cursor", file); got != "" {
		t.Errorf("once more: %q", got)
	}
	for content, says := range map[string]string{"nonsense": "holds no id of an event", "": ""} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := sub("--cursor", file, "-n", "1"); says != "" && !strings.Contains(got, says) || says == "" && got != "1" {
			t.Errorf("%q: %q", content, got)
		}
	}
	if code, _, errs := run(t, p.hubEnv(), "sub", "--cursor", "/nowhere/at/all", "a"); code != 1 || !strings.Contains(errs, "--cursor") {
		t.Errorf("%d %s", code, errs)
	}
	if err := os.WriteFile(file, []byte(ids[2]), 0o600); err != nil {
		t.Fatal(err)
	}
	begin(t, p.hubEnv(), nil, "sub", "--cursor", file, "a")
	last := p.publish(t, "elsewhere", "x")[0]
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if b, _ := os.ReadFile(file); string(b) == last+"\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the cursor does not follow the log")
		}
	}
}
