package httpapi_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

func TestAuthorizeIsAskedOnceForEachRequest(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		var asked []string
		s := serve(t, setting{h2: h2, api: httpapi.Options{Authorize: func(r *http.Request, access httpapi.Access) (httpapi.Decision, error) {
			asked = append(asked, fmt.Sprintf("%s topics %v filters %v for %s", access.Action, access.Topics, access.Filters, r.Header.Get("Authorization")))
			return httpapi.Anyone, nil
		}}})
		id := s.publish(t, "/topics/a", "x", "Authorization", "ada")
		for _, tt := range []struct{ method, path, body, want string }{
			{"POST", "/topics/a.b", "x", "publish topics [a.b] filters []"},
			{"POST", "/batch", `{"topic":"b","data":1}` + "\n" + `{"topic":"a","data":1}` + "\n" + `{"topic":"b","data":1}`, "publish topics [] filters [] for ada\npublish topics [b a] filters []"},
			{"HEAD", "/events", "", "subscribe topics [] filters [messages]"},
			{"HEAD", "/events?topic=a&topic=b.*", "", "subscribe topics [] filters [a b.*]"},
			{"HEAD", "/events?lastEventId=" + id + "&topic=a", "", "subscribe topics [] filters [a]"},
			{"GET", "/topics", "", "read topics [] filters [**]"},
			{"GET", "/topics?match=a.**", "", "read topics [] filters [a.**]"},
			{"GET", "/topics/a", "", "read topics [a] filters []"},
			{"HEAD", "/topics/nothing", "", "read topics [nothing] filters []"},
			{"GET", "/topics/a/events", "", "read topics [a] filters []"},
			{"GET", "/topics/a/events/" + id, "", "read topics [a] filters []"},
			{"GET", "/history", "", "subscribe topics [] filters [messages]"},
			{"HEAD", "/history?topic=a&topic=b.*&order=desc&before=" + id, "", "subscribe topics [] filters [a b.*]"},
			{"GET", "/position", "", "locate topics [] filters []"},
			// What is not valid asks for nothing.
			{"GET", "/nothing", "", ""},
			{"PUT", "/topics/a", "", ""},
			{"POST", "/topics/a.*", "x", ""},
			{"POST", "/batch", `{"topic":"a"}`, "publish topics [] filters []"},
			{"GET", "/events?topic=a..b", "", ""},
			{"GET", "/topics?limit=0", "", ""},
			{"GET", "/topics/a/events?after=x", "", ""},
			{"GET", "/history?topic=a&order=desc&before=x", "", ""},
			{"GET", "/history?topic=a..b", "", ""},
			{"POST", "/position", "x", ""},
		} {
			asked = nil
			var header []string
			if tt.path == "/batch" {
				header = []string{"Content-Type", "application/x-ndjson"}
			}
			r := s.send(t, tt.method, tt.path, tt.body, append(header, "Authorization", "ada")...)
			want := tt.want + " for ada"
			if tt.want == "" {
				want = ""
			}
			if got := strings.Join(asked, "\n"); got != want {
				t.Errorf("%s %s (%d): asked %q, want %q", tt.method, tt.path, r.status, got, want)
			}
		}
	})
}

// ownRefusal answers for itself.
type ownRefusal struct{ error }

func (ownRefusal) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	http.Error(w, "Who are you?", http.StatusUnauthorized)
}

// Every route refuses as Authorize says, and nothing is read, stored or begun.
func TestAuthorizeRefuses(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		for _, tt := range []struct {
			name    string
			err     error
			status  int
			problem bool
			header  string // of Www-Authenticate
			says    string
			logs    string
		}{
			{"any error", errSecret, 403, true, "", "You may not", "secret"},
			{"a status", &sse.StatusError{Status: 404, Message: "There is nothing."}, 404, false, "", "There is nothing.", ""},
			{"a status that is wrapped", fmt.Errorf("secret: %w", &sse.StatusError{Status: 401, Header: http.Header{"Www-Authenticate": {"Basic"}}}), 401, false, "Basic", "Unauthorized", ""},
			{"a status with a reason", &sse.StatusError{Status: 403, Err: errSecret}, 403, false, "", "Forbidden", "secret"},
			{"a failure", &sse.StatusError{Status: 503}, 503, false, "", "Service Unavailable", "503"},
			{"204, which ends an EventSource", &sse.StatusError{Status: 204}, 204, false, "", "", ""},
			{"one that answers for itself", ownRefusal{errSecret}, 401, false, "Bearer", "Who are you?", "secret"},
		} {
			var logged logBuffer
			log := &faultyLog{Log: eventlog.NewMemory(nil)}
			opts := logTo(&logged)
			var refuse error
			opts.Authorize = func(*http.Request, httpapi.Access) (httpapi.Decision, error) { return httpapi.Anyone, refuse }
			s := serve(t, setting{h2: h2, log: log, api: opts})
			id := s.publish(t, "/topics/a", "the data")
			refuse = tt.err
			log.failReads(errors.New("the log is read"))
			log.failAppends(func(hub.Message) error { t.Errorf("%s: something is stored", tt.name); return nil })
			for _, request := range []struct{ method, path string }{
				{"POST", "/topics/a"}, {"POST", "/batch"},
				{"GET", "/events?topic=a&from=start"}, {"HEAD", "/events"},
				{"GET", "/topics"}, {"GET", "/topics/a"}, {"GET", "/topics/nothing"},
				{"GET", "/topics/a/events"}, {"GET", "/topics/a/events/" + id},
				{"GET", "/history?topic=a"}, {"GET", "/history?topic=a&order=desc"}, {"GET", "/position"},
			} {
				logged.Reset()
				body, header := "", []string{"If-None-Match", "*"}
				if request.method == "POST" {
					body, header = `{"topic":"a","data":1}`, []string{"Content-Type", "application/x-ndjson"}
				}
				r := s.send(t, request.method, request.path, body, header...)
				if r.status != tt.status || r.header.Get("Www-Authenticate") != tt.header || r.header.Get("Etag") != "" || r.header.Get("Location") != "" {
					t.Errorf("%s: %s %s: %d %v", tt.name, request.method, request.path, r.status, r.header)
				}
				if request.method != "HEAD" && !strings.Contains(r.body, tt.says) || strings.Contains(r.body, "secret") || strings.Contains(r.body, "the data") {
					t.Errorf("%s: %s %s: %s", tt.name, request.method, request.path, r.body)
				}
				if tt.problem && request.method != "HEAD" {
					r.problem(t, 403, "forbidden")
				}
				if got := logged.String(); tt.logs == "" && got != "" || !strings.Contains(got, tt.logs) || strings.Contains(got, "is read") {
					t.Errorf("%s: %s %s: the log has %q, want %q", tt.name, request.method, request.path, got, tt.logs)
				}
			}
			log.failReads(nil)
			if info, subscribers, err := s.hub.Topic(t.Context(), "a"); err != nil || info.Count != 1 || subscribers != 0 {
				t.Errorf("%s: %+v with %d subscribers, %v", tt.name, info, subscribers, err)
			}
		}
	})
}

// A publisher who is refused need not send a body first.
func TestAuthorizeComesBeforeTheBody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{api: httpapi.Options{Authorize: func(*http.Request, httpapi.Access) (httpapi.Decision, error) { return httpapi.Anyone, errSecret }}})
		c, err := s.mem.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "POST /topics/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
		got := make([]byte, len("HTTP/1.1 403"))
		if _, err := c.Read(got); err != nil || string(got) != "HTTP/1.1 403" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestWithin(t *testing.T) {
	for _, tt := range []struct {
		name    string
		topics  string
		filters string
		allowed string
		want    bool
	}{
		{"a topic", "a", "", "a", true},
		{"another topic", "b", "", "a", false},
		{"one of two", "a b", "", "a", false},
		{"each by another", "a b", "", "a b", true},
		{"a topic by a filter", "users.7.inbox", "", "users.7.**", true},
		{"a filter by a wider one", "", "users.7.*", "users.7.**", true},
		{"a filter that reaches further", "", "users.*.inbox", "users.7.**", false},
		{"one filter of two", "", "users.7.* **", "users.7.**", false},
		{"everything", "", "**", "**", true},
		{"topics and filters", "a", "b", "a", false},
		{"nothing is allowed", "a", "", "", false},
		{"nothing is asked for", "", "", "**", false},
	} {
		filters := func(s string) []topics.Filter {
			all, err := topics.ParseFilters(strings.Fields(s)...)
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		access := httpapi.Access{Topics: strings.Fields(tt.topics), Filters: filters(tt.filters)}
		if got := access.Within(filters(tt.allowed)...); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

func TestActionString(t *testing.T) {
	for a, want := range map[httpapi.Action]string{
		httpapi.ActionPublish: "publish", httpapi.ActionSubscribe: "subscribe", httpapi.ActionRead: "read", httpapi.ActionAdminister: "administer",
		httpapi.ActionLocate: "locate",
		0:                    "action 0", -1: "action -1", 9: "action 9",
	} {
		if got := a.String(); got != want {
			t.Errorf("%d: %q, want %q", int(a), got, want)
		}
	}
}

// A Decision needs an end, or has to say that it has none. One whose end has come refuses.
func TestDecision(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		for _, tt := range []struct {
			name     string
			decision httpapi.Decision
			status   int
			problem  string
		}{
			{"no end", httpapi.Anyone, 200, ""},
			{"an end ahead", httpapi.Decision{Subject: "ada", Until: time.Now().Add(time.Hour)}, 200, ""},
			{"neither", httpapi.Decision{}, 500, "internal-error"},
			{"neither, for somebody", httpapi.Decision{Subject: "ada"}, 500, "internal-error"},
			{"an end that has come", httpapi.Decision{Subject: "ada", Until: time.Now()}, 401, "invalid-credential"},
		} {
			var logged logBuffer
			opts := logTo(&logged)
			decide := httpapi.Anyone
			opts.Authorize = func(*http.Request, httpapi.Access) (httpapi.Decision, error) { return decide, nil }
			s := serve(t, setting{h2: h2, api: opts})
			id := s.publish(t, "/topics/a", "x")
			decide = tt.decision
			for _, path := range []string{"/topics", "/topics/a", "/topics/a/events", "/topics/a/events/" + id, "/history?topic=a&order=desc", "/position", "/events?topic=a"} {
				method := "GET"
				if tt.problem == "" && strings.HasPrefix(path, "/events") {
					method = "HEAD"
				}
				r := s.send(t, method, path, "")
				if r.status != tt.status {
					t.Errorf("%s: %s: %d %s", tt.name, path, r.status, r.body)
				}
				if tt.problem != "" {
					r.problem(t, tt.status, tt.problem)
				}
				if tt.status == 401 && !strings.Contains(r.header.Get("Www-Authenticate"), "invalid_token") {
					t.Errorf("%s: %v", tt.name, r.header)
				}
			}
			if (tt.status == 500) != strings.Contains(logged.String(), "NoEnd") {
				t.Errorf("%s: the log has %s", tt.name, &logged)
			}
		}
	})
}

// A batch of which a part is not allowed is refused whole, and the line is named.
func TestAuthorizeNamesTheLine(t *testing.T) {
	s := serve(t, setting{api: httpapi.Options{Authorize: func(_ *http.Request, access httpapi.Access) (httpapi.Decision, error) {
		if !access.Within(topics.MustFilters("a.**")...) {
			return httpapi.Decision{}, errors.New("no")
		}
		return httpapi.Anyone, nil
	}}})
	var lines []string
	for _, topic := range []string{"a.b", "a.c", "a.b", "b", "c"} {
		lines = append(lines, fmt.Sprintf(`{"topic":%q,"data":1}`, topic))
	}
	r := s.send(t, "POST", "/batch", strings.Join(lines, "\n"), "Content-Type", "application/x-ndjson")
	r.problem(t, 403, "forbidden")
	if !strings.Contains(r.body, `"line":4`) {
		t.Error(r.body)
	}
	if _, _, err := s.hub.Topic(t.Context(), "a.b"); !errors.Is(err, eventlog.ErrNotFound) {
		t.Errorf("a part is stored: %v", err)
	}
}

// A permission that is taken away while a body comes stores no message. Authorize is asked again
// after a body that has taken long.
func TestAuthorizeHoldsUntilTheBodyHasCome(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		var mu sync.Mutex // of the next three
		var decision httpapi.Decision
		var refuse error
		asked := 0
		s := serve(t, setting{h2: h2, api: httpapi.Options{Authorize: func(*http.Request, httpapi.Access) (httpapi.Decision, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			return decision, refuse
		}}})
		for name, tt := range map[string]struct {
			takes   time.Duration
			change  func()
			publish int // the status
			revoke  int
			asked   int // for a message
		}{
			"nothing changes":       {time.Second / 2, func() {}, 201, 204, 1},
			"nothing changes, long": {2 * time.Second, func() {}, 201, 204, 2},
			"it is revoked": {time.Second / 2, func() {
				if err := s.hub.Revoke(t.Context(), decision.Subject, time.Now()); err != nil {
					t.Error(err)
				}
			}, 401, 401, 1},
			"it ends": {time.Second / 2, func() { time.Sleep(time.Minute) }, 401, 401, 2},
			"it is refused": {2 * time.Second, func() {
				mu.Lock()
				defer mu.Unlock()
				refuse = errors.New("no")
			}, 403, 403, 2},
		} {
			for _, route := range []struct {
				method, path, body string
				want               int
			}{{"POST", "/topics/a", "message", tt.publish}, {"POST", "/batch", `{"topic":"a","data":"x"}`, map[int]int{201: 200}[tt.publish]}, {"PUT", "/subjects/jwt:x/revocation", `{}`, tt.revoke}} {
				mu.Lock()
				decision, refuse = httpapi.Decision{Subject: fmt.Sprint("jwt:", name, route.path), Until: time.Now().Add(time.Minute)}, nil
				asked = 0
				mu.Unlock()
				body, text := io.Pipe()
				go func() {
					io.WriteString(text, route.body[:1])
					time.Sleep(tt.takes)
					tt.change()
					io.WriteString(text, route.body[1:])
					text.Close()
				}()
				res := s.request(t, route.method, route.path, body, "Content-Type", "application/x-ndjson")
				if route.want == 0 {
					route.want = tt.publish
				}
				if res.StatusCode != route.want {
					t.Errorf("%s: %s: %s, want %d", name, route.path, res.Status, route.want)
				}
				mu.Lock()
				if route.path == "/topics/a" && asked != tt.asked {
					t.Errorf("%s: asked %d times, want %d", name, asked, tt.asked)
				}
				mu.Unlock()
				res.Body.Close()
			}
		}
		if info, _, err := s.hub.Topic(t.Context(), "a"); err != nil || info.Count != 4 {
			t.Errorf("%+v, %v", info, err)
		}
	})
}

// A program's log has no credential that a client has put into a path, whatever is logged.
func TestLogHasNoCredentials(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.kK3mZ-_x9wQ"
		var logged logBuffer
		log := &faultyLog{Log: eventlog.NewMemory(nil), appends: func(hub.Message) error { return errSecret }}
		opts := logTo(&logged)
		var decision httpapi.Decision
		var refuse error
		opts.Authorize = func(*http.Request, httpapi.Access) (httpapi.Decision, error) { return decision, refuse }
		s := serve(t, setting{log: log, api: opts})
		fails := func(err error) {
			decision, refuse = httpapi.Anyone, nil
			log.failAppends(func(hub.Message) error { return err })
		}
		for name, set := range map[string]func(){
			"refused":                      func() { decision, refuse = httpapi.Anyone, errors.New("no") },
			"a decision that says nothing": func() { decision, refuse = httpapi.Decision{}, nil },
			"the log fails":                func() { decision, refuse = httpapi.Anyone, nil; log.failReads(errSecret) },
			"the log cannot be read now":   func() { decision, refuse = httpapi.Anyone, nil; log.failReads(eventlog.ErrUnavailable) },
			"the log takes nothing now":    func() { fails(eventlog.ErrUnavailable) },
			"the log does not confirm":     func() { fails(eventlog.ErrUnconfirmed) },
			"the log does not store":       func() { fails(errSecret) },
		} {
			logged.Reset()
			fails(errSecret)
			set()
			for _, request := range [][2]string{
				{"GET", "/topics/" + token}, {"GET", "/topics/" + token + "/events"}, {"POST", "/topics/" + token}, {"PUT", "/subjects/jwt:" + token + "/revocation"},
			} {
				if r := s.send(t, request[0], request[1], ""); r.status < 400 && request[0] != "GET" {
					t.Errorf("%s: %v: %d", name, request, r.status)
				}
			}
			log.failReads(nil)
			if got := logged.String(); strings.Contains(got, token[len(token)-11:]) || strings.Contains(name, "log") && !strings.Contains(got, "/topics/(credential)") {
				t.Errorf("%s: the log has %s", name, got)
			}
		}
		log.failAppends(nil)
	})
}

// Who may administer is not found out from topics.
func TestWithinActions(t *testing.T) {
	all := topics.MustFilters("**")
	for want, accesses := range map[bool][]httpapi.Access{
		true: {
			{Action: httpapi.ActionPublish},
			{Action: httpapi.ActionLocate},
			{Action: httpapi.ActionPublish, Topics: []string{"a", "tidingsx"}},
			{Action: httpapi.ActionRead, Filters: all},
		},
		false: {
			{Action: httpapi.ActionAdminister},
			{Action: httpapi.ActionRead},
			{Action: httpapi.ActionRead, Topics: []string{"a", "tidings.x"}},
		},
	} {
		for _, a := range accesses {
			if a.Within(all...) != want {
				t.Errorf("%+v: %v", a, !want)
			}
		}
	}
	parts := topics.MustFilters("a.*", "a.*.**")
	if !(httpapi.Access{Action: httpapi.ActionSubscribe, Filters: topics.MustFilters("a.**")}).Within(parts...) {
		t.Error("what two filters cover together is refused")
	}
}
