//go:build linux

package main_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	main "example.com/tidings/bench/attacks"
)

// Each row is one thing that an attack did. The verdict names it, and nothing else.
func TestVerdictNamesWhatWasMissed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(r *main.Result)
		want   string // part of the only sentence; "" for none
	}{
		{"nothing", nil, ""},
		{"a delay without a decoy", func(r *main.Result) { main.During(r).Delivery.P99 = 51 }, "p99 is 51 ms, and may be 50"},
		{"a delay beside a slow decoy", func(r *main.Result) { main.During(r).Delivery.P99 = 80; main.Decoy(r, 30) }, ""},
		{"a delay beside a fast decoy", func(r *main.Result) { main.During(r).Delivery.P99 = 80; main.Decoy(r, 5) }, "p99 is 80 ms, and may be 50"},
		{"three times the decoy", func(r *main.Result) { main.During(r).Delivery.P99 = 91; main.Decoy(r, 30) }, "p99 is 91 ms, and may be 90"},
		{"silence", func(r *main.Result) { main.During(r).Delivery.Count = 0 }, "got nothing"},
		{"a lost message", func(r *main.Result) { main.During(r).Lost = 1 }, "1 messages were lost"},
		{"a message lost afterwards", func(r *main.Result) { main.Later(r).Lost = 1 }, "1 messages were lost"},
		{"a message that never comes", func(r *main.Result) { main.Later(r).Overdue = 2 }, "2 messages have not come"},
		{"a message twice", func(r *main.Result) { main.During(r).Twice = 1 }, "came twice"},
		{"a gap", func(r *main.Result) { main.During(r).Gaps = 1 }, "1 gaps"},
		{"an ended stream", func(r *main.Result) { main.Later(r).Cut = 1 }, "were ended"},
		{"a rude answer", func(r *main.Result) { main.During(r).Newcomer.Wrong = 1 }, "answered wrongly"},
		{"polite refusals", func(r *main.Result) { main.During(r).Newcomer.Refused = 9 }, ""},
		{"a late answer", func(r *main.Result) { main.During(r).Newcomer.Slowest = 1001 }, "a newcomer waited 1001 ms"},
		{"memory", func(r *main.Result) { main.Memory(r, 357<<20, 0) }, "257 MB above rest"},
		{"memory with a limit", func(r *main.Result) { main.Memory(r, 0, 201<<20) }, "201 MB with GOMEMLIMIT=64MiB"},
		{"descriptors", func(r *main.Result) { main.After(r).Descriptors = 97 }, "17 descriptors more"},
		{"goroutines", func(r *main.Result) { main.After(r).Goroutines = 57 }, "17 goroutines more"},
		{"heap", func(r *main.Result) { main.After(r).Heap = 93 << 20 }, "33 MB more of the heap"},
		{"heap for what was stored", func(r *main.Result) { main.After(r).Heap = 193 << 20; main.Stored(r, 110<<20) }, ""},
		{"a slow end", func(r *main.Result) { main.Ended(r, 4*time.Second, nil, 0) }, "SIGTERM took 4s"},
		{"a bad end", func(r *main.Result) { main.Ended(r, time.Second, errors.New("exit status 2"), 0) }, "SIGTERM: exit status 2"},
		{"acknowledged messages that are not stored", func(r *main.Result) { main.Ended(r, time.Second, nil, 3) }, "lacks 3 acknowledged messages"},
		{"a broken promise", func(r *main.Result) { main.Broken(r, "no stream is ended") }, "no stream is ended"},
		{"a trial that ended early", func(r *main.Result) { main.Err(r, errors.New("the server has ended")) }, "the server has ended"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := main.NewResult(tt.change)
			missed := main.Missed(r)
			var table strings.Builder
			main.PrintTable(&table, r)
			switch {
			case tt.want == "" && len(missed) == 0:
				if !strings.Contains(table.String(), "| held |") {
					t.Errorf("the table is %s", table.String())
				}
			case tt.want != "" && len(missed) == 1 && strings.Contains(missed[0], tt.want):
				if !strings.Contains(table.String(), "**missed**: "+missed[0]) {
					t.Errorf("the table is %s", table.String())
				}
			default:
				t.Errorf("got %q, want a sentence with %q (none if that is empty)", missed, tt.want)
			}
		})
	}
}

// What a control group reports about the streams of two members.
func TestControlGroupCountsWhatComes(t *testing.T) {
	all := []string{"data: n0\n", "data: n1\n", "data: n2\n"}
	for _, tt := range []struct {
		name   string
		acked  []int
		stream []string
		want   main.ControlReport
	}{
		{"everything", []int{0, 1, 2}, all, main.ControlReport{}},
		{"a message that was not acknowledged", []int{0, 2}, all, main.ControlReport{}},
		{"not that message", []int{0, 2}, []string{"data: n0\n", "data: n2\n"}, main.ControlReport{}},
		{"a message is lost", []int{0, 1, 2}, []string{"data: n0\n", "data: n2\n"}, main.ControlReport{Lost: 1}},
		{"the first is lost", []int{0, 1, 2}, all[1:], main.ControlReport{Lost: 1}},
		{"the last has not come", []int{0, 1, 2}, all[:2], main.ControlReport{Overdue: 1}},
		{"nothing comes", []int{0, 1, 2}, nil, main.ControlReport{Overdue: 3}},
		{"a message comes twice", []int{0, 1, 2}, append(all[:3:3], all[2]), main.ControlReport{Twice: 1}},
		{"a message comes late", []int{0, 1, 2}, []string{"data: n1\n", "data: n0\n", "data: n2\n"}, main.ControlReport{Twice: 1, Lost: 1}},
		{"a gap", []int{0, 1, 2}, append([]string{"event: tidings.gap\n"}, all...), main.ControlReport{Gaps: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := main.Follow(3, 10*time.Second, tt.acked, all, tt.stream)
			got := main.ControlReport{Lost: r.Lost, Overdue: r.Overdue, Twice: r.Twice, Gaps: r.Gaps}
			if got.Lost != tt.want.Lost || got.Overdue != tt.want.Overdue || got.Twice != tt.want.Twice || got.Gaps != tt.want.Gaps {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if r.Delivery.P99 < 10_000 {
				t.Errorf("p99 is %v ms, and the messages were due 10 s ago", r.Delivery.P99)
			}
		})
	}
}

// A message that cannot be published delays the group, too.
func TestControlGroupWaitsForItsPublisher(t *testing.T) {
	r := main.Follow(1, 10*time.Second, nil, nil)
	if r.Delivery.Count != 1 || r.Delivery.P99 < 10_000 || r.Oldest < 10_000 {
		t.Errorf("got %+v, want a delay of 10 s", r)
	}
}

// Which answers a newcomer takes for an answer, and which for a polite refusal.
func TestAnswersToNewcomers(t *testing.T) {
	problem := map[string][]string{"Content-Type": {"application/problem+json"}, "Retry-After": {"3"}}
	for _, tt := range []struct {
		name         string
		status       int
		header       map[string][]string
		text         string
		good, polite bool
	}{
		{"a stream", 200, nil, "retry: 2000\nevent: tidings.open\n", true, false},
		{"a stored message", 201, nil, "{}", true, false},
		{"a stream that is unavailable", 200, nil, "retry: 9000\nevent: tidings.unavailable\n", false, true},
		{"a refusal", 503, problem, "{}", false, true},
		{"a refusal that does not say when", 503, map[string][]string{"Content-Type": problem["Content-Type"]}, "{}", false, false},
		{"a refusal in plain text", 503, map[string][]string{"Retry-After": {"3"}}, "Try again later.", false, true},
		{"a stream that begins with something else", 200, nil, "event: message\n", false, false},
		{"a log that failed", 500, problem, "{}", false, false},
		{"nothing there", 404, problem, "{}", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if good, polite := main.Answer(tt.status, tt.header, tt.text); good != tt.good || polite != tt.polite {
				t.Errorf("good %v, polite %v; want %v, %v", good, polite, tt.good, tt.polite)
			}
		})
	}
}
