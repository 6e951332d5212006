package examples_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/sse"
)

// routes are the streams of the programs.
var routes = map[string]string{
	"ticks":             "/events",
	"notifications":     "/events",
	"notifications-sql": "/events",
	"launch":            "/launch",
	"clock":             "/clock",
	"metrics":           "/metrics",
}

// startFor starts a program with the arguments that it needs in a test.
func startFor(t *testing.T, name string) *server {
	t.Helper()
	if name == "notifications-sql" {
		return start(t, name, "-db", filepath.Join(t.TempDir(), "messages.db"))
	}
	return start(t, name)
}

// A transcript is a file of testdata/wire: what a program sends, or how that
// begins.
type transcript struct{ program, file string }

var transcripts = []transcript{
	{"ticks", "ticks.txt"},
	{"launch", "launch.txt"},
	{"clock", "clock-first-3.txt"},
	{"notifications", "notifications.txt"},
}

func (tr transcript) read(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "wire", tr.file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// provoke makes the server send what the transcript holds, where that takes
// more than listening: the README's two commands.
func (tr transcript) provoke(t *testing.T, s *server) {
	t.Helper()
	if tr.program != "notifications" {
		return
	}
	for _, message := range []string{`{"user":"alice","text":"hello"}`, `{"user":"bob","text":"hi there"}`} {
		curl := exec.CommandContext(t.Context(), counterpart(t, "curl"), "-s", "-X", "POST", s.url+"/messages",
			"-H", "content-type: application/json", "-d", message)
		if out, err := curl.CombinedOutput(); err != nil || string(out) != "queued" {
			t.Fatalf("curl: %v, %q, want %q", err, out, "queued")
		}
	}
}

func TestCurlShowsTheTranscript(t *testing.T) {
	t.Parallel()
	for _, tr := range transcripts {
		t.Run(tr.program, func(t *testing.T) {
			t.Parallel()
			want := tr.read(t)
			s := start(t, tr.program)
			curl, stdout, head := curlN(t, s.url+routes[tr.program])
			for _, line := range []string{
				"HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Cache-Control: no-cache",
				"Transfer-Encoding: chunked", "X-Accel-Buffering: no",
			} {
				if !slices.Contains(head, line) {
					t.Errorf("curl -v shows no line %q, but %q", line, head)
				}
			}
			tr.provoke(t, s)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(stdout, got); err != nil || string(got) != want {
				t.Errorf("curl -N shows (%v)\n%s\nwant\n%s", err, got, want)
			}
			if tr.program == "ticks" || tr.program == "launch" {
				rest, _ := io.ReadAll(stdout)
				if err := curl.Wait(); err != nil || len(rest) > 0 {
					t.Errorf("after the last event: %q, %v, want a clean end", rest, err)
				}
				return
			}
			curl.Process.Kill()
			_ = curl.Wait()
		})
	}
}

func TestOneChunkPerEvent(t *testing.T) {
	t.Parallel()
	for _, tr := range transcripts {
		t.Run(tr.program, func(t *testing.T) {
			t.Parallel()
			s := start(t, tr.program)
			stream := dial(t, s.addr, routes[tr.program], "HTTP/1.1")
			if stream.status != "HTTP/1.1 200 OK" {
				t.Errorf("status %q", stream.status)
			}
			names := []string{"Cache-Control", "Content-Type", "Date", "Transfer-Encoding", "X-Accel-Buffering"}
			if got := slices.Sorted(maps.Keys(stream.header)); !slices.Equal(got, names) {
				t.Errorf("headers %q, want %q", got, names)
			}
			tr.provoke(t, s)
			for event := range strings.SplitAfterSeq(tr.read(t), "\n\n") {
				finite := tr.program == "ticks" || tr.program == "launch"
				if event == "" && !finite {
					break // clock and notifications go on
				}
				if got := stream.chunk(); got != event { // the last chunk of a body is empty
					t.Errorf("chunk %q, want %q", got, event)
				}
			}
		})
	}
}

// RFC 9112, 7.1: a recipient of HTTP/1.0 knows no chunks.
func TestHTTP10HasNoChunksAndIsClosed(t *testing.T) {
	t.Parallel()
	for _, tr := range transcripts[:2] {
		t.Run(tr.program, func(t *testing.T) {
			t.Parallel()
			stream := dial(t, start(t, tr.program).addr, routes[tr.program], "HTTP/1.0")
			if got, ok := stream.header["Transfer-Encoding"]; ok {
				t.Errorf("Transfer-Encoding: %q", got)
			}
			got, err := io.ReadAll(stream.r)
			if want := tr.read(t); err != nil || string(got) != want {
				t.Errorf("%q, %v, want %q and a close", got, err, want)
			}
		})
	}
}

func TestDecodeReadsTheTranscript(t *testing.T) {
	t.Parallel()
	for _, tr := range transcripts {
		t.Run(tr.program, func(t *testing.T) {
			t.Parallel()
			s := start(t, tr.program)
			resp := open(t, s.url+routes[tr.program], "")
			tr.provoke(t, s)
			want := slices.Collect(events(t, strings.NewReader(tr.read(t))))
			var got []sse.Event
			for ev := range events(t, resp.Body) {
				if got = append(got, ev); len(got) == len(want) {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// events returns what Decode reads; an error ends the test.
func events(t *testing.T, r io.Reader) func(func(sse.Event) bool) {
	return func(yield func(sse.Event) bool) {
		for ev, err := range sse.Decode(r, nil) {
			if err != nil {
				t.Error(err)
				return
			}
			if !yield(ev) {
				return
			}
		}
	}
}

func TestMetricsHasTheTranscriptsIDsTypesAndValues(t *testing.T) {
	t.Parallel()
	resp := open(t, start(t, "metrics").url+"/metrics", "")
	var got []sse.Event
	for ev := range events(t, resp.Body) {
		if got = append(got, ev); len(got) == 2 {
			break
		}
	}
	want := slices.Collect(events(t, strings.NewReader(transcript{file: "metrics-first-2.txt"}.read(t))))
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].ID != want[i].ID || got[i].Type != want[i].Type {
			t.Errorf("event %d: %+v, want %+v", i, got[i], want[i])
		}
		gotKeys, gotValues := reading(t, got[i].Data)
		wantKeys, wantValues := reading(t, want[i].Data)
		if !slices.Equal(gotKeys, wantKeys) || !reflect.DeepEqual(gotValues, wantValues) {
			t.Errorf("event %d: %s, want %s", i, got[i].Data, want[i].Data)
		}
	}
}

// reading returns the names of a JSON object in their order, and its numbers.
// The time in it must be one of RFC 3339 with an offset in figures.
func reading(t *testing.T, data string) (names []string, numbers map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), &numbers); err != nil {
		t.Fatal(err)
	}
	at, _ := numbers["at"].(string)
	delete(numbers, "at")
	if _, err := time.Parse("2006-01-02T15:04:05.999999999-07:00", at); err != nil {
		t.Error(err)
	}
	dec := json.NewDecoder(strings.NewReader(data))
	_, _ = dec.Token()
	for dec.More() {
		name, _ := dec.Token()
		_, _ = dec.Token()
		names = append(names, name.(string))
	}
	return names, numbers
}

func TestMetricsGoesOnAfterLastEventID(t *testing.T) {
	t.Parallel()
	s := start(t, "metrics")
	for name, tc := range map[string]struct {
		last, id string
		cpu      float64
	}{
		"none":                {"", "0", 12.5},
		"the first":           {"0", "1", 13.5},
		"one in between":      {"41", "42", 54.5},
		"negative":            {"-1", "0", 12.5},
		"signed":              {"+1", "0", 12.5},
		"a fraction":          {"1.5", "0", 12.5},
		"an exponent":         {"1e3", "0", 12.5},
		"a word":              {"abc", "0", 12.5},
		"a number and a word": {"7x", "0", 12.5},
		"hexadecimal":         {"0x10", "0", 12.5},
		"grouped":             {"1_000", "0", 12.5},
		"not ASCII":           {"٣", "0", 12.5},
		"the greatest int64":  {"9223372036854775807", "0", 12.5},
		"the greatest uint64": {"18446744073709551615", "0", 12.5},
		"more than fits":      {"99999999999999999999999999", "0", 12.5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for ev := range events(t, open(t, s.url+"/metrics", tc.last).Body) {
				var data struct{ CPU, Memory float64 }
				if err := json.Unmarshal([]byte(ev.Data), &data); err != nil {
					t.Fatal(err)
				}
				if ev.ID != tc.id || data.CPU != tc.cpu || data.Memory != 40 {
					t.Errorf("after %q: id %s, %s, want id %s and a cpu of %v", tc.last, ev.ID, ev.Data, tc.id, tc.cpu)
				}
				return
			}
			t.Error("no event")
		})
	}
}

// What comes at once must come well before the program's interval has passed.
// A busy machine may be late, so the best of several tries counts.
func TestTheFirstEventComesAtOnce(t *testing.T) {
	t.Parallel()
	for program, within := range map[string]time.Duration{
		"ticks": 150 * time.Millisecond, "clock": 800 * time.Millisecond, "metrics": 800 * time.Millisecond,
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			s := start(t, program)
			var took time.Duration
			for range 10 {
				began := time.Now()
				body := open(t, s.url+routes[program], "").Body
				for range events(t, body) {
					took = time.Since(began)
					break
				}
				body.Close()
				if took < within {
					return
				}
			}
			t.Errorf("the first event took %v, want less than %v", took, within)
		})
	}
}

// A busy machine makes these later, never earlier.
func TestEventsAreSpaced(t *testing.T) {
	t.Parallel()
	for program, least := range map[string]time.Duration{
		"ticks":  2 * 200 * time.Millisecond,
		"launch": 3 * 150 * time.Millisecond,
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			s := start(t, program)
			began := time.Now()
			if _, err := io.Copy(io.Discard, open(t, s.url+routes[program], "").Body); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < least {
				t.Errorf("the stream took %v, want at least %v", took, least)
			}
		})
	}
}

func TestWhatNoRouteTakesGetsAStatusAndNoBody(t *testing.T) {
	t.Parallel()
	noRedirect := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for program, route := range routes {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			s := startFor(t, program)
			for _, tc := range []struct {
				method, path string
				status       int
				allow        string
			}{
				{"POST", route, 405, "GET, HEAD"},
				{"DELETE", route, 405, "GET, HEAD"},
				{"GET", "/", 404, ""},
				{"GET", route + "/", 404, ""},
				{"GET", "/" + route, 404, ""},
				{"GET", route + "/x", 404, ""},
				{"GET", "/x/.." + route, 404, ""},
				{"POST", "/x", 404, ""},
			} {
				r, err := http.NewRequestWithContext(t.Context(), tc.method, s.url+tc.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := noRedirect.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != tc.status || resp.Header.Get("Allow") != tc.allow || len(body) > 0 || resp.Header.Get("Content-Type") != "" {
					t.Errorf("%s %s: %s, Allow %q, body %q, %v, want %d and %q", tc.method, tc.path, resp.Status, resp.Header.Get("Allow"), body, err, tc.status, tc.allow)
				}
			}
		})
	}
}
