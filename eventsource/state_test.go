package eventsource_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventsource"
)

// Each interruption has its cause.
func TestCauses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply reply
		want  error
	}{
		{"no answer", reply{mute: true}, eventsource.ErrNoAnswer},
		{"the end", stream("data: a\n\n", io.EOF), eventsource.ErrEnded},
		{"silence", stream(opening(s), nil), eventsource.ErrSilent},
		{"tidings.unavailable", stream("event: tidings.unavailable\ndata: {}\n\n", nil), eventsource.ErrUnavailable},
		{"no connection", reply{refuse: errCut}, errCut},
		{"a break", stream("data: a\n\n", errCut), errCut},
	} {
		synctest.Test(t, func(t *testing.T) {
			var got error
			c := inOrder(tt.reply, noContent).client(&eventsource.Options{Decide: func(f *eventsource.Failure) { got = f.Err }})
			if collect(t.Context(), c, nil); !errors.Is(got, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
			}
		})
	}
}

// The log has a line when attempts begin to fail, one for each other kind of
// failure, and one when the stream is open again. Ordinary ends make no line.
func TestTheLogHasALineForEachChange(t *testing.T) {
	ok := lasting(time.Minute, "data: a\n\n")
	for _, tt := range []struct {
		name    string
		replies []reply
		want    string // of each line, its level and the beginning of its err
	}{
		{"streams that end", []reply{ok, ok, ok, noContent}, ""},
		{"failures of one kind", []reply{{refuse: errCut}, {refuse: errCut}, {refuse: errCut}, ok, noContent}, "WARN cut, INFO"},
		{"of two kinds", []reply{{refuse: errCut}, {status: 503, end: io.EOF}, {status: 503, end: io.EOF}, {status: 502, end: io.EOF}, ok, noContent}, "WARN cut, WARN 503, WARN 502, INFO"},
		{"streams that are cut at once", []reply{stream("", errCut), stream("", errCut), stream("", errCut), ok, noContent}, "WARN cut, INFO"},
		{"a final one", []reply{{status: 404, end: io.EOF}}, ""},
		{"twice", []reply{{refuse: errCut}, ok, {refuse: errCut}, ok, noContent}, "WARN cut, INFO, WARN cut, INFO"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := new(strings.Builder)
				collect(t.Context(), inOrder(tt.replies...).client(&eventsource.Options{Logger: logTo(log)}), nil)
				var got []string
				for line := range strings.Lines(log.String()) {
					word := "INFO"
					if strings.Contains(line, "level=WARN") {
						word = "WARN"
						for _, cause := range []string{"cut", "answered 503", "answered 502"} { // times have digits, too
							if strings.Contains(line, cause) {
								word += " " + strings.TrimPrefix(cause, "answered ")
							}
						}
					}
					if !strings.Contains(line, "url=http://hub.test/events ") && !strings.Contains(line, "url=http://hub.test/events\n") {
						t.Errorf("line %q", line)
					}
					got = append(got, word)
				}
				if all := strings.Join(got, ", "); all != tt.want {
					t.Errorf("lines %q, want %q\n%s", all, tt.want, log)
				}
			})
		})
	}
}
