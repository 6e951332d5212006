package natslog_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventlog/natslog"
	"example.com/tidings/sse"
	"example.com/tidings/topics"
)

const base = "0w3k7zq4m8tc" // an epoch

func FuzzList(f *testing.F) {
	f.Add([]byte(`{"epochs":[{"id":"0w3k7zq4m8tc","first":1},{"id":"0w3k7zq4m8td","first":81}],"points":[{"seq":7,"time":"2026-11-28T21:00:00Z"}]}`))
	f.Add([]byte(`{"epochs":[{"id":"0w3k7zq4m8tc","first":1},{"id":"x","first":81}]}`))
	f.Add([]byte(`{"epochs":[{"id":"0w3k7zq4m8xx","first":1}]}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, value []byte) {
		epochs, points, written := natslog.ParseList(value, base)
		if len(epochs) == 0 || epochs[0].ID != base || epochs[0].First != 1 || epochs[0].Cut {
			t.Fatalf("the epochs are %+v", epochs)
		}
		again, err := written()
		if err != nil {
			t.Fatal(err)
		}
		same, n, _ := natslog.ParseList(again, base)
		if !slices.Equal(same, epochs) || n != points {
			t.Errorf("%s: written and parsed again, %+v and %d points become %+v and %d", value, epochs, points, same, n)
		}
	})
}

// The list keeps few points: the newest ones at short distances, and the first.
func TestPoints(t *testing.T) {
	var seqs []uint64
	for i := range uint64(5000) {
		seqs = append(seqs, 1+i*10)
	}
	left := natslog.Points(seqs)
	if n := len(left); n != 16 || left[0] != 1 || left[n-1] != seqs[len(seqs)-1] || left[n-2] != seqs[len(seqs)-2] || !slices.IsSorted(left) {
		t.Fatalf("the points are %v", left)
	}
	newest := left[len(left)-1]
	for i := 1; i < len(left)-1; i++ {
		if gap, age := left[i+1]-left[i], newest-left[i]; gap > 2*age {
			t.Errorf("no point between %d and %d, of %v", left[i], left[i+1], left)
		}
	}
}

// Each new epoch has a greater id, which is the same for all processes that find the same, and
// there are not ever more of them.
func TestCuts(t *testing.T) {
	var places []uint64
	for i := range 100 {
		places = append(places, uint64(1000+i%7))
	}
	epochs := natslog.Cuts(base, places)
	if len(epochs) != 64 || epochs[0].ID != base || epochs[63].First != 1002 || !slices.Equal(epochs, natslog.Cuts(base, places)) {
		t.Errorf("there are %d epochs, from %+v to %+v", len(epochs), epochs[0], epochs[len(epochs)-1])
	}
	for i := 1; i < len(epochs); i++ {
		if epochs[i].ID <= epochs[i-1].ID || !epochs[i].Cut {
			t.Errorf("epoch %d is %+v, after %+v", i, epochs[i], epochs[i-1])
		}
	}
	if other := natslog.Cuts(base, []uint64{999}); other[1].ID == natslog.Cuts(base, []uint64{1000})[1].ID {
		t.Errorf("two cuts have the epoch %s", other[1].ID)
	}
}

// Whatever another program stores, the record is one that a hub could have stored, or is invalid
// and has no content.
func FuzzForeign(f *testing.F) {
	f.Add("tidings.a", "x%0Ay", "", []byte("1"))
	f.Add("tidings.a", "tidings.gap", "ab3f9k", []byte("\xff"))
	f.Add("tidings.tidings.gap", "", "000000", []byte{})
	f.Add("tidings.b\u00e4", "%", "x", []byte{0})
	f.Fuzz(func(t *testing.T, subject, typ, mark string, data []byte) {
		r := natslog.ForeignRecord(subject, typ, mark, data)
		if r.Mark == 0 || r.Mark > eventlog.MaxMark {
			t.Errorf("the mark is %d", r.Mark)
		}
		if r.Invalid {
			if r.Type != "" || r.Data != "" {
				t.Errorf("an invalid record has the content %+v", r)
			}
			return
		}
		ev := sse.Event{Type: r.Type, Data: r.Data}
		if _, err := ev.AppendText(nil); err != nil || strings.HasPrefix(r.Type, topics.ReservedPrefix) || !utf8.ValidString(r.Type) {
			t.Errorf("the type is %q: %v", r.Type, err)
		}
		if err := topics.Check(r.Topic); err != nil && r.Topic != "tidings.revoked" {
			t.Errorf("the topic is %q: %v", r.Topic, err)
		}
	})
}
