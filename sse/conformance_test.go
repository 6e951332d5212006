package sse_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"example.com/tidings/sse"
)

// The conformance cases are written by hand from WHATWG HTML 9.2.5 and 9.2.6.
// Many are modelled on the tests of other projects. They are in
// conformance_*_test.go, with one table for each source. TestConformance
// decodes each case with many kinds of readers, and compares the result with
// the oracle too.

type (
	eventList     = []sse.Event
	decodeOptions = sse.DecodeOptions
)

type conformanceCase struct {
	name    string
	rule    string // the rule of the standard, or the test suite or server that the case is modelled on
	in      string
	opts    decodeOptions
	want    eventList
	retries []time.Duration // the calls of OnRetry
}

// dataEvents returns events that have only data.
func dataEvents(data ...string) eventList {
	var es eventList
	for _, d := range data {
		es = append(es, sse.Event{Data: d})
	}
	return es
}

func millis(n ...int) []time.Duration {
	var ds []time.Duration
	for _, n := range n {
		ds = append(ds, time.Duration(n)*time.Millisecond)
	}
	return ds
}

var conformanceTables = []struct {
	name  string
	cases []conformanceCase
}{
	{"standard", standardCases},
	{"web-platform-tests", wptCases},
	{"Blink", blinkCases},
	{"eventsource-parser", eventsourceParserCases},
	{"undici", undiciCases},
	{"LaunchDarkly", launchDarklyCases},
	{"go-sse", goSSECases},
	{"servers", serverCases},
	{"stream", streamCases},
	{"UTF-8", utf8Cases},
	{"fields", fieldCases},
	{"retry", retryCases},
	{"options", optionCases},
}

func TestConformance(t *testing.T) {
	type key struct{ in, opts string }
	names, inputs := map[string]bool{}, map[key]string{}
	for _, table := range conformanceTables {
		for _, c := range table.cases {
			name := table.name + "/" + c.name
			if names[name] {
				t.Errorf("two cases are named %s", name)
			}
			names[name] = true
			k := key{c.in, fmt.Sprint(c.opts)}
			if other, ok := inputs[k]; ok {
				t.Errorf("%s repeats the input of %s", name, other)
			}
			inputs[k] = name
			if c.rule == "" {
				t.Errorf("%s: no rule", name)
			}
			t.Run(name, func(t *testing.T) { c.run(t) })
		}
	}
	if len(inputs) < 200 {
		t.Errorf("%d conformance cases, want at least 200", len(inputs))
	}
}

func (c conformanceCase) run(t *testing.T) {
	t.Helper()
	got, retries := oracle([]byte(c.in), c.opts)
	if diff := c.diff(got, retries, nil); diff != "" {
		t.Errorf("oracle: rule %s\ninput %.300q\n%s", c.rule, c.in, diff)
	}

	readers := []struct {
		name string
		r    io.Reader
	}{
		{"whole", strings.NewReader(c.in)},
		{"byte by byte", iotest.OneByteReader(strings.NewReader(c.in))},
		{"half reads", iotest.HalfReader(strings.NewReader(c.in))},
		{"end with data", iotest.DataErrReader(strings.NewReader(c.in))},
		{"byte by byte, end with data", iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(c.in)))},
	}
	for _, r := range readers {
		c.decode(t, r.name, r.r)
	}
	for i := range len(c.in) + 1 {
		c.decode(t, fmt.Sprint("split at ", i), &scriptReader{reads: []scriptedRead{{c.in[:i], nil}, {c.in[i:], nil}}})
		if t.Failed() {
			return
		}
	}
	if len(c.in) <= 600 {
		checkPrompt(t, []byte(c.in), c.opts)
	}
}

func (c conformanceCase) decode(t *testing.T, how string, r io.Reader) {
	t.Helper()
	got, retries, err := decodeAll(r, c.opts)
	if diff := c.diff(got, retries, err); diff != "" {
		t.Errorf("%s: rule %s\ninput %.300q\n%s", how, c.rule, c.in, diff)
	}
}

func (c conformanceCase) diff(got eventList, retries []time.Duration, err error) string {
	switch {
	case err != nil:
		return fmt.Sprintf("error %v", err)
	case !slices.Equal(got, c.want):
		return fmt.Sprintf("events\n got %.600q\nwant %.600q", got, c.want)
	case !slices.Equal(retries, c.retries):
		return fmt.Sprintf("OnRetry\n got %v\nwant %v", retries, c.retries)
	}
	return ""
}

// decodeAll ranges over Decode to its end. err is the last error. If an item
// follows the error, or an event comes with it, err wraps the error and says
// so.
func decodeAll(r io.Reader, opts decodeOptions) (got eventList, retries []time.Duration, err error) {
	opts.OnRetry = func(d time.Duration) { retries = append(retries, d) }
	for e, e2 := range sse.Decode(r, &opts) {
		if err != nil {
			return got, retries, fmt.Errorf("the sequence went on after its error %w", err)
		}
		if e2 == nil {
			got = append(got, e)
		} else if err = e2; e != (sse.Event{}) {
			return got, retries, fmt.Errorf("the event %q comes with the error %w", e, e2)
		}
	}
	return got, retries, err
}

// checkPrompt reads stream byte by byte. Before each read, it checks that
// Decode has delivered every event and retry that the bytes so far complete. In
// particular, a CR must take effect without the byte after it.
func checkPrompt(t *testing.T, stream []byte, opts decodeOptions) {
	t.Helper()
	unfinished := opts
	unfinished.Unfinished = false
	var got eventList
	var retries []time.Duration
	at := 0
	r := readerFunc(func(p []byte) (int, error) {
		want, wantRetries := oracle(stream[:at], unfinished)
		if !slices.Equal(got, want) || !slices.Equal(retries, wantRetries) {
			t.Errorf("after %q and before the next byte:\n got %q, retries %v\nwant %q, retries %v",
				stream[:at], got, retries, want, wantRetries)
			return 0, io.EOF
		}
		if at == len(stream) {
			return 0, io.EOF
		}
		p[0] = stream[at]
		at++
		return 1, nil
	})
	opts.OnRetry = func(d time.Duration) { retries = append(retries, d) }
	for e, err := range sse.Decode(r, &opts) {
		if err != nil {
			t.Errorf("input %q: %v", stream, err)
			return
		}
		got = append(got, e)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A scriptedRead is the result of one call of Read.
type scriptedRead struct {
	data string
	err  error
}

// A scriptReader answers each call of Read with the next read of its script,
// and with io.EOF at the end. It splits a read when p is too small. It
// overwrites the rest of p with garbage, which a Reader may do.
type scriptReader struct {
	reads []scriptedRead
	calls int
}

func (s *scriptReader) Read(p []byte) (int, error) {
	s.calls++
	if len(p) == 0 {
		panic("Read with an empty buffer")
	}
	if len(s.reads) == 0 {
		return 0, io.EOF
	}
	next := &s.reads[0]
	n := copy(p, next.data)
	for i := n; i < min(n+64, len(p)); i++ {
		p[i] = "\ndata:scribble\r\n\n"[(i-n)%17]
	}
	if n < len(next.data) {
		next.data = next.data[n:]
		return n, nil
	}
	err := next.err
	s.reads = s.reads[1:]
	return n, err
}
