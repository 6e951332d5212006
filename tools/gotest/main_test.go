package main

import (
	"strings"
	"testing"
)

func TestPrinter(t *testing.T) {
	for _, test := range []struct {
		name, events string
		verbose      bool
		out, times   string
	}{
		{
			name: "a package passes: prints the closing line",
			events: `{"Action":"start","Package":"p"}
				{"Action":"run","Package":"p","Test":"TestA"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:4: a log\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (1.50s)\n"}
				{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1.5}
				{"Action":"output","Package":"p","Output":"PASS\n"}
				{"Action":"output","Package":"p","Output":"ok  \tp\t1.6s\n"}
				{"Action":"pass","Package":"p","Elapsed":1.6}`,
			out:   "ok  \tp\t1.6s\n",
			times: "1.50\tp\tTestA\n",
		},
		{
			name: "a package fails: prints the output of failed tests",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:4: wrong\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
				{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0}
				{"Action":"output","Package":"p","Test":"TestB","Output":"--- PASS: TestB (0.00s)\n"}
				{"Action":"pass","Package":"p","Test":"TestB","Elapsed":0}
				{"Action":"output","Package":"p","Output":"FAIL\n"}
				{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
				{"Action":"fail","Package":"p","Elapsed":0.1}`,
			out:   "    a_test.go:4: wrong\n--- FAIL: TestA (0.00s)\nFAIL\nFAIL\tp\t0.1s\n",
			times: "0.00\tp\tTestA\n0.00\tp\tTestB\n",
		},
		{
			name: "a package crashes: prints the output of running tests",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"panic: no\n"}
				{"Action":"output","Package":"q","Test":"TestA","Output":"another package\n"}
				{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
				{"Action":"fail","Package":"p","Elapsed":0.1}`,
			out: "panic: no\nFAIL\tp\t0.1s\n",
		},
		{
			name: "a package crashes, and its last test is said to have passed",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"panic: test timed out after 8m0s\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"goroutine 7 [chan receive]:\n"}
				{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0}
				{"Action":"output","Package":"p","Output":"FAIL\tp\t480s\n"}
				{"Action":"fail","Package":"p","Elapsed":480}`,
			out:   "panic: test timed out after 8m0s\ngoroutine 7 [chan receive]:\nFAIL\tp\t480s\n",
			times: "0.00\tp\tTestA\n",
		},
		{
			name: "prints compiler errors and lines that are no event",
			events: `{"Action":"build-output","ImportPath":"p","Output":"p.go:1: undefined: y\n"}
				no event`,
			out: "p.go:1: undefined: y\nno event",
		},
		{
			name: "prints everything with -v",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
				{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0}`,
			verbose: true,
			out:     "=== RUN   TestA\n--- PASS: TestA (0.00s)\n",
			times:   "0.00\tp\tTestA\n",
		},
		{
			name: "a test's time does not include its sequential subtests",
			events: `{"Action":"run","Package":"p","Test":"TestA"}
				{"Action":"run","Package":"p","Test":"TestA/net/http"}
				{"Action":"pass","Package":"p","Test":"TestA/net/http","Elapsed":2}
				{"Action":"run","Package":"p","Test":"TestA/b"}
				{"Action":"pause","Package":"p","Test":"TestA/b"}
				{"Action":"pass","Package":"p","Test":"TestA/b","Elapsed":7}
				{"Action":"pass","Package":"p","Test":"TestA","Elapsed":2.5}`,
			times: "2.00\tp\tTestA/net/http\n7.00\tp\tTestA/b\n0.50\tp\tTestA\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, times strings.Builder
			p := &printer{out: &out, times: &times, verbose: test.verbose, tests: map[string]*running{}}
			if err := p.read(strings.NewReader(strings.ReplaceAll(test.events, "\t\t\t\t", ""))); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.out {
				t.Errorf("it prints %q, want %q", out.String(), test.out)
			}
			if times.String() != test.times {
				t.Errorf("it notes %q, want %q", times.String(), test.times)
			}
		})
	}
}
