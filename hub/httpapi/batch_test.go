package httpapi_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
)

func TestBatch(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		stream := s.listen(t, "/events?topic=**&format=envelope")
		stream.next(t)
		lines := `{"topic":"orders.42","data":{"status": "packed"},"key":"42-packed"}` + "\n" +
			`{"topic":"orders.42","type":"note","data":"by hand"}` + "\n" +
			`{"topic":"orders.42","data":{"status": "packed"},"key":"42-packed"}` // no line end
		r := s.batch(t, lines)
		if r.status != 200 || r.header.Get("Content-Type") != "application/x-ndjson" || r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", r.status, r.header)
		}
		golden(t, "batch.golden.ndjson", r.body)
		envelope := func(seq int, kind, data string) string {
			return fmt.Sprintf(`data: {"id":"%s-%d","topic":"orders.42","type":%q,"data":%q,"time":"2000-01-01T00:00:00Z"}`+"\nid: %[1]s-%[2]d\n", epoch, seq, kind, data)
		}
		stream.want(t, envelope(1, "message", `{"status":"packed"}`), envelope(2, "note", "by hand"))

		again := s.batch(t, lines)
		if want := `{"id":"` + epoch + `-1","topic":"orders.42","status":200}` + "\n" +
			`{"id":"` + epoch + `-3","topic":"orders.42","status":201}` + "\n" +
			`{"id":"` + epoch + `-1","topic":"orders.42","status":200}` + "\n"; again.status != 200 || mask(again.body) != want {
			t.Errorf("again: %d\n%s\nwant\n%s", again.status, mask(again.body), want)
		}
	})
}

// What becomes of a line.
func TestBatchLines(t *testing.T) {
	for _, tt := range []struct {
		rule string
		line string
		want hub.Message
	}{
		{"a string is the data as it is", `{"topic":"a","data":"x \"y\""}`, hub.Message{Topic: "a", Data: `x "y"`}},
		{"the empty string, too", `{"topic":"a","data":""}`, hub.Message{Topic: "a"}},
		{"its escapes are those of JSON", `{"topic":"a","data":"\"\\\/\b\f\n\r\t\u00e9\ud83d\uDE00\u0000<\u2028"}`, hub.Message{Topic: "a", Data: "\"\\/\b\f\n\r\té😀\x00<\u2028"}},
		{"a string of JSON is not compacted", `{"topic":"a","data":"{ }"}`, hub.Message{Topic: "a", Data: "{ }"}},
		{"an object is compact JSON", `{"topic":"a","data": { "a" : [ 1 , 2 ] , "b c" : "d  e" } }`, hub.Message{Topic: "a", Data: `{"a":[1,2],"b c":"d  e"}`}},
		{"its strings and numbers stay as they are written", `{"topic":"a","data":["\u00e9<&>\ud800",1.0E+2,-0,12345678901234567890]}`, hub.Message{Topic: "a", Data: `["\u00e9<&>\ud800",1.0E+2,-0,12345678901234567890]`}},
		{"a number", `{"topic":"a","data":-1.5e3}`, hub.Message{Topic: "a", Data: `-1.5e3`}},
		{"a boolean", `{"data":true,"topic":"a"}`, hub.Message{Topic: "a", Data: `true`}},
		{"null", `{"topic":"a","data":null}`, hub.Message{Topic: "a", Data: `null`}},
		{"brackets in strings are no brackets", `{"topic":"a","data":["]","}\"}",{"{":"["}]}`, hub.Message{Topic: "a", Data: `["]","}\"}",{"{":"["}]`}},
		{"all fields, in any order, with white space", " {\t\"key\" : \"k\" , \"data\":1,\r\"type\": \"t\" ,\"topic\" :\"a.b\"} \r", hub.Message{Topic: "a.b", Type: "t", Data: "1", Key: "k"}},
		{"names may be escaped", `{"\u0074opic":"a","data":1}`, hub.Message{Topic: "a", Data: "1"}},
		{"a type and a key may be null", `{"topic":"a","type":null,"key":null,"data":1}`, hub.Message{Topic: "a", Data: "1"}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got, lines, err := httpapi.ParseBatch([]byte(tt.line), 1000)
			if err != nil || len(got) != 1 || got[0] != tt.want || lines[0] != 1 {
				t.Errorf("got %+v on lines %v, %v; want %+v", got, lines, err, tt.want)
			}
		})
	}
}

// Parsing allocates the data of each message, and little else.
func TestParsingAllocatesLittle(t *testing.T) {
	const lines = 100
	body := []byte(strings.Repeat(`{"topic": "orders.42.status", "data": {"state":"shipped","weight":1.25}}`+"\n", lines))
	n := testing.AllocsPerRun(100, func() {
		if _, _, err := httpapi.ParseBatch(body, 1000); err != nil {
			t.Fatal(err)
		}
	})
	if n > lines+6 {
		t.Errorf("%v allocations for %d messages", n, lines)
	}
}

// A bad line is named, by the problem that the same message alone would have, and
// nothing is stored.
func TestBatchRefuses(t *testing.T) {
	const good = `{"topic":"a","data":1}` + "\n"
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2, api: httpapi.Options{MaxMessage: 100}, hub: hub.Options{MaxMessage: 90}})
		for _, tt := range []struct {
			name    string
			line    string
			status  int
			problem string
			column  int
			field   string
			says    string
		}{
			{"no JSON", `nonsense`, 400, "invalid-json", 2, "", "'o'"},
			{"half of JSON", `{"topic":"a",`, 400, "invalid-json", 14, "", "too early"},
			{"JSON and more", `{"topic":"a","data":1} {"topic":"b","data":2}`, 400, "invalid-json", 24, "", "--data-binary"},
			{"columns are characters", `{"é":é}`, 400, "invalid-json", 6, "", "'é'"},
			{"a control character", "{\"topic\":\"a\",\"data\":\"\x01\"}", 400, "invalid-json", 22, "", `'\x01'`},
			{"not UTF-8", "{\"topic\":\"a\",\"data\":\"\xff\"}", 400, "invalid-json", 0, "", "UTF-8"},
			{"nested too deeply", `{"topic":"a","data":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + "}", 400, "invalid-json", 10_020, "", "nested too deeply: there may be up to 10,000"},
			{"many brackets in a string", `{"topic":"a","data":"\"` + strings.Repeat("[", 10_001) + `" x}`, 400, "invalid-json", 10_027, "", "'x'"},
			{"many brackets beside one another", `{"topic":"a","data":[` + strings.Repeat("[],", 10_001) + `x]}`, 400, "invalid-json", 30_025, "", "'x'"},
			{"an array", `[1]`, 422, "invalid-message", 0, "", "an array"},
			{"null", `null`, 422, "invalid-message", 0, "", "null"},
			{"no topic", `{"data":1}`, 422, "invalid-message", 0, "topic", `"topic" is missing`},
			{"no data", `{"topic":"a"}`, 422, "invalid-message", 0, "data", `"data" is missing`},
			{"nothing", `{}`, 422, "invalid-message", 0, "topic", `"topic" is missing`},
			{"a topic that is a number", `{"topic":1,"data":1}`, 422, "invalid-message", 0, "topic", "a number"},
			{"a topic that is null", `{"topic":null,"data":1}`, 422, "invalid-message", 0, "topic", "null"},
			{"a type that is an object", `{"topic":"a","type":{},"data":1}`, 422, "invalid-message", 0, "type", "an object"},
			{"a key that is a boolean", `{"topic":"a","key":true,"data":1}`, 422, "invalid-message", 0, "key", "a boolean"},
			{"a field that is not known", `{"topic":"a","data":1,"tpye":"t"}`, 422, "invalid-message", 0, "tpye", `"tpye"`},
			{"a field in another case", `{"Topic":"a","data":1}`, 422, "invalid-message", 0, "Topic", `"Topic"`},
			{"a field without a name", `{"topic":"a","data":1,"":1}`, 422, "invalid-message", 0, "", `no field ""`},
			{"a topic that stands twice", `{"topic":"a","topic":"b","data":1}`, 422, "invalid-message", 0, "topic", "twice"},
			{"data that stand twice", `{"topic":"a","data":1,"data":"b"}`, 422, "invalid-message", 0, "data", "twice"},
			{"a key that stands twice", `{"topic":"a","data":1,"key":null,"key":"k"}`, 422, "invalid-message", 0, "key", "twice"},
			{"half a surrogate pair", `{"topic":"a","data":"\ud800"}`, 400, "invalid-data", 0, "data", "surrogate"},
			{"the other half", `{"topic":"a","data":"\udc00\ud800"}`, 400, "invalid-data", 0, "data", "surrogate"},
			{"a half and something else", `{"topic":"a","data":"\ud800\u0041"}`, 400, "invalid-data", 0, "data", "surrogate"},
			{"a half and no escape", `{"topic":"a","data":"\ud800uDC00"}`, 400, "invalid-data", 0, "data", "surrogate"},
			{"half a surrogate pair in a name", `{"topic":"a","\ud800":1}`, 400, "invalid-data", 0, "", "surrogate"},
			{"a bad topic", `{"topic":"a.*","data":1}`, 400, "invalid-topic", 0, "topic", "*"},
			{"an empty topic", `{"topic":"","data":1}`, 400, "invalid-topic", 0, "topic", "empty"},
			{"a topic of the hub's own", `{"topic":"tidings.x","data":1}`, 403, "reserved", 0, "topic", "tidings."},
			{"a type of the hub's own", `{"topic":"a","type":"tidings.x","data":1}`, 403, "reserved", 0, "type", "tidings."},
			{"a bad type", `{"topic":"a","type":"a\nb","data":1}`, 400, "invalid-type", 0, "type", "line end"},
			{"an empty key", `{"topic":"a","key":"","data":1}`, 400, "invalid-key", 0, "key", "empty"},
			{"a key that is too long", `{"topic":"a","key":"` + strings.Repeat("k", 256) + `","data":1}`, 400, "invalid-key", 0, "key", "255"},
			{"data that are too large", `{"topic":"a","data":"` + strings.Repeat("x", 101) + `"}`, 413, "message-too-large", 0, "", "100 bytes"},
			{"data that are too large to the hub", `{"topic":"a","data":"` + strings.Repeat("x", 91) + `"}`, 413, "message-too-large", 0, "", "up to 90"},
		} {
			r := s.batch(t, good+"\n \t\r\n"+good+tt.line+"\n"+good)
			if r.status != tt.status {
				t.Fatalf("%s: %d %s", tt.name, r.status, r.body)
			}
			p := r.problem(t, tt.status, tt.problem)
			if p.Line != 5 || !strings.HasPrefix(p.Detail, "Line 5: ") {
				t.Errorf("%s: line %d, detail %q", tt.name, p.Line, p.Detail)
			}
			if tt.name == "no topic" {
				golden(t, "problem.golden.json", r.body)
			}
			if p.Column != tt.column || p.Field != tt.field || !strings.Contains(p.Detail, tt.says) {
				t.Errorf("%s: column %d, field %q and detail %q; want %d, %q and %q", tt.name, p.Column, p.Field, p.Detail, tt.column, tt.field, tt.says)
			}
		}
		if r := s.get(t, "/topics"); r.body != "{\"topics\":[]}\n" {
			t.Errorf("something is stored: %s", r.body)
		}
	})
}

func TestBatchHead(t *testing.T) {
	const line = `{"topic":"a","data":1}`
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2, api: httpapi.Options{MaxBatch: 1000}})
		for _, tt := range []struct {
			name    string
			body    string
			header  []string
			status  int
			problem string
		}{
			{"x-ndjson", line, []string{"Content-Type", "application/x-ndjson"}, 200, ""},
			{"ndjson", line, []string{"Content-Type", "application/ndjson; charset=utf-8"}, 200, ""},
			{"jsonl", line, []string{"Content-Type", "Application/JSONL;broken"}, 200, ""},
			{"jsonlines", line, []string{"Content-Type", "application/x-jsonlines"}, 200, ""},
			{"no type", line, nil, 415, "unsupported-media-type"},
			{"JSON", line, []string{"Content-Type", "application/json"}, 415, "unsupported-media-type"},
			{"a form, as curl -d labels everything", line, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"},
			{"compressed", line, []string{"Content-Type", "application/x-ndjson", "Content-Encoding", "gzip"}, 415, "unsupported-encoding"},
			{"a key for all", line, []string{"Content-Type", "application/x-ndjson", "Idempotency-Key", "k"}, 400, "invalid-key"},
			{"no line", " \n\r\n", []string{"Content-Type", "application/x-ndjson"}, 400, "invalid-json"},
			{"no body", "", []string{"Content-Type", "application/x-ndjson"}, 400, "invalid-json"},
			{"as large as is taken", line + strings.Repeat("\n", 1000-len(line)), []string{"Content-Type", "application/x-ndjson"}, 200, ""},
			{"larger", line + strings.Repeat("\n", 1001-len(line)), []string{"Content-Type", "application/x-ndjson"}, 413, "body-too-large"},
		} {
			r := s.send(t, "POST", "/batch", tt.body, tt.header...)
			if r.status != tt.status {
				t.Errorf("%s: %d %s", tt.name, r.status, r.body)
			} else if tt.problem != "" {
				r.problem(t, tt.status, tt.problem)
			}
		}
	})
}

func TestBatchOfManyMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{})
		const line = `{"topic":"a","data":1}` + "\n"
		s.batch(t, strings.Repeat(line, httpapi.MaxBatchMessages+1)).problem(t, 413, "too-many-messages")
		r := s.batch(t, strings.Repeat(line, httpapi.MaxBatchMessages))
		if r.status != 200 || strings.Count(r.body, "\n") != httpapi.MaxBatchMessages || !strings.HasPrefix(mask(r.body), `{"id":"`+epoch+`-1",`) {
			t.Errorf("%d %.200s", r.status, r.body)
		}
	})
}

// The log may refuse some of a batch: each line says so, and the status is that
// of the first.
func TestBatchRefusedByTheLog(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		for _, tt := range []struct {
			name   string
			fails  map[string]error // by data
			status int
			lines  string // the statuses
			retry  string
			golden string
			logs   int // lines
		}{
			{"a key that was used", map[string]error{"2": eventlog.ErrKeyConflict}, 422, "201 422 201 201", "", "batch-refused.golden.ndjson", 0},
			{"one that is too large", map[string]error{"2": eventlog.ErrTooLarge, "3": eventlog.ErrKeyConflict}, 413, "201 413 422 201", "", "", 0},
			{"a disk that is full", map[string]error{"3": fmt.Errorf("log: %w", eventlog.ErrFull)}, 507, "201 201 507 507", "", "", 0},
			{"a log that is closed", map[string]error{"1": eventlog.ErrClosed}, 503, "503 503 503 503", "1", "", 0},
			{"a log that fails", map[string]error{"2": errSecret}, 500, "201 500 500 500", "", "", 1},
			{"the first status counts", map[string]error{"2": eventlog.ErrKeyConflict, "4": eventlog.ErrFull}, 422, "201 422 201 507", "", "", 0},
		} {
			var logged logBuffer
			log := &faultyLog{Log: eventlog.NewMemory(nil), appends: func(m hub.Message) error { return tt.fails[m.Data] }}
			s := serve(t, setting{h2: h2, log: log, api: logTo(&logged)})
			r := s.batch(t, `{"topic":"a","data":1}`+"\n"+`{"topic":"a","data":2}`+"\n"+`{"topic":"a","data":3}`+"\n"+`{"topic":"a","data":4}`+"\n")
			var statuses []string
			for line := range strings.Lines(r.body) {
				var got struct {
					ID, Topic, Type, Detail string
					Status                  int
				}
				decode(t, line, &got)
				statuses = append(statuses, fmt.Sprint(got.Status))
				if stored := got.Status == 201; got.Topic != "a" || stored != (got.ID != "") || stored != (got.Type == "") || stored != (got.Detail == "") {
					t.Errorf("%s: %s", tt.name, line)
				}
			}
			if got := strings.Join(statuses, " "); r.status != tt.status || got != tt.lines || r.header.Get("Retry-After") != tt.retry {
				t.Errorf("%s: %d with lines %s and Retry-After %q; want %d with %s and %q", tt.name, r.status, got, r.header.Get("Retry-After"), tt.status, tt.lines, tt.retry)
			}
			if tt.golden != "" {
				golden(t, tt.golden, r.body)
			}
			if got := strings.Count(logged.String(), "\n"); got != tt.logs || strings.Contains(r.body, "secret") {
				t.Errorf("%s: logs %q, answers %s", tt.name, logged.String(), r.body)
			}
		}
	})
}

// A process that dies in the middle leaves the beginning of a batch; sending it
// again completes it.
func TestBatchThatWasCutIsCompletedByItsKeys(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dies := errors.New("this process has died")
		log := &faultyLog{Log: eventlog.NewMemory(nil), appends: func(m hub.Message) error {
			if m.Data == "3" {
				return dies
			}
			return nil
		}}
		s := serve(t, setting{log: log})
		stream := s.listen(t, "/events?topic=a")
		stream.next(t)
		var lines strings.Builder
		for i := range 5 {
			fmt.Fprintf(&lines, `{"topic":"a","data":%d,"key":"k%[1]d"}`+"\n", i)
		}
		if r := s.batch(t, lines.String()); r.status != 500 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		log.failAppends(nil)
		r := s.batch(t, lines.String())
		var want strings.Builder
		for i, status := range []int{200, 200, 200, 201, 201} {
			fmt.Fprintf(&want, `{"id":"%s-%d","topic":"a","status":%d}`+"\n", epoch, i+1, status)
		}
		if r.status != 200 || mask(r.body) != want.String() {
			t.Errorf("%d\n%s\nwant\n%s", r.status, mask(r.body), want.String())
		}
		stream.want(t, event(1, "0"), event(2, "1"), event(3, "2"), event(4, "3"), event(5, "4"))
	})
}
