package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
)

// Each route, its methods, and its headers. The first event of orders.1 is there.
func TestRoutes(t *testing.T) {
	const (
		json   = "Cache-Control: no-store\nContent-Type: application/json"
		lines  = "Cache-Control: no-store\nContent-Type: application/x-ndjson"
		prob   = "Cache-Control: no-store\nContent-Type: application/problem+json"
		tagged = "Cache-Control: no-cache\nContent-Type: application/json\nEtag: W/\"" + epoch + "-1\""
		events = "Cache-Control: no-cache\nContent-Type: text/event-stream\nX-Accel-Buffering: no"
		reads  = "Allow: GET, HEAD\n" + prob
		posts  = "Allow: POST\n" + prob
		both   = "Allow: GET, HEAD, POST\n" + prob
		post2  = json + "\nLocation: /topics/orders.1/events/" + epoch + "-2"
	)
	tests := []struct {
		method, path string
		status       int
		problem      string
		header       string
	}{
		{"HEAD", "/events", 200, "", events},
		{"POST", "/events", 405, "method-not-allowed", reads},
		{"OPTIONS", "/events", 405, "method-not-allowed", reads},
		{"BREW", "/events", 405, "method-not-allowed", reads},
		{"GET", "/topics", 200, "", json},
		{"HEAD", "/topics", 200, "", json},
		{"POST", "/topics", 405, "method-not-allowed", reads},
		{"GET", "/topics/orders.1", 200, "", tagged},
		{"HEAD", "/topics/orders.1", 200, "", tagged},
		{"PUT", "/topics/orders.1", 405, "method-not-allowed", both},
		{"DELETE", "/topics/orders.1", 405, "method-not-allowed", both},
		{"POST", "/topics/orders.1", 201, "", post2},
		{"GET", "/topics/orders.1/events", 200, "", json},
		{"HEAD", "/topics/orders.1/events", 200, "", json},
		{"POST", "/topics/orders.1/events", 405, "method-not-allowed", reads},
		{"GET", "/topics/orders.1/events/ID", 200, "", json},
		{"HEAD", "/topics/orders.1/events/ID", 200, "", json},
		{"DELETE", "/topics/orders.1/events/ID", 405, "method-not-allowed", reads},
		{"POST", "/batch", 200, "", lines},
		{"GET", "/batch", 405, "method-not-allowed", posts},
		{"HEAD", "/batch", 405, "", posts},

		{"GET", "/", 404, "not-found", prob},
		{"HEAD", "/nothing", 404, "", prob},
		{"POST", "/nothing", 404, "not-found", prob},
		{"GET", "/events/", 404, "not-found", prob},
		{"GET", "/batch/x", 404, "not-found", prob},
		{"GET", "//events", 404, "not-found", prob},
		{"GET", "/x/../events", 404, "not-found", prob},
		{"GET", "/topicsandmore", 404, "not-found", prob},
		{"GET", "/topics/orders.1/", 404, "not-found", prob},
		{"GET", "/topics/orders.1/event", 404, "not-found", prob},
		{"GET", "/topics/orders.1/events/ID/", 404, "not-found", prob},
		{"GET", "/topics/orders.1/events/ID/more", 404, "not-found", prob},

		{"GET", "/topics/", 400, "invalid-topic", prob},
		{"POST", "/topics/", 400, "invalid-topic", prob},
		{"GET", "/topics//events", 400, "invalid-topic", prob},
		{"POST", "/topics/a%2Fb", 400, "invalid-topic", prob},
		{"POST", "/topics/a%2fevents%2F", 400, "invalid-topic", prob},
		{"POST", "/topics/a%20b", 400, "invalid-topic", prob},
		{"POST", "/topics/orders.*", 400, "invalid-topic", prob},
		{"GET", "/topics/a..b/events", 400, "invalid-topic", prob},
		{"GET", "/topics/tidings.x", 403, "reserved", prob},
		{"GET", "/topics/orders%2E1", 200, "", tagged}, // as some clients encode
		{"GET", "/topics/orders%2e1/events/ID", 200, "", json},
		{"GET", "/topics/orders.1/%65vents", 404, "not-found", prob},
		{"GET", "/topics/orders.2", 404, "topic-not-found", prob},
		{"GET", "/topics/orders.2/events", 200, "", json},
		{"GET", "/topics/orders.2/events/ID", 404, "event-not-found", prob},
		{"GET", "/topics/orders.1/events/42", 400, "invalid-id", prob},
		{"GET", "/topics/orders.1/events/", 400, "invalid-id", prob},
		{"GET", "/topics/orders.1/events/" + epoch + "-1", 404, "event-not-found", prob},
	}
	protocols(t, func(t *testing.T, h2 bool) {
		for _, tt := range tests {
			s := serve(t, setting{h2: h2})
			id := s.publish(t, "/topics/orders.1", "one")
			body, header := "", []string(nil)
			if tt.method == "POST" {
				body, header = `{"topic":"orders.1","data":"two"}`, []string{"Content-Type", "application/x-ndjson"}
			}
			r := s.send(t, tt.method, strings.Replace(tt.path, "ID", id, 1), body, header...)
			if tt.problem != "" {
				r.problem(t, tt.status, tt.problem)
			}
			if got := r.headers(); r.status != tt.status || got != tt.header {
				t.Errorf("%s %s: %d with\n%s\nwant %d with\n%s", tt.method, tt.path, r.status, got, tt.status, tt.header)
			}
			if tt.method == "HEAD" && r.body != "" {
				t.Errorf("HEAD %s has the body %q", tt.path, r.body)
			}
		}
	})
}

// What a GET announces and does not send would hold a stream back.
func TestGETWithABodyIsRefused(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		for _, path := range []string{"/events", "/topics", "/topics/a", "/topics/a/events", "/history", "/position"} {
			r := s.send(t, "GET", path, "x")
			r.problem(t, 400, "unexpected-body")
		}
	})
}

// The path under which the API is mounted is in front of a Location.
func TestMounted(t *testing.T) {
	strip := func(prefix string) func(http.Handler) http.Handler {
		return func(api http.Handler) http.Handler { return http.StripPrefix(prefix, api) }
	}
	for _, tt := range []struct {
		name     string
		set      setting
		path     string
		location string
	}{
		{"at the root", setting{}, "/topics/a", "/topics/a"},
		{"with a query", setting{}, "/topics/a?type=/topics/a", "/topics/a"},
		{"below a path", setting{mount: strip("/hub"), at: "/hub"}, "/topics/a", "/hub/topics/a"},
		{"below two", setting{mount: strip("/a/b"), at: "/a/b"}, "/topics/a?type=x", "/a/b/topics/a"},
		{"below a path like its own", setting{mount: strip("/topics/a"), at: "/topics/a"}, "/topics/a", "/topics/a/topics/a"},
		{"below a path that is encoded", setting{mount: strip("/hüb x"), at: "/h%C3%BCb%20x"}, "/topics/a", "/h%C3%BCb%20x/topics/a"},
		{"with a topic that is encoded", setting{mount: strip("/hub"), at: "/hub"}, "/topics/%61", "/hub/topics/a"},
		{"behind a router that rewrites paths", setting{mount: func(api http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.URL.Path = "/topics/a"
				api.ServeHTTP(w, r)
			})
		}}, "/publish", "/topics/a"},
		{"where another host's path would come out", setting{mount: strip("//x"), at: "//x"}, "/topics/a", "/topics/a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := serve(t, tt.set)
				r := s.send(t, "POST", tt.path, "x")
				want := tt.location + "/events/" + epoch + "-1"
				if got := mask(r.header.Get("Location")); r.status != 201 || got != want {
					t.Errorf("%d %s\nLocation: %s\nwant      %s", r.status, r.body, got, want)
				}
			})
		})
	}
}

// A proxy may send the whole URL (RFC 9112, section 3.2.2).
func TestAbsoluteForm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{mount: func(api http.Handler) http.Handler { return http.StripPrefix("/hub", api) }})
		c, err := s.mem.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "POST http://memory.test/hub/topics/a?type=x HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
		b, err := io.ReadAll(c)
		if err != nil || !strings.Contains(mask(string(b)), "\r\nLocation: /hub/topics/a/events/"+epoch+"-1\r\n") {
			t.Errorf("got %s, %v", b, err)
		}
	})
}

// A hub that is stopped answers what can wait with 503.
func TestStopped(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		id := s.publish(t, "/topics/a", "x")
		s.hub.Drain()
		s.send(t, "POST", "/topics/a", "x").problem(t, 503, "stopping")
		if r := s.get(t, "/topics/a/events/"+id); r.status != 200 {
			t.Errorf("a hub that drains is not read any more: %d %s", r.status, r.body)
		}
		time.Sleep(patience)
		if err := s.hub.Close(); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct{ method, path, problem string }{
			{"POST", "/topics/a", "stopping"},
			{"POST", "/batch", "stopping"},
			{"GET", "/topics", "stopping"},
			{"GET", "/topics/a", "stopping"},
			{"GET", "/topics/a/events", "stopping"},
			{"GET", "/history?topic=a", "stopping"},
			{"GET", "/history?topic=a&order=desc", "stopping"},
			{"GET", "/events?live=true", "unavailable"},
			{"GET", "/topics/a/events/" + id, "stopping"},
			{"GET", "/events", "unavailable"},
			{"GET", "/events?from=start", "unavailable"},
		} {
			body, header := "", []string(nil)
			if tt.method == "POST" {
				body, header = `{"topic":"a","data":1}`, []string{"Content-Type", "application/x-ndjson"}
			}
			r := s.send(t, tt.method, tt.path, body, header...)
			r.problem(t, 503, tt.problem)
			if r.header.Get("Retry-After") == "" {
				t.Errorf("%s %s: no Retry-After", tt.method, tt.path)
			}
		}
	})
}

// What the log does not do is not the client's to know.
func TestLogFails(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		var logged logBuffer
		log := &faultyLog{Log: eventlog.NewMemory(nil)}
		s := serve(t, setting{h2: h2, log: log, api: logTo(&logged)})
		id := s.publish(t, "/topics/a", "x")
		log.failReads(errSecret)
		log.failAppends(func(hub.Message) error { return errSecret })
		for _, tt := range []struct {
			method, path string
			status       int
			problem      string
		}{
			{"POST", "/topics/a", 500, "internal-error"},
			{"GET", "/topics", 500, "internal-error"},
			{"GET", "/topics/a", 500, "internal-error"},
			{"GET", "/topics/a/events", 500, "internal-error"},
			{"GET", "/history?topic=a", 500, "internal-error"},
			{"GET", "/history?topic=a&order=desc", 500, "internal-error"},
			{"GET", "/events?live=true", 503, "unavailable"},
			{"GET", "/topics/a/events/" + id, 500, "internal-error"},
			{"GET", "/events?from=start", 503, "unavailable"},
		} {
			logged.Reset()
			body := ""
			if tt.method == "POST" {
				body = "x"
			}
			r := s.send(t, tt.method, tt.path, body)
			r.problem(t, tt.status, tt.problem)
			if strings.Contains(r.body, "secret") {
				t.Errorf("%s %s tells the client: %s", tt.method, tt.path, r.body)
			}
			if got := logged.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "secret") {
				t.Errorf("%s %s logs %q", tt.method, tt.path, got)
			}
		}
	})
}

// A client that leaves while the log is read is no failure of the log.
func TestClientThatLeavesIsNotLogged(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		var logged logBuffer
		s := serve(t, setting{h2: h2, log: &faultyLog{Log: eventlog.NewMemory(nil), waits: true}, api: logTo(&logged)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", s.base+"/topics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := s.client.Do(req); err == nil {
			t.Errorf("got %s", res.Status)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := logged.String(); got != "" {
			t.Errorf("the log has %s", got)
		}
	})
}
