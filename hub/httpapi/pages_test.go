package httpapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
)

// A pageOf is the JSON of a page of history.
type pageOf struct {
	Events   []hub.Event
	Next     string
	More     bool
	Position string
	Gap      any
}

// The newest messages of several topics, as docs/http-api.md has them.
func TestNewestFirst(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		s.publish(t, "/topics/orders.42", "packed")
		s.publish(t, "/topics/users.7", "hello")
		s.publish(t, "/topics/elsewhere", "x")
		s.publish(t, "/topics/orders.42?type=status", "shipped")
		s.publish(t, "/topics/elsewhere", "x")
		golden(t, "newest.golden.json", s.get(t, "/history?topic=orders.*&topic=users.*&order=desc&limit=2").body)
		var page pageOf
		decode(t, s.get(t, "/history?topic=orders.*&topic=users.*&order=desc&limit=2").body, &page)
		golden(t, "newest-end.golden.json", s.get(t, "/history?topic=orders.*&topic=users.*&order=desc&limit=2&before="+page.Next).body)
		golden(t, "position.golden.json", s.get(t, "/position").body)
	})
}

// The pages of a history together are the history, in either order, and a stream goes on
// where they end.
func TestPagesOfSeveralTopics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{})
		var want []string
		for i := range 900 {
			topic := []string{"a", "b", "c"}[i%3]
			if topic != "c" {
				want = append(want, strconv.Itoa(i))
			}
			if _, err := s.hub.Publish(t.Context(), hub.Message{Topic: topic, Data: strconv.Itoa(i)}); err != nil {
				t.Fatal(err)
			}
		}
		for order, begin := range map[string]string{"asc": "after", "": "after", "desc": "before"} {
			for _, limit := range []int{1, 7, 300, 1000} {
				var got []string
				first := ""
				q := url.Values{"topic": {"a", "b"}, "order": {order}, "limit": {strconv.Itoa(limit)}}
				for more, pages := true, 0; more; pages++ {
					var page pageOf
					decode(t, s.get(t, "/history?"+q.Encode()).body, &page)
					for _, ev := range page.Events {
						got = append(got, ev.Data)
					}
					if pages == 0 {
						first = page.Position
					}
					if len(page.Events) > limit || page.Gap != nil || pages > 700 || (pages > 0 || order != "desc") && page.Position != "" {
						t.Fatalf("%s, limit %d: page %+v", order, limit, page)
					}
					q.Set(begin, page.Next)
					more = page.More
				}
				if order == "desc" {
					slices.Reverse(got)
				} else {
					first = q.Get(begin)
				}
				if strings.Join(got, " ") != strings.Join(want, " ") {
					t.Errorf("%s, limit %d: %v", order, limit, got)
				}
				if limit != 1000 {
					continue
				}
				stream := s.listen(t, "/events?topic=a&topic=b", "Last-Event-ID", first)
				id := s.publish(t, "/topics/a", "live")
				stream.next(t)
				stream.want(t, "data: live\nid: "+mask(id)+"\n")
				want = append(want, "live")
			}
		}
	})
}

// Messages that fill a page between them are sent in several, newest first, and none is read for nothing.
func TestLargeMessagesNewestFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := serve(t, setting{hub: hub.Options{MaxMessage: 2 << 20}, log: eventlog.NewMemory(&eventlog.MemoryOptions{MaxBytes: 64 << 20})})
		const n = 30
		for i := range n {
			if _, err := s.hub.Publish(t.Context(), hub.Message{Topic: "a", Data: fmt.Sprint(i, " ", strings.Repeat("x", 1<<20))}); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		var page pageOf
		for pages := 0; pages == 0 || page.More; pages++ {
			before := page.Next
			page = pageOf{}
			decode(t, s.get(t, "/history?topic=**&order=desc&limit=1000&before="+before).body, &page)
			if len(page.Events) > 5 || page.More && len(page.Events) < 3 {
				t.Errorf("page %d has %d events of 1 MiB each", pages, len(page.Events))
			}
			for _, ev := range page.Events {
				data, _, _ := strings.Cut(ev.Data, " ")
				got = append(got, data)
			}
		}
		if len(got) != n || got[0] != "29" || got[n-1] != "0" {
			t.Errorf("%v", got)
		}
	})
}

func TestPagesRefuse(t *testing.T) {
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
			{"topic=a..b", 400, "invalid-filter", "topic", "a..b"},
			{"topic=*.*.*.*.*", 400, "filter-too-costly", "topic", "has 5"},
			{"topic=tidings.revoked", 403, "reserved", "topic", "tidings."},
			{"topic=" + strings.Repeat("a&topic=", 100) + "a", 400, "invalid-filter", "topic", "101"},
			{"topic=a&order=newest", 400, "invalid-order", "order", "asc or desc"},
			{"topic=a&order=desc&order=desc", 400, "invalid-order", "order", "once"},
			{"topic=a&before=" + id, 400, "invalid-query", "before", "order"},
			{"topic=a&order=desc&after=" + id, 400, "invalid-query", "after", "order"},
			{"topic=a&order=desc&before=x", 400, "invalid-id", "before", "id"},
			{"topic=a&after=x", 400, "invalid-id", "after", "id"},
			{"topic=a&limit=0", 400, "invalid-limit", "limit", "1000"},
			{"topics=a", 400, "invalid-query", "topic", "spelling"},
		} {
			r := s.get(t, "/history?"+tt.query)
			if p := r.problem(t, tt.status, tt.problem); p.Field != tt.field || !strings.Contains(p.Detail, tt.says) {
				t.Errorf("%s: field %q and detail %q, want %q and %q", tt.query, p.Field, p.Detail, tt.field, tt.says)
			}
		}
	})
}

// live=true has one tidings.live, as docs/http-api.md has it.
func TestLive(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		s := serve(t, setting{h2: h2})
		s.publish(t, "/topics/orders.42", "packed")
		s.publish(t, "/topics/elsewhere", "x")
		stream := s.listen(t, "/events?topic=orders.*&from=start&live=true")
		got := stream.next(t) + "\n" + stream.next(t) + "\n" + stream.next(t) + "\n"
		s.publish(t, "/topics/orders.42", "shipped")
		golden(t, "live.golden.txt", got+stream.next(t)+"\n")
		time.Sleep(20 * time.Second)
		s.publish(t, "/topics/orders.42", "arrived")
		stream.want(t, event(4, "arrived"))
		for _, query := range []string{"", "&live=", "&live=false"} {
			other := s.listen(t, "/events?topic=orders.*&from=start"+query)
			other.next(t)
			other.want(t, event(1, "packed"), event(3, "shipped"), event(4, "arrived"))
			other.res.Body.Close()
		}
		quiet := s.listen(t, "/events?topic=orders.*&from=start&live=false")
		quiet.next(t)
		quiet.want(t, event(1, "packed"), event(3, "shipped"), event(4, "arrived"))
		s.publish(t, "/topics/orders.42", "more")
		quiet.want(t, event(5, "more"))
	})
}

// A page is rendered on the server from what the program knows, and its stream begins at the
// position that was taken first. Whatever is published between any two steps, the page then shows
// all of it.
func TestServerRenderedPage(t *testing.T) {
	protocols(t, func(t *testing.T, h2 bool) {
		var h *hub.Hub
		orders := map[string]string{} // what the program keeps in its database
		between := func(string) {}    // is called between the steps
		s := serve(t, setting{h2: h2, mount: func(api http.Handler) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/", api)
			mux.HandleFunc("GET /page", func(w http.ResponseWriter, _ *http.Request) {
				position := h.Position()
				between("position and data")
				data := maps.Clone(orders)
				between("data and page")
				json.NewEncoder(w).Encode(map[string]any{"position": position, "orders": data})
			})
			return mux
		}})
		h = s.hub
		ship := func(order, state string) {
			orders[order] = state
			if _, err := h.Publish(t.Context(), hub.Message{Topic: "orders." + order, Type: order, Data: state}); err != nil {
				t.Error(err)
			}
		}
		for round, when := range []string{"nothing", "position and data", "data and page", "page and stream", "stream and event"} {
			ship("42", fmt.Sprint("before ", round))
			inject := func(at string) {
				if at == when {
					ship("42", fmt.Sprint("changed in ", round))
					ship(strconv.Itoa(round), "new")
				}
			}
			between = inject
			var page struct {
				Position string
				Orders   map[string]string
			}
			decode(t, s.get(t, "/page").body, &page)
			inject("page and stream")
			stream := s.listen(t, "/events?topic=orders.*&live=true&lastEventId="+page.Position)
			inject("stream and event")
			ship("last", strconv.Itoa(round))
			for page.Orders["last"] != strconv.Itoa(round) {
				fields := map[string]string{}
				for line := range strings.Lines(stream.next(t)) {
					name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
					fields[name] = value
				}
				if !strings.HasPrefix(fields["event"], "tidings.") {
					page.Orders[fields["event"]] = fields["data"]
				}
			}
			if !maps.Equal(page.Orders, orders) {
				t.Errorf("published between %s: the page shows %v, want %v", when, page.Orders, orders)
			}
			stream.res.Body.Close()
		}
	})
}
