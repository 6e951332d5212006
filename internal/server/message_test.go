package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/server"
	"example.com/tidings/sse"
)

// sized returns a message whose JSON is n bytes long.
func sized(n int) string {
	const head, tail = `{"user":"a","text":"`, `"}`
	return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
}

func TestPostMessage(t *testing.T) {
	const js = "application/json"
	type place struct{ line, column int }
	tests := []struct {
		name        string
		contentType string
		body        string
		status      int
		problem     string // the name of the problem; empty if the message is accepted
		at          place
		field       string
		detail      string // that the detail contains
	}{
		{name: "a message", contentType: js, body: `{"user":"alice","text":"hello"}`, status: 200},
		{name: "empty strings", contentType: js, body: `{"user":"","text":""}`, status: 200},
		{name: "white space around", contentType: js, body: " \r\n\t{ \"user\" : \"a\" , \"text\" : \"b\" }\n", status: 200},
		{name: "unknown fields are ignored", contentType: js, body: `{"user":"a","text":"b","more":[1,{}]}`, status: 200},
		{name: "a field twice", contentType: js, body: `{"user":"a","text":1,"text":"b"}`, status: 200},
		{name: "with a charset", contentType: "application/json; charset=utf-8", body: `{"user":"a","text":"b"}`, status: 200},
		{name: "with a malformed parameter", contentType: "application/json; charset", body: `{"user":"a","text":"b"}`, status: 200},
		{name: "in capitals", contentType: "Application/JSON", body: `{"user":"a","text":"b"}`, status: 200},
		{name: "a +json type", contentType: "application/vnd.example+json", body: `{"user":"a","text":"b"}`, status: 200},
		{name: "2,097,152 bytes", contentType: js, body: sized(2097152), status: 200},

		{name: "no JSON", contentType: js, body: `{bad`, status: 400, problem: "invalid-json", at: place{1, 2}, detail: `'b'`},
		{name: "a fault in line 2, after a wide character", contentType: js, body: "{\"user\":\n\"é\" !}", status: 400, problem: "invalid-json", at: place{2, 5}, detail: `'!'`},
		{name: "a fault at the last byte", contentType: js, body: `{"user"]`, status: 400, problem: "invalid-json", at: place{1, 8}, detail: `']'`},
		{name: "ends too early", contentType: js, body: `{"user":"a"`, status: 400, problem: "invalid-json", at: place{1, 12}, detail: "too early"},
		{name: "ends within a string", contentType: js, body: `{"user":"a`, status: 400, problem: "invalid-json", at: place{1, 11}, detail: "too early"},
		{name: "nothing", contentType: js, body: "", status: 400, problem: "invalid-json", detail: "empty"},
		{name: "only white space", contentType: js, body: " \n ", status: 400, problem: "invalid-json", detail: "empty"},
		{name: "data after the object", contentType: js, body: `{"user":"a","text":"b"} x`, status: 400, problem: "invalid-json", at: place{1, 25}, detail: `'x'`},
		{name: "a second object", contentType: js, body: "{\"user\":\"a\",\"text\":\"b\"}\n{}", status: 400, problem: "invalid-json", at: place{2, 1}, detail: `'{'`},
		{name: "not UTF-8", contentType: js, body: "{\"user\":\"a\",\"text\":\"\xff\"}", status: 400, problem: "invalid-json", at: place{1, 21}, detail: "UTF-8"},
		{name: "half a UTF-8 sequence", contentType: js, body: "{\"user\":\"a\",\"text\":\"\xe2\x82\"}", status: 400, problem: "invalid-json", at: place{1, 21}, detail: "UTF-8"},
		{name: "a byte order mark", contentType: js, body: "\ufeff{}", status: 400, problem: "invalid-json", at: place{1, 1}},
		{name: "nested without end", contentType: js, body: strings.Repeat("[", 100_000), status: 400, problem: "invalid-json", at: place{1, 10_001}, detail: "nested too deeply"},

		{name: "no text", contentType: js, body: `{"user":"x"}`, status: 422, problem: "invalid-message", field: "text", detail: `"text" is missing`},
		{name: "no user", contentType: js, body: `{"text":"x"}`, status: 422, problem: "invalid-message", field: "user", detail: `"user" is missing`},
		{name: "a number for text", contentType: js, body: `{"user":"x","text":-1.5}`, status: 422, problem: "invalid-message", field: "text", detail: "not a number"},
		{name: "null for text", contentType: js, body: `{"user":"x","text":null}`, status: 422, problem: "invalid-message", field: "text", detail: "not null"},
		{name: "an object for user", contentType: js, body: `{"user":{},"text":""}`, status: 422, problem: "invalid-message", field: "user", detail: "not an object"},
		{name: "a boolean for user", contentType: js, body: `{"user":true,"text":""}`, status: 422, problem: "invalid-message", field: "user", detail: "not a boolean"},
		{name: "null", contentType: js, body: ` null`, status: 422, problem: "invalid-message", detail: "not null"},
		{name: "an array", contentType: js, body: `["a","b"]`, status: 422, problem: "invalid-message", detail: "not an array"},
		{name: "a string", contentType: js, body: `"a"`, status: 422, problem: "invalid-message", detail: "not a string"},
		{name: "a number", contentType: js, body: `7`, status: 422, problem: "invalid-message", detail: "not a number"},

		{name: "no Content-Type", body: `{"user":"a","text":"b"}`, status: 415, problem: "unsupported-media-type", detail: "Content-Type: application/json"},
		{name: "curl -d's Content-Type", contentType: "application/x-www-form-urlencoded", body: `{"user":"a","text":"b"}`, status: 415, problem: "unsupported-media-type"},
		{name: "text/json", contentType: "text/json", body: `{"user":"a","text":"b"}`, status: 415, problem: "unsupported-media-type"},
		{name: "application/jsonp", contentType: "application/jsonp", body: `{"user":"a","text":"b"}`, status: 415, problem: "unsupported-media-type"},
		{name: "a malformed Content-Type", contentType: ";;;", body: `{"user":"a","text":"b"}`, status: 415, problem: "unsupported-media-type"},

		{name: "2,097,153 bytes", contentType: js, body: sized(2097153), status: 413, problem: "body-too-large", detail: "2097152"},
		{name: "3 MiB that are not JSON", contentType: js, body: strings.Repeat("x", 3<<20), status: 413, problem: "body-too-large"},
	}
	for _, protocol := range protocols {
		s := start(t, server.Config{})
		c := client(t, protocol)
		for _, tt := range tests {
			for _, length := range []string{"known", "unknown"} {
				t.Run(protocol+"/length "+length+"/"+tt.name, func(t *testing.T) {
					var body io.Reader = strings.NewReader(tt.body)
					if length == "unknown" {
						body = struct{ io.Reader }{body}
					}
					var header []string
					if tt.contentType != "" {
						header = []string{"Content-Type", tt.contentType}
					}
					r := send(t, c, "POST", s.url+"/messages", body, header...)
					if tt.problem == "" {
						if r.status != tt.status || r.body != "queued" || r.header.Get("Content-Type") != "text/plain; charset=utf-8" {
							t.Errorf("got %d, %q, %q", r.status, r.header.Get("Content-Type"), r.body)
						}
						return
					}
					p := r.problem(t, tt.status, tt.problem)
					if at := (place{p.Line, p.Column}); tt.at != (place{}) && at != tt.at {
						t.Errorf("line %d, column %d, want %v; detail: %s", p.Line, p.Column, tt.at, p.Detail)
					}
					if p.Field != tt.field {
						t.Errorf("field %q, want %q", p.Field, tt.field)
					}
					if !strings.Contains(p.Detail, tt.detail) {
						t.Errorf("detail %q does not contain %q", p.Detail, tt.detail)
					}
					if got := r.header.Get("Cache-Control"); got != "no-store" {
						t.Errorf("Cache-Control: %q", got)
					}
				})
			}
		}
	}
}

func TestPostMessageWithContentEncoding(t *testing.T) {
	s := start(t, server.Config{})
	const body = `{"user":"a","text":"b"}`
	for coding, want := range map[string]int{"gzip": 415, "br": 415, "identity": 200, "Identity": 200} {
		r := send(t, client(t, "HTTP/1.1"), "POST", s.url+"/messages", strings.NewReader(body),
			"Content-Type", "application/json", "Content-Encoding", coding)
		if r.status != want {
			t.Errorf("Content-Encoding %s: %d, want %d", coding, r.status, want)
		}
		if want == 415 {
			r.problem(t, 415, "unsupported-encoding")
			if got := r.header.Get("Accept-Encoding"); got != "identity" {
				t.Errorf("Accept-Encoding: %q", got)
			}
		}
	}
}

// Any text must arrive unchanged.
func TestMessageArrivesAsItWasPosted(t *testing.T) {
	for _, text := range []string{
		"", "hello", "two\nlines\r\nand\ra third", "data: injected\n\nevent: x", "<b>&amp;</b>", "\x00\x1b", "\u2028\u2029\u0085", "שלום 👩‍👩‍👧", `"quoted\"`,
		"\ufffd", strings.Repeat("long ", 50_000),
	} {
		s := start(t, server.Config{})
		c := client(t, "HTTP/1.1")
		l := listen(t, c, s.url)
		post(t, c, s.url, "alice", text)
		for ev, err := range sse.Decode(l.lines, nil) {
			if err != nil {
				t.Fatal(err)
			}
			var got, want map[string]string
			decode(t, ev.Data, &got)
			want = map[string]string{"user": "alice", "text": text}
			if len(got) != 2 || got["user"] != want["user"] || got["text"] != want["text"] {
				t.Errorf("got %.100q, want %.100q", got, want)
			}
			break
		}
	}
}

func TestPostMessageThatIsSentTooSlowly(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			s := start(t, server.Config{ReadTimeout: 100 * time.Millisecond})
			body, w := io.Pipe()
			defer w.Close()
			go io.WriteString(w, `{"user":`)
			r := send(t, client(t, protocol), "POST", s.url+"/messages", body, "Content-Type", "application/json")
			r.problem(t, 408, "request-timeout")
		})
	}
}

func TestPostMessageWhoseBodyIsCutShort(t *testing.T) {
	s := start(t, server.Config{})
	conn := dial(t, s.addr)
	io.WriteString(conn, "POST /messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"user\":")
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	reply{res.StatusCode, res.Header, string(b)}.problem(t, 400, "incomplete-body")
}

// A failingLog fails with an error that a client must not see.
type failingLog struct {
	eventlog.Log
	err error
}

func (l failingLog) Append(_ context.Context, messages []hub.Message) []eventlog.Appended {
	results := make([]eventlog.Appended, len(messages))
	for i := range results {
		results[i].Err = l.err
	}
	return results
}

// If the log does not store a message, the client gets the status for that error.
func TestPostMessageThatIsNotStored(t *testing.T) {
	const secret = "disk /dev/secret is on fire"
	for _, tt := range []struct {
		name       string
		err        error
		status     int
		problem    string
		retryAfter bool
		logged     bool
	}{
		{"the log fails", errors.New(secret), 500, "internal-error", false, true},
		{"the disk is full", fmt.Errorf("%w: %s", eventlog.ErrFull, secret), 507, "insufficient-storage", false, false},
		{"the log has failed", fmt.Errorf("%w: %s", eventlog.ErrFailed, secret), 503, "unavailable", true, false},
		{"the log is unavailable", fmt.Errorf("%w: %s", eventlog.ErrUnavailable, secret), 503, "unavailable", true, true},
		{"the log does not confirm", fmt.Errorf("%w: %s", eventlog.ErrUnconfirmed, secret), 503, "unconfirmed", true, true},
		{"the log was opened anew", fmt.Errorf("%w: %s", eventlog.ErrReopened, secret), 503, "unconfirmed", true, true},
		{"the log takes too long", fmt.Errorf("%w: %s", context.DeadlineExceeded, secret), 503, "unconfirmed", true, true},
		{"too many topics", fmt.Errorf("%w: %s", eventlog.ErrTooManyTopics, secret), 507, "too-many-topics", false, false},
		{"too many keys", fmt.Errorf("%w: %s", eventlog.ErrTooManyKeys, secret), 507, "too-many-keys", false, false},
		{"the log is closed", fmt.Errorf("%w: %s", eventlog.ErrClosed, secret), 503, "stopping", true, false},
		{"the log takes less", fmt.Errorf("%w: %s", eventlog.ErrTooLarge, secret), 413, "body-too-large", false, false},
		{"retention keeps less", &eventlog.TooLargeError{Size: 1001, Limit: 1000}, 413, "body-too-large", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var logs logBuffer
			s := startOn(t, server.Config{Logger: textLogger(&logs)}, failingLog{eventlog.NewMemory(nil), tt.err}, hub.Options{})
			r := send(t, client(t, "HTTP/1.1"), "POST", s.url+"/messages", strings.NewReader(`{"user":"a","text":"b"}`), "Content-Type", "application/json")
			r.problem(t, tt.status, tt.problem)
			if _, ok := errors.AsType[*eventlog.TooLargeError](tt.err); ok && !strings.Contains(r.body, "takes 1001 bytes of storage. It may take up to 1000.") {
				t.Errorf("the client does not see the limit: %s", r.body)
			}
			if strings.Contains(r.body, "secret") {
				t.Errorf("the client sees the reason: %s", r.body)
			}
			if got := strings.Contains(logs.String(), secret); got != tt.logged {
				t.Errorf("the log has the reason: %t, want %t:\n%s", got, tt.logged, logs.String())
			}
			if got := r.header.Get("Retry-After"); (got != "") != tt.retryAfter {
				t.Errorf("Retry-After: %q", got)
			}
		})
	}
}

func TestPostMessageWhileStopping(t *testing.T) {
	s := start(t, server.Config{})
	s.hub.Drain()
	r := send(t, client(t, "HTTP/1.1"), "POST", s.url+"/messages", strings.NewReader(`{"user":"a","text":"b"}`), "Content-Type", "application/json")
	r.problem(t, 503, "stopping")
	if got := r.header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After: %q", got)
	}
}

// POST /messages publishes to an ordinary topic: its messages have ids.
func TestPostMessagePublishesToTheDefaultTopic(t *testing.T) {
	s := start(t, server.Config{})
	c := client(t, "HTTP/1.1")
	post(t, c, s.url, "alice", "hello")
	got, subscribers, err := s.hub.Topic(t.Context(), "messages")
	if err != nil || got.Count != 1 || subscribers != 0 {
		t.Fatalf("the topic is %+v with %d subscribers, %v", got, subscribers, err)
	}
	ev, err := s.hub.Event(t.Context(), "messages", got.Last)
	if want := `{"user":"alice","text":"hello"}`; err != nil || ev.Data != want || ev.Type != "message" {
		t.Errorf("the event is %+v, %v; want the data %s", ev, err, want)
	}
}

// A message that is posted again with the same key is stored once.
func TestPostMessageAgain(t *testing.T) {
	s := start(t, server.Config{})
	c := client(t, "HTTP/1.1")
	again := func(key, text string) reply {
		return send(t, c, "POST", s.url+"/messages", strings.NewReader(`{"user":"ada","text":"`+text+`"}`),
			"Content-Type", "application/json", "Idempotency-Key", key)
	}
	for range 3 {
		if r := again("k1", "hello"); r.status != 200 || r.body != "queued" || r.header.Get("Idempotency-Window") != "120" {
			t.Errorf("%d %s %v", r.status, r.body, r.header)
		}
	}
	again("k1", "another").problem(t, 422, "key-conflict")
	again(`"k1`, "hello").problem(t, 400, "invalid-key")
	if got, _, err := s.hub.Topic(t.Context(), "messages"); err != nil || got.Count != 1 {
		t.Errorf("the topic is %+v, %v", got, err)
	}
}

// A leftLog waits for 200 ms before it stores a message, unless the context ends.
type leftLog struct {
	eventlog.Log
	asked chan struct{}
	ended chan error
}

func (l leftLog) Append(ctx context.Context, messages []hub.Message) []eventlog.Appended {
	close(l.asked)
	select {
	case <-ctx.Done():
	case <-time.After(200 * time.Millisecond):
	}
	l.ended <- ctx.Err()
	return l.Log.Append(ctx, messages)
}

// The message of a client that hangs up after it has sent everything is stored all the same.
func TestPostMessageOfAClientThatLeaves(t *testing.T) {
	log := leftLog{eventlog.NewMemory(nil), make(chan struct{}), make(chan error, 1)}
	s := startOn(t, server.Config{}, log, hub.Options{})
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", s.url+"/messages", strings.NewReader(`{"user":"a","text":"b"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	go client(t, "HTTP/1.1").Do(req)
	<-log.asked
	leave()
	if err := <-log.ended; err != nil {
		t.Errorf("storing ended with the client: %v", err)
	}
}
