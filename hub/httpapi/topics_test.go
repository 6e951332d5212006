package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
)

func TestTopics(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		for _, topic := range []string{"orders.42", "orders.42", "messages", "orders.7", "orders.42.status", "users.1"} {
			s.publish(t, "/topics/"+topic, "x")
			time.Sleep(1500 * time.Millisecond)
		}
		golden(t, "topics.golden.json", s.get(t, "/topics?match=orders.*").body)
		golden(t, "topics-page.golden.json", s.get(t, "/topics?limit=2").body)
		for _, tt := range []struct{ query, topics, next string }{
			{"", "messages orders.42 orders.42.status orders.7 users.1", ""},
			{"match=**", "messages orders.42 orders.42.status orders.7 users.1", ""},
			{"match=orders.**", "orders.42 orders.42.status orders.7", ""},
			{"match=nothing", "", ""},
			{"limit=5", "messages orders.42 orders.42.status orders.7 users.1", ""},
			{"limit=4", "messages orders.42 orders.42.status orders.7", "orders.7"},
			{"limit=4&after=orders.7", "users.1", ""},
			{"limit=1&match=orders.*", "orders.42", "orders.42"},
			{"limit=1&match=orders.*&after=orders.42", "orders.7", ""},
			{"after=", "messages orders.42 orders.42.status orders.7 users.1", ""},
			{"after=zzz", "", ""},
			{"limit=", "messages orders.42 orders.42.status orders.7 users.1", ""},
		} {
			var got struct {
				Topics []eventlog.TopicInfo
				Next   string
			}
			decode(t, s.get(t, "/topics?"+tt.query).body, &got)
			var topics []string
			for _, topic := range got.Topics {
				topics = append(topics, topic.Topic)
			}
			if strings.Join(topics, " ") != tt.topics || got.Next != tt.next {
				t.Errorf("%s: %v, next %q; want %s, %q", tt.query, topics, got.Next, tt.topics, tt.next)
			}
		}
	})
}

func TestTopicsAreAtMostAThousandAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{})
		for i := range 1100 {
			if _, err := s.hub.Publish(t.Context(), hub.Message{Topic: fmt.Sprintf("t.%04d", i)}); err != nil {
				t.Fatal(err)
			}
		}
		for query, want := range map[string]int{"": 100, "?limit=1000": 1000, "?limit=1000&after=t.0999": 100} {
			if got := strings.Count(s.get(t, "/topics"+query).body, `"topic":`); got != want {
				t.Errorf("%s: %d, want %d", query, got, want)
			}
		}
	})
}

func TestParametersOfListsAreChecked(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		id := s.publish(t, "/topics/a", "x")
		for _, tt := range []struct {
			path    string
			status  int
			problem string
			field   string
		}{
			{"/topics?match=", 400, "invalid-filter", "match"},
			{"/topics?match=a..b", 400, "invalid-filter", "match"},
			{"/topics?match=a&match=b", 400, "invalid-filter", "match"},
			{"/topics?match=tidings.**", 403, "reserved", "match"},
			{"/topics?after=a.*", 400, "invalid-topic", "after"},
			{"/topics?after=a&after=b", 400, "invalid-topic", "after"},
			{"/topics?limit=0", 400, "invalid-limit", "limit"},
			{"/topics?limit=1001", 400, "invalid-limit", "limit"},
			{"/topics?limit=-1", 400, "invalid-limit", "limit"},
			{"/topics?limit=%2B1", 400, "invalid-limit", "limit"},
			{"/topics?limit=ten", 400, "invalid-limit", "limit"},
			{"/topics?limit=99999999999999999999", 400, "invalid-limit", "limit"},
			{"/topics?limit=1&limit=1", 400, "invalid-limit", "limit"},
			{"/topics?match=%", 400, "invalid-query", ""},
			{"/topics/a/events?limit=0", 400, "invalid-limit", "limit"},
			{"/topics/a/events?after=1", 400, "invalid-id", "after"},
			{"/topics/a/events?after=now", 400, "invalid-id", "after"},
			{"/topics/a/events?after=" + id + "&after=" + id, 400, "invalid-id", "after"},
			{"/topics/a/events?after=%", 400, "invalid-query", ""},
			{"/topics/a.*/events", 400, "invalid-topic", "topic"},
			{"/topics?limits=1", 400, "invalid-query", "limit"},
			{"/topics?Match=a", 400, "invalid-query", "match"},
			{"/topics/a/events?After=" + id, 400, "invalid-query", "after"},
		} {
			r := s.get(t, tt.path)
			if r.status != tt.status {
				t.Fatalf("%s: %d %s", tt.path, r.status, r.body)
			}
			if p := r.problem(t, tt.status, tt.problem); p.Field != tt.field {
				t.Errorf("%s: field %q, want %q", tt.path, p.Field, tt.field)
			}
		}
	})
}

func TestTopic(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		s.publish(t, "/topics/orders.42", "x")
		time.Sleep(time.Second)
		s.publish(t, "/topics/orders.42", "y")
		s.listen(t, "/events?topic=orders.*").next(t)
		s.listen(t, "/events?topic=orders.42&topic=**").next(t)
		s.listen(t, "/events?topic=orders.7").next(t)
		synctest.Wait()
		golden(t, "topic.golden.json", s.get(t, "/topics/orders.42").body)
	})
}

// A topic's ETag is the id of its last event. It is weak, as the same one stands over
// other counts (RFC 9110, section 8.8.1), and is compared weakly (section 13.1.2).
func TestTopicETag(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		id := s.publish(t, "/topics/a", "x")
		const tagged = "Cache-Control: no-cache\nEtag: W/\"" + epoch + "-1\""
		for _, tt := range []struct {
			name   string
			header []string
			status int
		}{
			{"none", nil, 200},
			{"it", []string{"If-None-Match", `W/"` + id + `"`}, 304},
			{"it, strong", []string{"If-None-Match", `"` + id + `"`}, 304},
			{"it among others", []string{"If-None-Match", `"x", W/"` + id + `"`}, 304},
			{"it in a second header", []string{"If-None-Match", `"x"`, "If-None-Match", `"` + id + `"`}, 304},
			{"any", []string{"If-None-Match", "*"}, 304},
			{"another", []string{"If-None-Match", `"x"`}, 200},
			{"it without quotes", []string{"If-None-Match", id}, 200},
			{"the beginning of it", []string{"If-None-Match", `"` + id[:len(id)-1] + `"`}, 200},
		} {
			for _, method := range []string{"GET", "HEAD"} {
				r := s.send(t, method, "/topics/a", "", tt.header...)
				want := tagged
				if tt.status == 200 {
					want = "Cache-Control: no-cache\nContent-Type: application/json\nEtag: W/\"" + epoch + "-1\""
				}
				if r.status != tt.status || r.headers() != want || (r.body == "") != (tt.status == 304 || method == "HEAD") {
					t.Errorf("%s, %s: %d %q with\n%s", tt.name, method, r.status, r.body, r.headers())
				}
			}
		}
		s.publish(t, "/topics/a", "y")
		if r := s.get(t, "/topics/a", "If-None-Match", `"`+id+`"`); r.status != 200 {
			t.Errorf("after another event: %d", r.status)
		}
		s.get(t, "/topics/b", "If-None-Match", "*").problem(t, 404, "topic-not-found")
	})
}

// A parameter that a route does not have is ignored, however it is spelled: no right spelling
// would help.
func TestParametersOfOtherRoutes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{})
		s.publish(t, "/topics/a?From=start&limits=1", "x")
		for _, path := range []string{"/topics?From=start&Types=x", "/topics/a/events?topics=b&Match=b&lag=none", "/topics/a?limits=1"} {
			if r := s.get(t, path); r.status != 200 || !strings.Contains(r.body, `"a"`) {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
		}
		s.listen(t, "/events?Limit=1&match=b&Types=x")
	})
}
