package examples_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/tidings/sse"
)

// sized returns a message of exactly n bytes of JSON.
func sized(n int) string {
	const frame = `{"user":"x","text":""}`
	return frame[:len(frame)-2] + strings.Repeat("a", n-len(frame)) + `"}`
}

func TestRepliesToPostedMessages(t *testing.T) {
	t.Parallel()
	const good, maxBody = `{"user":"alice","text":"hello"}`, 2_097_152
	for _, program := range []string{"notifications", "notifications-sql"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			s := startFor(t, program)
			for _, tc := range []struct {
				name, contentType, body string
				status                  int
				says                    []string
			}{
				{"a message", "application/json", good, 200, []string{"queued"}},
				{"a parameter", "application/json; charset=utf-8", good, 200, nil},
				{"upper case", "Application/JSON", good, 200, nil},
				{"a +json type", "application/vnd.chat+json", good, 200, nil},
				{"unknown fields", "application/json", `{"n":1e999,"user":"x","o":{"text":1},"text":"y","TEXT":2,"a":[]}`, 200, nil},
				{"empty strings", "application/json", `{"user":"","text":""}`, 200, nil},
				{"white space around", "application/json", " \r\n" + good + "\n\t", 200, nil},
				{"exactly 2 MiB", "application/json", sized(maxBody), 200, nil},

				{"no content type", "", good, 415, []string{"application/json"}},
				{"text", "text/plain", good, 415, []string{"application/json"}},
				{"a form", "application/x-www-form-urlencoded", good, 415, nil},
				{"JSON that is not an application's", "text/json", good, 415, nil},
				{"almost json", "application/jsonx", good, 415, nil},
				{"no media type", "application/json/x", good, 415, nil},
				{"the type is looked at before the body", "text/plain", `{bad`, 415, nil},

				{"one byte more than 2 MiB", "application/json", sized(maxBody + 1), 413, []string{"2097152", "length limit"}},
				{"10 MiB", "application/json", sized(10 << 20), 413, nil},
				{"the length is looked at before the JSON", "application/json", strings.Repeat("{", maxBody+1), 413, nil},

				{"not JSON", "application/json", `{bad`, 400, []string{"not JSON", "line 1 column 2"}},
				{"not JSON, further down", "application/json", "{\n  \"user\": \"x\",\n  bad", 400, []string{"line 3 column 3"}},
				{"nothing", "application/json", "", 400, []string{"line 1 column 0"}},
				{"cut", "application/json", `{"user":"x"`, 400, []string{"line 1 column 11"}},
				{"more after it", "application/json", good + "x", 400, []string{"line 1 column 32"}},
				{"not UTF-8", "application/json", "{\"user\":\"x\",\n\"text\":\"\xff\"}", 400, []string{"UTF-8", "line 2 column 9"}},
				{"too deep", "application/json", strings.Repeat("[", 100_000), 400, []string{"line 1 column"}},

				{"no text", "application/json", `{"user":"x"}`, 422, []string{"missing field `text`", "line 1 column 12"}},
				{"no user", "application/json", "{\n\"text\":\"x\"\n}", 422, []string{"missing field `user`", "line 3 column 1"}},
				{"nothing in it", "application/json", `{}`, 422, []string{"missing field `user`", "line 1 column 2"}},
				{"names in another case", "application/json", `{"User":"x","text":"y"}`, 422, []string{"missing field `user`"}},
				{"a number", "application/json", `{"user":"x","text":1}`, 422, []string{"`text`", "string", "line 1 column 20"}},
				{"null", "application/json", `{"user":null,"text":"y"}`, 422, []string{"`user`", "string", "line 1 column 12"}},
				{"twice", "application/json", `{"user":"x","user":"y","text":""}`, 422, []string{"duplicate field `user`", "line 1 column 22"}},
				{"a list", "application/json", `["x","y"]`, 422, []string{"object", "`user`", "`text`", "line 1 column 1"}},
				{"a string", "application/json", `"x"`, 422, []string{"object", "line 1 column 3"}},
			} {
				t.Run(tc.name, func(t *testing.T) {
					r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/messages", strings.NewReader(tc.body))
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Content-Type", tc.contentType)
					checkReply(t, r, tc.status, tc.says)
				})
			}
			t.Run("one byte more than 2 MiB, of a length not told", func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/messages", io.MultiReader(strings.NewReader(sized(maxBody+1))))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				checkReply(t, r, 413, nil)
			})
			t.Run("GET", func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/messages", nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST" || len(body) > 0 {
					t.Errorf("%s, Allow %q, body %q, %v", resp.Status, resp.Header.Get("Allow"), body, err)
				}
			})
		})
	}
}

// checkReply checks that the reply is plain text with all that it must say, and
// exactly that when it is taken.
func checkReply(t *testing.T, r *http.Request, status int, says []string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	body := string(b)
	if resp.StatusCode != status || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%s, %s: %s, want %d", resp.Status, resp.Header.Get("Content-Type"), body, status)
	}
	if status == 200 && body != "queued" {
		t.Errorf("body %q, want %q", body, "queued")
	}
	for _, s := range says {
		if !strings.Contains(body, s) {
			t.Errorf("body %q does not say %q", body, s)
		}
	}
}

func TestAMessageArrivesAsItWasPosted(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"notifications", "notifications-sql"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			s := startFor(t, program)
			resp := open(t, s.url+"/events", "")
			texts := []string{"", "<b>&amp;</b>", "two\nlines\r\n\rand\x00more", "data: x\n\nevent: y", "ünï\u2028côdé 🎉", strings.Repeat("long ", 100_000)}
			for _, text := range texts {
				body, err := json.Marshal(map[string]string{"text": text, "user": "x\ny"})
				if err != nil {
					t.Fatal(err)
				}
				mustPost(t, s.url, string(body))
			}
			var n int
			for ev := range events(t, resp.Body) {
				var m struct{ User, Text string }
				if err := json.Unmarshal([]byte(ev.Data), &m); err != nil || m.User != "x\ny" || m.Text != texts[n] || ev.Type != "" {
					t.Errorf("event %.200q, %v, want the text %.200q", ev, err, texts[n])
				}
				if n == 1 && ev.Data != `{"user":"x\ny","text":"<b>&amp;</b>"}` {
					t.Errorf("data %q: <, > and & are not left alone, or the order of fields is another", ev.Data)
				}
				if n++; n == len(texts) {
					return
				}
			}
			t.Errorf("the stream ended after %d messages", n)
		})
	}
}

func TestKeepAliveIsACommentWithATextEvery15Seconds(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"notifications", "notifications-sql"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			s := startFor(t, program)
			began := time.Now()
			stream := dial(t, s.addr, "/events", "HTTP/1.1")
			if got := stream.chunk(); got != ": keep-alive\n" {
				t.Errorf("chunk %q", got)
			}
			if took := time.Since(began); took < 15*time.Second {
				t.Errorf("it came after %v", took)
			}
			// The server's timeout for requests has passed by now.
			mustPost(t, s.url, `{"user":"x","text":"y"}`)
			if got := stream.chunk(); !strings.HasPrefix(got, `data: {"user":"x","text":"y"}`+"\n") {
				t.Errorf("chunk %q", got)
			}
		})
	}
}

// textSize is the length of the text of each message of slowly. 130 of them are
// some 5 MB more than what the kernel and 64 places hold.
const textSize = 100_000

// slowly subscribes, takes nothing while messages are posted that are far more
// than the kernel and 64 places hold, and then returns all that comes, up to the
// last message. All must be posted within the server's write timeout, so tests
// that use it do not run beside others.
func slowly(t *testing.T, s *server, messages int) []sse.Event {
	t.Helper()
	conn := dial(t, s.addr, "/events", "HTTP/1.1")
	padding := strings.Repeat("x", textSize)
	for n := range messages {
		mustPost(t, s.url, fmt.Sprintf(`{"user":"%d","text":"%s"}`, n, padding))
	}
	var got []sse.Event
	last := fmt.Sprintf(`{"user":"%d",`, messages-1)
	for ev := range events(t, conn.body()) {
		if got = append(got, ev); strings.HasPrefix(ev.Data, last) {
			return got
		}
	}
	t.Fatalf("the stream ended after %d events", len(got))
	return nil
}

// number returns which message an event is.
func number(t *testing.T, ev sse.Event) int {
	t.Helper()
	var m struct{ User, Text string }
	if err := json.Unmarshal([]byte(ev.Data), &m); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(m.User)
	if err != nil || len(m.Text) != textSize {
		t.Fatalf("message %q with %d bytes", m.User, len(m.Text))
	}
	return n
}

func TestASlowClientIsToldWhatItMissed(t *testing.T) {
	const messages = 130
	next, missed := 0, 0 // the number of the next message, and of those told to be missing
	for _, ev := range slowly(t, start(t, "notifications"), messages) {
		if ev.Type != sse.GapEventType {
			if n := number(t, ev); n != next {
				t.Fatalf("message %d, want %d", n, next)
			}
			next++
			continue
		}
		var gap struct {
			Reason string
			Missed int
		}
		if err := json.Unmarshal([]byte(ev.Data), &gap); err != nil || gap.Reason != "lag" || gap.Missed < 1 || ev.ID != "" {
			t.Fatalf("event %q, %v", ev, err)
		}
		next += gap.Missed
		missed += gap.Missed
	}
	if next != messages {
		t.Errorf("messages received and missed are %d, want %d", next, messages)
	}
	if missed == 0 {
		t.Error("nothing was missed: the test has not shown anything")
	}
	t.Logf("of %d messages %d were missed, and told", messages, missed)
}
