package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/budget"
)

// upload begins a POST that announces a body, and sends a part of it.
func (s *site) upload(t *testing.T, path string, announced, sent int) (net.Conn, <-chan string) {
	t.Helper()
	c, err := s.mem.Dial()
	if err != nil {
		t.Fatal(err)
	}
	status := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(c).ReadString('\n')
		status <- strings.TrimSpace(line)
		io.Copy(io.Discard, c)
	}()
	length := fmt.Sprintf("Content-Length: %d", announced)
	if announced < 0 {
		length = "Transfer-Encoding: chunked"
	}
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: memory.test\r\nContent-Type: application/x-ndjson\r\n%s\r\n\r\n", path, length)
	line := `{"topic":"a","data":"` + strings.Repeat("b", 1000) + "\"}\n"
	for n := 0; n+len(line) <= sent; n += len(line) {
		text := line
		if announced < 0 {
			text = fmt.Sprintf("%x\r\n%s\r\n", len(line), line)
		}
		if _, err := io.WriteString(c, text); err != nil {
			break
		}
	}
	return c, status
}

// Slow large bodies take no more than their budget. The next one is refused, and nothing of it
// is stored. Small messages are published all the while.
func TestSlowBodies(t *testing.T) {
	for _, announced := range []int{1 << 20, -1} {
		for _, path := range []string{"/batch", "/topics/a"} {
			t.Run(fmt.Sprint(path, announced), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s := serve(t, setting{
						hub: hub.Options{ClientBytes: 24 << 20}, // 6 MiB of large bodies
						api: httpapi.Options{MaxMessage: 1 << 20},
					})
					large := &budget.Of(s.hub).LargeBodies
					var conns []net.Conn
					refused := 0
					for range 25 {
						c, status := s.upload(t, path, announced, 400<<10)
						conns = append(conns, c)
						synctest.Wait()
						select {
						case line := <-status:
							if !strings.Contains(line, "503") {
								t.Fatal(line)
							}
							refused++
						default:
						}
						if used := large.Used(); used > large.Limit() {
							t.Fatalf("%d of %d bytes are held", used, large.Limit())
						}
					}
					if refused < 5 || refused > 20 {
						t.Errorf("%d of 25 are refused", refused)
					}
					s.publish(t, "/topics/a", strings.Repeat("x", 60<<10))
					if r := s.batch(t, `{"topic":"a","data":1}`+"\n"); r.status != 200 {
						t.Errorf("a small batch: %d %s", r.status, r.body)
					}
					r := s.send(t, "POST", "/topics/a", strings.Repeat("x", 900<<10))
					if p := r.problem(t, 503, "unavailable"); r.header.Get("Retry-After") == "" || !strings.Contains(p.Detail, "Send it again") {
						t.Errorf("a large one: %+v, %v", p, r.header)
					}
					for _, c := range conns {
						c.Close()
					}
					synctest.Wait()
					if n := large.Used() + budget.Of(s.hub).SmallBodies.Used(); n != 0 {
						t.Errorf("%d bytes stay taken", n)
					}
					s.publish(t, "/topics/a", strings.Repeat("x", 900<<10))
					var page historyPage
					decode(t, s.get(t, "/topics/a/events").body, &page)
					if len(page.Events) != 3 {
						t.Errorf("%d messages are stored, want 3", len(page.Events))
					}
				})
			})
		}
	}
}

// A body that never fits gets 413, not 503 for ever.
func TestBodyLargerThanTheBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{hub: hub.Options{ClientBytes: 1 << 20}}) // 256 KiB of large bodies
		body := strings.Repeat("x", 300<<10)
		s.send(t, "POST", "/topics/a", body).problem(t, 413, "body-too-large")
		for _, r := range []io.Reader{strings.NewReader(body), io.MultiReader(strings.NewReader(body))} {
			res := s.request(t, "POST", "/batch", r, "Content-Type", "application/x-ndjson")
			if res.StatusCode != http.StatusRequestEntityTooLarge {
				t.Error(res.Status)
			}
		}
		s.publish(t, "/topics/a", body[:200<<10])
	})
}

// The largest batch that is allowed fits into the budget, with what its messages take.
func TestLargestBatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{log: eventlog.NewMemory(nil)})
		line := `{"topic":"a","data":"` + strings.Repeat("b", 1600) + "\"}\n"
		if r := s.batch(t, strings.Repeat(line, 10_000)); r.status != 200 || strings.Count(r.body, "\n") != 10_000 {
			t.Errorf("%d, %.300s", r.status, r.body)
		}
		large := &budget.Of(s.hub).LargeBodies
		if n := large.Used(); n != 0 {
			t.Errorf("%d bytes stay taken", n)
		}
	})
}

// Many short lines take much more memory than their bytes, which counts.
func TestMessagesOfABatchCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{})
		c, err := s.mem.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		line := `{"topic":"a","data":1}` + "\n"
		fmt.Fprintf(c, "POST /batch HTTP/1.1\r\nHost: memory.test\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n")
		io.WriteString(c, strings.Repeat(line, 9000))
		synctest.Wait()
		if n := budget.Of(s.hub).LargeBodies.Used(); n < 9000*200 {
			t.Errorf("9,000 messages count as %d bytes", n)
		}
	})
}

// A message that would be one topic or key too many gets 507, with a problem that says which, and
// concerns its own line of a batch only.
func TestTooManyTopicsAndKeys(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2, log: eventlog.NewMemory(&eventlog.MemoryOptions{MaxTopics: 1, MaxKeys: 1})})
		s.publish(t, "/topics/a", "x", "Idempotency-Key", "1")
		s.send(t, "POST", "/topics/b", "x").problem(t, 507, "too-many-topics")
		s.send(t, "POST", "/topics/a", "x", "Idempotency-Key", "2").problem(t, 507, "too-many-keys")
		r := s.batch(t, `{"topic":"a","data":1}`+"\n"+`{"topic":"b","data":2}`+"\n"+`{"topic":"a","data":3,"key":"3"}`+"\n"+`{"topic":"a","data":4}`+"\n")
		var got []string
		for line := range strings.Lines(r.body) {
			var a struct {
				Status int
				Type   string
			}
			decode(t, line, &a)
			got = append(got, fmt.Sprint(a.Status, strings.TrimPrefix(a.Type, "urn:tidings:problem:")))
		}
		if got := strings.Join(got, " "); r.status != 507 || got != "201 507too-many-topics 507too-many-keys 201" {
			t.Errorf("%d with the lines %s", r.status, got)
		}
	})
}
