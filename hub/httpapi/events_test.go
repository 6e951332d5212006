package httpapi_test

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
)

// open returns the first event of a stream.
func open(topics string, seq int) string {
	return fmt.Sprintf("event: tidings.open\nretry: R\ndata: {\"topics\":[%s],\"position\":\"%s-%d\",\"keepAlive\":15000}\nid: %[2]s-%[3]d\n", topics, epoch, seq)
}

// The events of a stream, as docs/http-api.md has them.
func TestEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{log: eventlog.NewMemory(&eventlog.MemoryOptions{MaxAge: time.Hour}), hub: hub.Options{Window: 1}})
		s.publish(t, "/topics/orders.41", "expires")
		id := s.publish(t, "/topics/orders.42", `{"status":"packed"}`)
		s.publish(t, "/topics/orders.42", `{"status":"late"}`)
		time.Sleep(2 * time.Hour)
		s.publish(t, "/topics/orders.42", `{"status":"shipped"}`)
		synctest.Wait()
		data := s.listen(t, "/events?topic=orders.42&topic=users.*", "Last-Event-ID", id)
		envelope := s.listen(t, "/events?topic=orders.*&from=start&format=envelope")
		got := data.next(t) + "\n" + data.next(t) + "\n" + data.next(t) + "\n"
		envelope.next(t)
		enveloped := envelope.next(t) + "\n"
		s.publish(t, "/topics/elsewhere", "x")
		time.Sleep(20 * time.Second)
		got += data.next(t) + "\n" // tidings.position
		golden(t, "stream.golden.txt", got+enveloped)
	})
}

// Where a stream begins, by its URL.
func TestFrom(t *testing.T) {
	const t1, t2 = "2000-01-01T00:00:01Z", "2000-01-01T00:00:02Z"
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		var ids []string
		for i, topic := range []string{"a", "b", "a", "a", "messages"} { // at second i
			ids = append(ids, s.publish(t, "/topics/"+topic, strconv.Itoa(i+1)))
			time.Sleep(time.Second)
		}
		for _, tt := range []struct {
			query  string
			header string // Last-Event-ID
			begins int
			first  int // the first message, 0 for none
		}{
			{"topic=a", "", 5, 0},
			{"topic=a&from=", "", 5, 0},
			{"topic=a&from=now", "", 5, 0},
			{"topic=a&from=start", "", 0, 1},
			{"topic=b&from=start", "", 0, 2},
			{"from=start", "", 0, 5}, // of the topic messages
			{"", ids[2], 3, 5},
			{"topic=a&from=last", "", 3, 4},
			{"topic=a&topic=b&from=last", "", 1, 2},
			{"topic=a&from=2", "", 2, 3},
			{"topic=a&from=0", "", 5, 0},
			{"topic=a&from=99", "", 0, 1},
			{"topic=a&from=100000", "", 0, 1},
			{"topic=a&from=" + ids[0], "", 1, 3},
			{"topic=a&lastEventId=" + ids[0], "", 1, 3},
			{"topic=a&from=" + t1, "", 1, 3},
			{"topic=a&from=" + t2, "", 2, 3},
			{"topic=a&from=2000-01-01T01:00:01%2b01:00", "", 1, 3},
			{"topic=a&from=2000-01-01T01:00:01+01:00", "", 1, 3}, // a + that was not encoded
			{"topic=a&from=" + ids[0], ids[2], 3, 4},             // the header wins
			{"topic=a&lastEventId=" + ids[0], ids[2], 3, 4},
			{"topic=a&from=start", "", 0, 1},
			{"topic=a&from=start&lastEventId=", "", 0, 1},
			{"topic=a&from=start&lastEventId=" + ids[0], "", 1, 3}, // the id wins
			{"topic=a&from=start&lastEventId=" + ids[0], ids[2], 3, 4},
			{"topic=a&from=start&topi=b&fro=now&t=1&topic_name=b&type-of=x&_=1&last=x", "", 0, 1}, // other names
			{"topic=a&lag=skip&format=data&from=2", "", 2, 3},
		} {
			var header []string
			if tt.header != "" {
				header = []string{"Last-Event-ID", tt.header}
			}
			stream := s.listen(t, "/events?"+tt.query, header...)
			got := stream.next(t)
			if want := fmt.Sprintf("id: %s-%d\n", epoch, tt.begins); !strings.Contains(got, want) {
				t.Errorf("%s: begins with\n%s\nwant %s", tt.query, got, want)
			}
			if tt.first > 0 {
				stream.want(t, event(tt.first, strconv.Itoa(tt.first)))
			}
			stream.res.Body.Close()
		}
	})
}

// What is wrong in the URL is answered with 400; what is wrong with an id in the
// header never is.
func TestEventsRefuses(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		id := s.publish(t, "/topics/a", "x")
		for _, tt := range []struct {
			query   string
			status  int
			problem string
			field   string
			says    string
		}{
			{"topic=", 400, "invalid-filter", "topic", "empty"},
			{"topic=a&topic=b..c", 400, "invalid-filter", "topic", "b..c"},
			{"topic=**.a", 400, "invalid-filter", "topic", "last token"},
			{"topic=a*", 400, "invalid-filter", "topic", "tokens of their own"},
			{"topic=*.*.*.*.**&topic=a.*.*.*.*.*", 400, "filter-too-costly", "topic", "has 5"},
			{"topic=tidings.open", 403, "reserved", "topic", "tidings."},
			{"topic=" + strings.Repeat("a&topic=", 100) + "a", 400, "invalid-filter", "topic", "101"},
			{"from=yesterday", 400, "invalid-from", "from", "2026-01-31T12:00:00Z"},
			{"from=-1", 400, "invalid-from", "from", "number"},
			{"from=100001", 400, "invalid-from", "from", "100000"},
			{"from=2000000000", 400, "invalid-from", "from", "100000"},
			{"from=99999999999999999999", 400, "invalid-from", "from", "too large"},
			{"from=2000-13-01T00:00:00Z", 400, "invalid-from", "from", "2000-13-01"},
			{"from=2000-01-01", 400, "invalid-from", "from", "2000-01-01"},
			{"from=" + id + "x", 400, "invalid-from", "from", "id"},
			{"from=now&from=start", 400, "invalid-from", "from", "once"},
			{"topics=a", 400, "invalid-query", "topic", "is not known. Its right spelling is topic."},
			{"lastEventID=" + id, 400, "invalid-query", "lastEventId", "is not known. Its right spelling is lastEventId."},
			{"topic=a&last_event_id=" + id, 400, "invalid-query", "lastEventId", "is not known. Its right spelling is lastEventId."},
			{"topic=a&Last-Event-Id=" + id, 400, "invalid-query", "lastEventId", "is not known. Its right spelling is lastEventId."},
			{"topic=a&From=start", 400, "invalid-query", "from", "is not known. Its right spelling is from."},
			{"topic=a&fromm=start", 400, "invalid-query", "from", "is not known. Its right spelling is from."},
			{"topic=a&FORMATS=envelope", 400, "invalid-query", "format", "is not known. Its right spelling is format."},
			{"lag=drop", 400, "invalid-lag", "lag", "replay or skip"},
			{"lag=skip&lag=skip", 400, "invalid-lag", "lag", "once"},
			{"format=xml", 400, "invalid-format", "format", "data or envelope"},
			{"format=data&format=data", 400, "invalid-format", "format", "once"},
			{"live=1", 400, "invalid-live", "live", "true or false"},
			{"live=true&live=true", 400, "invalid-live", "live", "once"},
			{"lives=true", 400, "invalid-query", "live", "is not known. Its right spelling is live."},
			{"topic=%", 400, "invalid-query", "", "%25"},
		} {
			for _, header := range [][]string{nil, {"Last-Event-ID", id, "Accept", "text/event-stream"}} {
				r := s.get(t, "/events?"+tt.query, header...)
				if r.status != tt.status {
					t.Fatalf("%s: %d %s", tt.query, r.status, r.body)
				}
				if p := r.problem(t, tt.status, tt.problem); p.Field != tt.field || !strings.Contains(p.Detail, tt.says) {
					t.Errorf("%s: field %q and detail %q, want %q and %q", tt.query, p.Field, p.Detail, tt.field, tt.says)
				}
			}
		}
		for _, tt := range []struct{ id, after, reason string }{
			{"nonsense", `"after":"nonsense",`, "malformed"},
			{"é", "", "malformed"},
			{strings.Repeat("x", 5000), "", "malformed"},
			{"0000000zzzzz-7", `"after":"0w3k7zq4m8tc-7",`, "unknown"}, // masked
			{strings.Replace(id, "-1", "-9", 1), `"after":"0w3k7zq4m8tc-9",`, "future"},
		} {
			stream := s.listen(t, "/events?topic=a", "Last-Event-ID", tt.id)
			if got := stream.next(t); !strings.HasPrefix(got, "event: tidings.open\n") {
				t.Errorf("%q: %s", tt.id, got)
			}
			if got := stream.next(t); !strings.HasPrefix(got, `event: tidings.gap`+"\n"+`data: {"reason":"`+tt.reason+`",`+tt.after+`"next":"`) {
				t.Errorf("%q: %s", tt.id, got)
			}
			stream.res.Body.Close()
		}
		// An empty one is none.
		s.listen(t, "/events?topic=a&from=start", "Last-Event-ID", "").want(t, open(`"a"`, 0), event(1, "x"))
	})
}

func TestEventsWithoutATopicNeedADefault(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{noDefaultTopic: true})
		if p := s.get(t, "/events").problem(t, 400, "invalid-filter"); p.Field != "topic" {
			t.Errorf("%+v", p)
		}
	})
}

func TestEventsWithoutATopicAreOfTheDefaultTopic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{})
		stream := s.listen(t, "/events")
		stream.want(t, open(`"messages"`, 0))
		s.publish(t, "/topics/other", "x")
		s.publish(t, "/topics/messages", "hello")
		stream.want(t, event(2, "hello"))
	})
}

func TestSkip(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{hub: hub.Options{Window: 4}})
		stream := s.listen(t, "/events?topic=a&lag=skip")
		stream.next(t)
		synctest.Wait()
		for range 2000 { // more than is under way to it
			s.hub.Publish(t.Context(), hub.Message{Topic: "a", Data: strings.Repeat("x", 1000)})
		}
		for {
			ev := stream.next(t)
			if strings.HasPrefix(ev, "event: tidings.gap\n") {
				if !strings.Contains(ev, `"reason":"lag"`) || !strings.Contains(ev, `"missed":`) {
					t.Errorf("got %s", ev)
				}
				return
			}
			if strings.Contains(ev, "-2000\n") {
				t.Fatal("there is no gap")
			}
		}
	})
}

// HEAD has the headers of the stream, and leaves nothing behind.
func TestHeadOfEvents(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2, hub: hub.Options{MaxSubscribers: 1}})
		s.publish(t, "/topics/a", "x")
		for range 3 {
			head := s.send(t, "HEAD", "/events?topic=a", "")
			synctest.Wait()
			if _, subscribers, err := s.hub.Topic(t.Context(), "a"); err != nil || subscribers != 0 {
				t.Errorf("%d subscribers, %v", subscribers, err)
			}
			stream := s.listen(t, "/events?topic=a&from=start")
			get := reply{header: stream.res.Header}
			if head.status != 200 || head.headers() != get.headers() {
				t.Errorf("HEAD has %d with\n%s\nGET has\n%s", head.status, head.headers(), get.headers())
			}
			stream.res.Body.Close()
			synctest.Wait()
		}
	})
}

// A client that accepts event streams is told to come back by a stream that breaks off, since an
// EventSource would take any other status for final; everyone else by a status.
func TestUnavailable(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		for _, tt := range []struct {
			name string
			when func(*site)
			hub  hub.Options
		}{
			{"at capacity", func(s *site) { s.listen(t, "/events").next(t) }, hub.Options{MaxSubscribers: 1}},
			{"draining", func(s *site) { s.hub.Drain() }, hub.Options{}},
			{"draining, clients come back late", func(s *site) { s.hub.Drain() }, hub.Options{Retry: 30 * time.Second}},
			{"closed", func(s *site) { s.hub.Close() }, hub.Options{}},
		} {
			s := serve(t, setting{h2: h2, hub: tt.hub})
			least := int(cmp.Or(tt.hub.Retry, 2*time.Second).Seconds()) // also for those that get a status
			tt.when(s)
			for _, query := range []string{"", "?topic=a&from=start"} {
				stream := s.listen(t, "/events"+query, "Accept", "text/event-stream")
				stream.want(t, "event: tidings.unavailable\nretry: R\ndata: {}\n")
				stream.breaksOff(t)
				r := s.get(t, "/events"+query)
				r.problem(t, 503, "unavailable")
				if after, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || after < least || after > 4*least {
					t.Errorf("%s: Retry-After: %q", tt.name, r.header.Get("Retry-After"))
				}
				// Others may need the place of a connection that has no stream.
				if closes := s.request(t, "GET", "/events"+query, nil).Close; closes == h2 {
					t.Errorf("%s: the connection closes: %v, HTTP/2: %v", tt.name, closes, h2)
				}
			}
			// What is wrong stays wrong.
			s.get(t, "/events?topic=a..b", "Accept", "text/event-stream").problem(t, 400, "invalid-filter")
		}
	})
}

// When the hub drains, a stream gets what was published. It is told why it ends, and where to go
// on, and breaks off.
func TestDrained(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		stream := s.listen(t, "/events?topic=a")
		s.publish(t, "/topics/a", "last")
		s.hub.Drain()
		stream.want(t, open(`"a"`, 0), event(1, "last"), "event: tidings.end\nretry: R\ndata: {\"reason\":\"stopping\"}\nid: "+epoch+"-1\n")
		stream.breaksOff(t)
	})
}
