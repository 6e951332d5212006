package bench_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.com/tidings/internal/bench"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// whole returns the report of a run without faults.
func whole() *bench.Report {
	return &bench.Report{
		URL: "http://127.0.0.1:8080", Topics: 1, TopicPrefix: "bench.0badcafe.",
		Subscribers: 5000, Messages: 200, Payload: 100, Publishers: 1, InFlight: 8,
		OK: true, Problems: []string{},
		Opened: 5000, Published: 200, Deliveries: 1_000_000,
		ConnectTime: 0.25, Connects: 20_000, FirstEvent: bench.Quantiles{P50: 1.25, P99: 20, P999: 40.5, Max: 41.25},
		Duration: 2, MessagesPerS: 100, DeliveriesPerS: 500_000, BytesPerS: 65_500_000, BytesPerDelivery: 131,
		Latency: bench.Quantiles{P50: 9.5, P99: 12.25, P999: 101, Max: 1234.5}, Acknowledged: bench.Quantiles{P50: 0.5, P99: 0.75, P999: 1, Max: 1},
		ClientCPU: 1.5,
	}
}

func TestReports(t *testing.T) {
	for name, change := range map[string]func(*bench.Report){
		"whole": func(*bench.Report) {},
		"server": func(r *bench.Report) {
			r.Server = &bench.ServerCost{CPU: 1.25, CPUSeconds: 1.25, MemoryBefore: 25_000_000, MemoryIdle: 30_000_000, MemoryAfter: 31_000_000, PerIdle: 1000, PerAfter: 1200}
		},
		"rate": func(r *bench.Report) { r.InFlight, r.Rate, r.Topics, r.Publishers = 0, 12.5, 20, 4 },
		"wrong": func(r *bench.Report) {
			r.OK, r.Stalled, r.Failed, r.Closed, r.Missing, r.Repeated = false, true, 2, 1, 1234567, 1
			r.OutOfOrder, r.Garbled, r.Foreign, r.Gaps, r.Published, r.Unconfirmed = 3, 4, 5, 6, 198, 1
			r.Problems = []string{"a stream was closed after 2 messages: the server has ended it", "publishing was answered with 507 Insufficient Storage: There is <no> room."}
		},
		"interrupted": func(r *bench.Report) {
			*r = bench.Report{URL: r.URL, Topics: 1, TopicPrefix: r.TopicPrefix, Subscribers: 5000, Messages: 200, Payload: 100, Publishers: 1, InFlight: 1, OK: true, Interrupted: true, Problems: []string{}}
		},
	} {
		rep := whole()
		change(rep)
		for ext, write := range map[string]func(*bench.Report, *bytes.Buffer) error{
			"txt":  func(r *bench.Report, b *bytes.Buffer) error { return r.WriteTable(b) },
			"json": func(r *bench.Report, b *bytes.Buffer) error { return r.WriteJSON(b) },
		} {
			t.Run(name+"."+ext, func(t *testing.T) {
				var b bytes.Buffer
				if err := write(rep, &b); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join("testdata", name+".golden."+ext)
				if *update {
					if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if got := b.String(); got != string(want) {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
				if ext == "json" && strings.Count(b.String(), "\n") != 1 {
					t.Error("it is not one line")
				}
			})
		}
		if err := rep.Verdict(); (err == nil) != rep.OK || err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: the verdict is %v", name, err)
		}
	}
}

// docs/performance.md names every field.
func TestFieldsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "**`--json`**")
	fields := 0
	for _, golden := range []string{"server", "rate"} {
		b, err := os.ReadFile(filepath.Join("testdata", golden+".golden.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"(\w+)":`).FindAllSubmatch(b, -1) {
			fields++
			if name := "`" + string(m[1]) + "`"; !strings.Contains(section, name) {
				t.Errorf("%s is not described", name)
			}
		}
	}
	if fields < 50 {
		t.Errorf("only %d fields: does this test still see them?", fields)
	}
}

// Each kind of fault alone makes the verdict an error.
func TestVerdict(t *testing.T) {
	for name, change := range map[string]func(*bench.Report){
		"did not open":             func(r *bench.Report) { r.Failed = 1 },
		"was closed":               func(r *bench.Report) { r.Closed = 1 },
		"is missing":               func(r *bench.Report) { r.Missing = 1 },
		"was repeated":             func(r *bench.Report) { r.Repeated = 1 },
		"out of order":             func(r *bench.Report) { r.OutOfOrder = 1 },
		"was garbled":              func(r *bench.Report) { r.Garbled = 1 },
		"was foreign":              func(r *bench.Report) { r.Foreign = 1 },
		"gap was reported":         func(r *bench.Report) { r.Gaps = 1 },
		"was not published":        func(r *bench.Report) { r.Published-- },
		"nothing more has arrived": func(r *bench.Report) { r.Stalled = true },
	} {
		rep := whole()
		change(rep)
		var table bytes.Buffer
		rep.WriteTable(&table)
		if err := rep.Verdict(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(table.String(), "WRONG: ") || !strings.Contains(table.String(), name) {
			t.Errorf("%s: the verdict is %v, the table is\n%s", name, err, &table)
		}
	}
	interrupted := whole()
	interrupted.Interrupted, interrupted.Published = true, 3
	if err := interrupted.Verdict(); err != nil {
		t.Errorf("interrupted: %v", err)
	}
}

func TestFigures(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0004: "0.000", 0.0125: "0.013", 0.9994: "0.999", 0.9996: "1.00", 1: "1.00", 9.994: "9.99", 9.996: "10.0", 12.34: "12.3", 99.94: "99.9", 99.96: "100", 123.5: "124", 1234567.4: "1,234,567", -12.34: "-12.3", -1234: "-1,234",
	} {
		if got := bench.Figure(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 1234567: "1,234,567", -999: "-999", -1000: "-1,000"} {
		if got := bench.Grouped(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// What a server says is one line that does not write over the terminal.
func TestOneLine(t *testing.T) {
	if got := bench.OneLine("é 1\r\n2\u0085\x1b[31m\u009b1m\u202e\u2028\x9b1m"); got != "é 1 2 [31m 1m \uFFFD1m" {
		t.Errorf("%q", got)
	}
}
