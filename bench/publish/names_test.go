//go:build linux

package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	main "example.com/tidings/bench/publish"
)

func newNames(t *testing.T, count int) main.Names {
	t.Helper()
	n, err := main.NewNames(count)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNamesHaveTheSameLength(t *testing.T) {
	for _, tt := range []struct {
		count, topic int
		want         string
	}{
		{1, 0, "bench.0"},
		{10, 9, "bench.9"},
		{11, 9, "bench.09"},
		{1_000_000, 0, "bench.000000"},
		{1_000_000, 999_999, "bench.999999"},
	} {
		if got := newNames(t, tt.count).Name(tt.topic); got != tt.want {
			t.Errorf("topic %d of %d is %s, want %s", tt.topic, tt.count, got, tt.want)
		}
	}
	if _, err := main.NewNames(0); err == nil {
		t.Error("0 topics: got no error")
	}
}

func TestTopicsInTurnAreEven(t *testing.T) {
	const topics, rounds = 1000, 7
	counts := make([]int, topics)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range main.NewPickers(4, topics, false, topics*rounds) {
		wg.Go(func() {
			// A batch that does not divide the limit.
			for n := p.Take(33); n > 0; n = p.Take(33) {
				for range n {
					topic := p.Topic()
					mu.Lock()
					counts[topic]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for topic, n := range counts {
		if n != rounds {
			t.Fatalf("topic %d has %d messages, want %d", topic, n, rounds)
		}
	}
}

func TestRandomTopics(t *testing.T) {
	take := func() (first, second []int) {
		p := main.NewPickers(2, 100, true, 0)
		for range 10_000 {
			first, second = append(first, p[0].Topic()), append(second, p[1].Topic())
		}
		return first, second
	}
	first, second := take()
	again, _ := take()
	if !slices.Equal(first, again) {
		t.Error("a second run chooses other topics")
	}
	if slices.Equal(first, second) {
		t.Error("two connections choose the same topics")
	}
	slices.Sort(first)
	if got := slices.Compact(first); len(got) != 100 || got[0] != 0 || got[99] != 99 {
		t.Errorf("got %d different topics of 100", len(got))
	}
}

func TestTakeEndsAtTheLimit(t *testing.T) {
	p := main.NewPickers(1, 1, false, 250)[0]
	for _, want := range []int{100, 100, 50, 0, 0} {
		if got := p.Take(100); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}

// read parses the bytes of one request and requires that nothing follows.
func read(t *testing.T, b []byte) (*http.Request, string) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(b))
	r, err := http.ReadRequest(in)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
		t.Fatalf("%q follows the request, %v", rest, err)
	}
	return r, string(body)
}

func TestMessageRequest(t *testing.T) {
	n := newNames(t, 1000)
	p := main.NewPickers(1, n.Count(), false, 0)[0]
	request := main.NewMessage("127.0.0.1:1", n, 100)
	for _, want := range []string{"/topics/bench.000", "/topics/bench.001"} {
		p.Take(1)
		r, body := read(t, request.Fill(p, 1))
		if r.Method != "POST" || r.URL.Path != want || r.Host != "127.0.0.1:1" || body != strings.Repeat("x", 100) {
			t.Errorf("got %s %s to %s with %q, want a POST of %s", r.Method, r.URL, r.Host, body, want)
		}
	}
}

func TestBatchRequest(t *testing.T) {
	n := newNames(t, 1_000_000)
	p := main.NewPickers(1, n.Count(), false, 0)[0]
	request := main.NewBatch("127.0.0.1:1", n, 10, 100)
	next := 0
	// A shorter batch between others, as at the limit, leaves them alone.
	for _, count := range []int{100, 30, 100} {
		p.Take(count)
		r, body := read(t, request.Fill(p, count))
		if r.URL.Path != "/batch" || r.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("got %s with %s", r.URL, r.Header.Get("Content-Type"))
		}
		lines := 0
		for line := range strings.Lines(body) {
			var got struct{ Topic, Data string }
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatal(err)
			}
			if got.Topic != n.Name(next) || got.Data != "xxxxxxxxxx" {
				t.Fatalf("message %d is %+v, want topic %s", next, got, n.Name(next))
			}
			next++
			lines++
		}
		if lines != count {
			t.Errorf("got %d lines, want %d", lines, count)
		}
	}
}
