//go:build unix

package soak_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"example.com/tidings/hub"
)

// get decodes the JSON of a server's answer into v.
func get(p *publisher, addr, path string, v any) error {
	res, err := p.client.Get("http://" + addr + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d", path, res.StatusCode)
	}
	return json.NewDecoder(res.Body).Decode(v)
}

// retained returns the sequence number of the oldest retained message.
func (tr *trial) retained() uint64 {
	tr.t.Helper()
	st, err := dial(tr.t.Context(), tr.server.addr, url.Values{"topic": {"**"}, "from": {"start"}}, "", 0)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer st.close()
	ev, err := st.next()
	if err != nil {
		tr.t.Fatal(err)
	}
	if ev, err = st.next(); err != nil {
		tr.t.Fatal(err)
	}
	seq, err := sequence(ev.ID)
	if err != nil {
		tr.t.Fatal(err)
	}
	return seq
}

// checkHistory compares the whole history with the acknowledged messages: the pages of
// each topic, and a stream from the start.
func (tr *trial) checkHistory(order []stored) {
	tr.t.Helper()
	byTopic := map[string][]stored{}
	for _, o := range order {
		topic := tr.plan[o.n].Topic
		byTopic[topic] = append(byTopic[topic], o)
	}
	for topic, want := range byTopic {
		if err := tr.checkTopic(topic, want); err != nil {
			tr.t.Errorf("topic %s: %v", topic, err)
		}
	}
	st, err := dial(tr.t.Context(), tr.server.addr, url.Values{"topic": {"**"}, "from": {"start"}}, "", 0)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer st.close()
	if ev, err := st.next(); err != nil || ev.Type != hub.OpenEventType {
		tr.t.Fatalf("the stream from the start begins with %+v, %v", ev, err)
	}
	for i, o := range order {
		ev, err := st.next()
		if err != nil || ev.ID != o.id || ev.Data != tr.plan[o.n].Data {
			tr.t.Fatalf("from the start, message %d is %+v (%v), but should be %v, %+v", i, ev, err, o, tr.plan[o.n])
		}
	}
}

// checkTopic compares one topic's history.
func (tr *trial) checkTopic(topic string, want []stored) error {
	var info struct {
		Last  string
		Count int
	}
	if err := get(tr.pub, tr.server.addr, "/topics/"+topic, &info); err != nil {
		return err
	}
	if info.Count != len(want) || info.Last != want[len(want)-1].id {
		return fmt.Errorf("it has %d events, the last of them %s; it should have %d, the last %v", info.Count, info.Last, len(want), want[len(want)-1])
	}
	after, i := "", 0
	for more := true; more; {
		var page struct {
			Gap    json.RawMessage
			Events []hub.Event
			Next   string
			More   bool
		}
		if err := get(tr.pub, tr.server.addr, "/topics/"+topic+"/events?limit=500&after="+after, &page); err != nil {
			return err
		}
		if page.Gap != nil {
			return fmt.Errorf("there is a gap after %q: %s", after, page.Gap)
		}
		for _, e := range page.Events {
			if i == len(want) || e.ID.String() != want[i].id || e.Data != tr.plan[want[i].n].Data || e.Topic != topic {
				return fmt.Errorf("event %d of %d is %+v", i, len(want), e)
			}
			i++
		}
		after, more = page.Next, page.More
	}
	if i != len(want) {
		return fmt.Errorf("the history has %d events of %d", i, len(want))
	}
	return nil
}
