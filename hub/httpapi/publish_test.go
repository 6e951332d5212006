package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
)

func TestPublish(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		stream := s.listen(t, "/events?topic=**")
		stream.next(t)
		r := s.send(t, "POST", "/topics/orders.42.status?type=status", `{"state": "shipped"}`)
		if r.status != 201 {
			t.Errorf("status %d", r.status)
		}
		golden(t, "published.golden.json", r.body)
		stream.want(t, "event: status\ndata: {\"state\": \"shipped\"}\nid: "+epoch+"-1\n")
		location := r.header.Get("Location")
		if got, want := mask(location), "/topics/orders.42.status/events/"+epoch+"-1"; got != want {
			t.Errorf("Location: %s, want %s", got, want)
		}
		event := s.get(t, location)
		golden(t, "event.golden.json", event.body)
	})
}

// A message that is kept does not keep the line of its request.
func TestMessageKeepsNoRequest(t *testing.T) {
	h, err := hub.New(t.Context(), eventlog.NewMemory(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	api := httpapi.New(h, nil)
	used := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	begin := used()
	const messages, line = 200, 50 << 10
	for range messages {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequest("POST", "/topics/a?type=t&x="+strings.Repeat("x", line), strings.NewReader("1")))
		if w.Code != http.StatusCreated {
			t.Fatal(w.Code)
		}
	}
	if n := used() - begin; n > messages*line/4 {
		t.Errorf("%d messages of a few bytes take %d KiB", messages, n>>10)
	}
}

// The body becomes the data, whatever it is.
func TestPublishTakesTheBodyAsItIs(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		for _, tt := range []struct {
			name   string
			data   string
			header []string
		}{
			{"text", "hello", nil},
			{"nothing", "", nil},
			{"white space", " \r\n\t\n", nil},
			{"JSON", `{"a": 1}`, []string{"Content-Type", "application/json"}},
			{"what is labelled as JSON and is not", `{"a": `, []string{"Content-Type", "application/json"}},
			{"a form, as curl -d labels everything", "a=b&c", []string{"Content-Type", "application/x-www-form-urlencoded"}},
			{"any type", "x", []string{"Content-Type", "image/svg+xml; charset=x"}},
			{"a type that is none", "x", []string{"Content-Type", "nonsense/"}},
			{"the encoding identity", "x", []string{"Content-Encoding", "Identity"}},
			{"a byte order mark", "\ufeffx", nil},
			{"what is not ASCII", "é\u2028\U0001f600\x00", nil},
			{"as much as is taken", strings.Repeat("x", 512<<10), nil},
		} {
			id := s.publish(t, "/topics/a", tt.data, tt.header...)
			var ev hub.Event
			decode(t, s.get(t, "/topics/a/events/"+id).body, &ev)
			if ev.Data != tt.data || ev.Type != "message" {
				t.Errorf("%s: became %.50q of type %s", tt.name, ev.Data, ev.Type)
			}
		}
	})
}

// A body whose length is not announced is the same.
func TestPublishWithoutALength(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2, api: httpapi.Options{MaxMessage: 100_000}})
		for _, tt := range []struct{ size, status int }{{0, 201}, {1, 201}, {511, 201}, {512, 201}, {513, 201}, {65_536, 201}, {100_000, 201}, {100_001, 413}, {1_000_000, 413}} {
			data := strings.Repeat("x", tt.size)
			res := s.request(t, "POST", "/topics/a", io.MultiReader(strings.NewReader(data)))
			b, _ := io.ReadAll(res.Body)
			if res.StatusCode != tt.status {
				t.Fatalf("%d bytes: %s, want %d", tt.size, res.Status, tt.status)
			}
			if tt.status != 201 {
				reply{res.StatusCode, res.Header, string(b)}.problem(t, 413, "message-too-large")
				continue
			}
			var published struct{ ID string }
			decode(t, string(b), &published)
			var ev hub.Event
			decode(t, s.get(t, "/topics/a/events/"+published.ID).body, &ev)
			if ev.Data != data {
				t.Errorf("%d bytes became %d", tt.size, len(ev.Data))
			}
		}
	})
}

func TestPublishRefuses(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2, api: httpapi.Options{MaxMessage: 1000}})
		for _, tt := range []struct {
			name    string
			path    string
			body    string
			header  []string
			status  int
			problem string
			field   string
			says    string
		}{
			{"a topic with a wildcard", "/topics/a.*", "x", nil, 400, "invalid-topic", "topic", "*"},
			{"a topic with an empty token", "/topics/a..b", "x", nil, 400, "invalid-topic", "topic", "empty token"},
			{"a topic of too many tokens", "/topics/" + strings.Repeat("a.", 16) + "a", "x", nil, 400, "invalid-topic", "topic", "16"},
			{"a topic that is too long", "/topics/" + strings.Repeat("a", 201), "x", nil, 400, "invalid-topic", "topic", "200"},
			{"a topic beyond ASCII", "/topics/é", "x", nil, 400, "invalid-topic", "topic", "A-Z"},
			{"a topic of the hub's own", "/topics/tidings.open", "x", nil, 403, "reserved", "topic", `"tidings."`},
			{"a type of the hub's own", "/topics/a?type=tidings.gap", "x", nil, 403, "reserved", "type", `"tidings."`},
			{"a type with a line end", "/topics/a?type=a%0Ab", "x", nil, 400, "invalid-type", "type", "line end"},
			{"a type that is too long", "/topics/a?type=" + strings.Repeat("a", 201), "x", nil, 400, "invalid-type", "type", "200"},
			{"a type that is not UTF-8", "/topics/a?type=%ff", "x", nil, 400, "invalid-type", "type", "UTF-8"},
			{"two types", "/topics/a?type=b&type=c", "x", nil, 400, "invalid-type", "type", "once"},
			{"a query that is malformed", "/topics/a?type=%zz", "x", nil, 400, "invalid-query", "", "%25"},
			{"a semicolon in the query", "/topics/a?type=a;b", "x", nil, 400, "invalid-query", "", "%3B"},
			{"data that is not UTF-8", "/topics/a", "a\xffb", nil, 400, "invalid-data", "data", "Base64"},
			{"data that is too large", "/topics/a", strings.Repeat("x", 1001), nil, 413, "message-too-large", "", "1000 bytes"},
			{"a body that is compressed", "/topics/a", "x", []string{"Content-Encoding", "gzip"}, 415, "unsupported-encoding", "", "gzip"},
			{"a body that is encoded twice", "/topics/a", "x", []string{"Content-Encoding", "identity", "Content-Encoding", "br"}, 415, "unsupported-encoding", "", "br"},
			{"a key that is empty", "/topics/a", "x", []string{"Idempotency-Key", ""}, 400, "invalid-key", "key", "empty"},
			{"two keys", "/topics/a", "x", []string{"Idempotency-Key", "a", "Idempotency-Key", "a"}, 400, "invalid-key", "key", "2 times"},
			{"a key that is malformed", "/topics/a", "x", []string{"Idempotency-Key", `"a`}, 400, "invalid-key", "key", "quote"},
		} {
			r := s.send(t, "POST", tt.path, tt.body, tt.header...)
			if r.status != tt.status {
				t.Fatalf("%s: %d %s", tt.name, r.status, r.body)
			}
			p := r.problem(t, tt.status, tt.problem)
			if p.Field != tt.field || !strings.Contains(p.Detail, tt.says) {
				t.Errorf("%s: field %q and detail %q, want %q and %q", tt.name, p.Field, p.Detail, tt.field, tt.says)
			}
			if accept := r.header.Get("Accept-Encoding"); (accept == "identity") != (tt.problem == "unsupported-encoding") {
				t.Errorf("%s: Accept-Encoding: %s", tt.name, accept)
			}
		}
		if r := s.get(t, "/topics"); r.body != "{\"topics\":[]}\n" {
			t.Errorf("something is stored: %s", r.body)
		}
	})
}

// What no route knows in a query is ignored: caches and clients put it there.
func TestUnknownParametersAreIgnored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{})
		s.publish(t, "/topics/a?_=17&utm_source=x", "x")
		s.listen(t, "/events?topic=a&_=17&from=start")
	})
}

func TestIdempotencyKey(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		stream := s.listen(t, "/events?topic=**")
		stream.next(t)
		first := s.send(t, "POST", "/topics/a", "x", "Idempotency-Key", "k-1")
		again := s.send(t, "POST", "/topics/a", "x", "Idempotency-Key", `"k-1"`) // the same, as the draft has it
		if first.status != 201 || again.status != 200 || first.body != again.body || first.headers() != again.headers() {
			t.Errorf("first %d %s%s, again %d %s%s", first.status, first.headers(), first.body, again.status, again.headers(), again.body)
		}
		for name, path := range map[string]string{"other data": "/topics/a", "another type": "/topics/a?type=t"} {
			data := "x"
			if name == "other data" {
				data = "y"
			}
			r := s.send(t, "POST", path, data, "Idempotency-Key", "k-1")
			if p := r.problem(t, 422, "key-conflict"); p.Field != "key" {
				t.Errorf("%s: field %q", name, p.Field)
			}
		}
		// A key is its topic's.
		s.publish(t, "/topics/b", "z", "Idempotency-Key", "k-1")
		stream.want(t, event(1, "x"), event(2, "z"))
	})
}

func TestIdempotencyKeyForms(t *testing.T) {
	for _, tt := range []struct {
		value string
		want  string // "" if it is refused
	}{
		{`8e03978e-40d5-43dd-bc93-6894a57f9324`, "8e03978e-40d5-43dd-bc93-6894a57f9324"},
		{`"8e03978e-40d5-43dd-bc93-6894a57f9324"`, "8e03978e-40d5-43dd-bc93-6894a57f9324"},
		{`a/b+c=;d:e?f*~!`, `a/b+c=;d:e?f*~!`},
		{`a\b`, `a\b`}, // an escape only between quotes
		{`"a\\b\"c d,e"`, `a\b"c d,e`},
		{`  a  `, "a"},
		{` "a" `, "a"},
		{strings.Repeat("k", 255), strings.Repeat("k", 255)},
		{`"` + strings.Repeat("k", 255) + `"`, strings.Repeat("k", 255)},
		{strings.Repeat("k", 256), ""},
		{``, ""},
		{`""`, ""},
		{`"`, ""},
		{`"a`, ""},
		{`a"`, ""},
		{`"a"b"`, ""},
		{`"a";p=1`, ""},
		{`"a", "b"`, ""},
		{`"a\"`, ""},
		{`"a\`, ""},
		{`"a\n"`, ""},
		{`a b`, ""},
		{`a,b`, ""},
		{"a\tb", ""},
		{"\"a\tb\"", ""},
		{"clé", ""},
		{`"clé"`, ""},
		{"a\x7f", ""},
	} {
		got, refusal := httpapi.IdempotencyKey(http.Header{"Idempotency-Key": {tt.value}})
		if got != tt.want || (refusal == nil) != (tt.want != "") {
			t.Errorf("%q: %q, %v; want %q", tt.value, got, refusal, tt.want)
		}
	}
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{"k", `"k"`, `"a\\b\"c"`, `"\`, "", `"a";x`} {
		f.Add(seed)
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, value string) {
		key, refusal := httpapi.IdempotencyKey(http.Header{"Idempotency-Key": {value}})
		if refusal != nil {
			return
		}
		if key == "" || len(key) > eventlog.MaxKeyBytes || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("%q is the key %q", value, key)
		}
		again, refusal := httpapi.IdempotencyKey(http.Header{"Idempotency-Key": {`"` + quoted.Replace(key) + `"`}})
		if refusal != nil || again != key {
			t.Fatalf("%q is the key %q, which quoted is %q (%v)", value, key, again, refusal)
		}
	})
}

// What the log says of a message is the status.
func TestPublishRefusedByTheLog(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		var logged logBuffer
		log := &faultyLog{Log: eventlog.NewMemory(nil)}
		s := serve(t, setting{h2: h2, log: log, api: logTo(&logged), hub: hub.Options{MaxMessage: 100}})
		for _, tt := range []struct {
			err     error
			status  int
			problem string
			retry   string
			logs    string
		}{
			{eventlog.ErrFull, 507, "insufficient-storage", "", ""},
			{fmt.Errorf("the log: %w: only 3 bytes left", eventlog.ErrFull), 507, "insufficient-storage", "", ""},
			{eventlog.ErrClosed, 503, "stopping", "1", ""},
			{fmt.Errorf("%w: %w", eventlog.ErrFailed, errSecret), 503, "unavailable", "1", ""},
			{eventlog.ErrTooLarge, 413, "message-too-large", "", ""},
			{eventlog.ErrKeyConflict, 422, "key-conflict", "", ""},
			{fmt.Errorf("%w, and too often within the window", eventlog.ErrKeyConflict), 422, "key-conflict", "", ""},
			{fmt.Errorf("no answer: %w", context.DeadlineExceeded), 503, "unconfirmed", "1", "WARN"},
			{fmt.Errorf("nats: %w: %w", eventlog.ErrUnavailable, errSecret), 503, "unavailable", "1", "WARN"},
			{fmt.Errorf("nats: %w: %w", eventlog.ErrUnconfirmed, eventlog.ErrUnavailable), 503, "unconfirmed", "1", "WARN"},
			{eventlog.ErrReopened, 503, "unconfirmed", "1", "WARN"},
			{errSecret, 500, "internal-error", "", "ERROR"},
		} {
			log.failAppends(func(hub.Message) error { return tt.err })
			logged.Reset()
			r := s.send(t, "POST", "/topics/a", "x")
			r.problem(t, tt.status, tt.problem)
			if got := r.header.Get("Retry-After"); got != tt.retry {
				t.Errorf("%v: Retry-After: %q, want %q", tt.err, got, tt.retry)
			}
			if got := logged.String(); tt.logs == "" && got != "" || !strings.Contains(got, tt.logs) {
				t.Errorf("%v: the log has %q, want %q", tt.err, got, tt.logs)
			}
		}
		// By the hub, and by a log that retains less. The answer names the limit that counts.
		r := s.send(t, "POST", "/topics/a", strings.Repeat("x", 101))
		r.problem(t, 413, "message-too-large")
		if !strings.Contains(r.body, "takes 101 bytes of storage. It may take up to 100.") {
			t.Errorf("by the hub: %s", r.body)
		}
		small := serve(t, setting{h2: h2, log: eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: 1000})})
		for _, way := range []reply{small.send(t, "POST", "/topics/a", strings.Repeat("x", 1000)), small.batch(t, `{"topic":"a","data":"`+strings.Repeat("x", 1000)+`"}`)} {
			if way.status != 413 || !strings.Contains(way.body, "message-too-large") || !strings.Contains(way.body, "takes 1193 bytes of storage. It may take up to 1000.") {
				t.Errorf("by the log: %d %s", way.status, way.body)
			}
		}
	})
}

// A log that does not answer holds nobody for ever.
func TestPublishWaitsForAWhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{log: &faultyLog{Log: eventlog.NewMemory(nil), waits: true}})
		start := time.Now()
		s.send(t, "POST", "/topics/a", "x").problem(t, 503, "unconfirmed")
		if waited := time.Since(start); waited != 10*time.Second {
			t.Errorf("waited %v", waited)
		}
		start = time.Now()
		r := s.batch(t, strings.Repeat(`{"topic":"a","data":1}`+"\n", 201))
		if waited := time.Since(start); r.status != 503 || r.header.Get("Retry-After") != "1" || waited != 11*time.Second {
			t.Errorf("the batch: %d after %v", r.status, waited)
		}
	})
}

// A slowLog takes a while for each message, unless its context ends.
type slowLog struct{ eventlog.Log }

func (l slowLog) Append(ctx context.Context, messages []hub.Message) []eventlog.Appended {
	var results []eventlog.Appended
	for _, m := range messages {
		select {
		case <-time.After(time.Second):
			results = append(results, l.Log.Append(ctx, []hub.Message{m})...)
		case <-ctx.Done():
			results = append(results, eventlog.Appended{Err: ctx.Err()})
		}
	}
	return results
}

// A client that leaves once it has sent everything does not cut a batch in two.
func TestClientThatLeavesHasItsMessagesStored(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2, log: slowLog{eventlog.NewMemory(nil)}})
		ctx, cancel := context.WithCancel(t.Context())
		for path, body := range map[string]string{
			"/topics/a": "1",
			"/batch":    strings.Repeat(`{"topic":"b","data":1}`+"\n", 3),
		} {
			req, err := http.NewRequestWithContext(ctx, "POST", s.base+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-ndjson")
			go s.client.Do(req)
		}
		time.Sleep(100 * time.Millisecond)
		cancel()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for topic, want := range map[string]uint64{"a": 1, "b": 3} {
			if info, _, err := s.hub.Topic(t.Context(), topic); err != nil || info.Count != want {
				t.Errorf("of topic %s %d are stored (%v), want %d", topic, info.Count, err, want)
			}
		}
	})
}

// A body that ends early, or does not come, is not stored.
func TestBodyThatDoesNotArrive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{http: func(srv *http.Server) { srv.ReadTimeout = 30 * time.Second }})
		for _, tt := range []struct {
			name, request, want string
		}{
			{"one that is not sent", "POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", "HTTP/1.1 408"},
			{"a batch that is not sent", "POST /batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 99\r\n\r\n{\"topic\":\"a\",\"data\":1}\n", "HTTP/1.1 408"},
			{"chunks that are none", "POST /topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nnonsense\r\n", "HTTP/1.1 400"},
		} {
			c, err := s.mem.Dial()
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, tt.request)
			b, err := io.ReadAll(c)
			c.Close()
			got := string(b)
			if err != nil || !strings.HasPrefix(got, tt.want) || !strings.Contains(got, "\r\nConnection: close\r\n") || !strings.Contains(got, "problem+json") {
				t.Errorf("%s: %v\n%s", tt.name, err, got)
			}
		}
		if r := s.get(t, "/topics"); r.body != "{\"topics\":[]}\n" {
			t.Errorf("something is stored: %s", r.body)
		}
	})
}
