package eventsource_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventsource"
)

// A rule is what a test of web-platform-tests checks in its directory
// eventsource. The tests of documents, workers, origins of pages, and of the
// JavaScript interface have no rows. They are listed at the end of the table.
type rule struct {
	file    string  // the test file, without its extension
	rule    string  // what it checks
	replies []reply // after them the server answers 204
	events  string  // type|data|id of each event, joined by spaces, quoted like Go strings
	ids     string  // the Last-Event-ID of each request, joined by commas
	failed  bool    // the connection is failed (WHATWG HTML 9.2.3): no further request
}

var wptRules = []rule{
	{"event-data", "lines, and events without data", body1("data:msg\ndata:msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n"), `"|msg\nmsg|" "||" "|end|"`, ",", false},
	{"eventsource-close", "the client returns until 204", []reply{stream("retry: 2\ndata: opened\n\n", io.EOF), stream("data: reconnected\n\n", io.EOF), {status: 204, parts: []part{{0, "data: closed\n\n"}}, end: io.EOF}, stream("data: never\n\n", nil)}, `"|opened|" "|reconnected|"`, ",,", false},
	{"eventsource-onmessage", "an event without a type", body1("data: data\n\n"), `"|data|"`, ",", false},
	{"eventsource-reconnect", "a stream that has ended is opened again", []reply{stream("retry: 2\ndata: ok\n\n", io.EOF), stream("data: data\n\n", io.EOF)}, `"|ok|" "|data|"`, ",,", false},
	{"eventsource-reconnect", "a stream without an event is opened again", []reply{stream("retry: 2\n", io.EOF), stream("data: data\n\n", io.EOF)}, `"|data|"`, ",,", false},
	{"format-bom", "one byte order mark is dropped", body1("\ufeffdata:1\n\n\ufeffdata:2\n\ndata:3\n\n"), `"|1|" "|3|"`, ",", false},
	{"format-bom-2", "of two byte order marks, one is dropped", body1("\ufeff\ufeffdata:1\n\ndata:2\n\ndata:3\n\n"), `"|2|" "|3|"`, ",", false},
	{"format-comments", "comments of any length are dropped", body1("data:1\r:\x00\n:\r\ndata:2\n:" + strings.Repeat("x", 2049) + "\rdata:3\n:data:fail\r:" + strings.Repeat("x", 2049) + "\ndata:4\n\n"), `"|1\n2\n3\n4|"`, ",", false},
	{"format-data-before-final-empty-line", "an unfinished event is dropped", []reply{stream("retry:1000\ndata:test1\n\nid:test\ndata:test2", io.EOF), noContent}, `"|test1|"`, ",", false},
	{"format-field-data", "data without a colon, and without a value", body1("data:\n\ndata\ndata\n\ndata:test\n\n"), `"||" "|\n|" "|test|"`, ",", false},
	{"format-field-event", "the type is for one event", body1("event:test\ndata:x\n\ndata:x\n\n"), `"test|x|" "|x|"`, ",", false},
	{"format-field-event-empty", "an empty type is none", body1("event: \ndata:data\n\n"), `"|data|"`, ",", false},
	{"format-field-id", "the id comes back in UTF-8", []reply{stream("id: …\nretry:200\ndata:hello\n\n", io.EOF), stream("data: …\n\n", io.EOF)}, `"|hello|…" "|…|…"`, ",…,…", false},
	{"format-field-id-2", "the id persists over connections", []reply{stream("id: …\nretry:200\ndata:hello\n\n", io.EOF), stream("data: a\n\n", io.EOF), stream("data: b\n\n", io.EOF)}, `"|hello|…" "|a|…" "|b|…"`, ",…,…,…", false},
	{"format-field-id-3", "the id persists", body1("id: 1\ndata: 1\n\ndata:2\n\n"), `"|1|1" "|2|1"`, ",1", false},
	{"format-field-id-3", "the id changes and persists", body1("id: 1\ndata: 1\n\nid: 2\ndata:2\n\ndata:3\n\n"), `"|1|1" "|2|2" "|3|2"`, ",2", false},
	{"format-field-id-3", "the id is reset", body1("id: 1\ndata: 1\n\nid:\ndata:2\n\ndata:3\n\n"), `"|1|1" "|2|" "|3|"`, ",", false},
	{"format-field-id-3", "the id is reset without a colon", body1("id: 1\ndata: 1\n\nid\ndata:2\n\ndata:3\n\n"), `"|1|1" "|2|" "|3|"`, ",", false},
	{"format-field-id-null", "an id with U+0000 is ignored", body1("id: \x00\x00\ndata:1\n\nid: x\x00\ndata:2\n\nid: \x00x\ndata:3\n\nid: x\x00x\ndata:4\n\nid:  \x00\ndata:5\n\n"), `"|1|" "|2|" "|3|" "|4|" "|5|"`, ",", false},
	{"format-field-parsing", "names are exact, and one space is dropped", body1("data:\x00\ndata:  2\rData:1\ndata\x00:2\ndata:1\r\x00data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n"), `"|\x00\n 2\n1\n3\n\n4|"`, ",", false},
	{"format-field-unknown", "unknown fields are dropped", body1("data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n"), `"|test\n\ntest|"`, ",", false},
	{"format-leading-space", "a tab is no space", body1("data:\ttest\rdata: \ndata:test\n\n"), `"|\ttest\n\ntest|"`, ",", false},
	{"format-mime-bogus", "another type fails the connection", typed("x bogus"), "", "", true},
	{"format-mime-trailing-semicolon", "a semicolon may follow the type", typed("text/event-stream;"), `"|data|"`, ",", false},
	{"format-mime-valid-bogus", "another valid type fails the connection", typed("text/x-bogus"), "", "", true},
	{"format-newlines", "CR, LF and CRLF end lines", body1("data:test\r\ndata\ndata:test\r\n\r"), `"|test\n\ntest|"`, ",", false},
	{"format-null-character", "U+0000 is data", body1("data:\x00\n\n\n\n"), `"|\x00|"`, ",", false},
	{"format-utf-8", "the stream is UTF-8, whatever the type says", []reply{{header: http.Header{"Content-Type": {"text/event-stream;charset=windows-1252"}}, parts: []part{{0, "data:ok…\n\n"}}, end: io.EOF}}, `"|ok…|"`, ",", false},
	{"format-utf-8", "invalid bytes become U+FFFD", body1("data:\xf0\x9f\n\ndata:\xff\n\n"), `"|�|" "|�|"`, ",", false},
	{"request-status-error", "204", []reply{{status: 204, end: io.EOF}}, "", "", false},
	{"request-status-error", "205", []reply{{status: 205, end: io.EOF}}, "", "", true},
	{"request-status-error", "299", []reply{{status: 299, end: io.EOF}}, "", "", true},
	{"request-status-error", "404", []reply{{status: 404, end: io.EOF}}, "", "", true},
	{"request-status-error", "410", []reply{{status: 410, end: io.EOF}}, "", "", true},
	{"request-status-error", "503", []reply{{status: 503, end: io.EOF}}, "", "", true},
	{"request-redirect", "301", redirect(301), `"|data|"`, ",,", false},
	{"request-redirect", "302", redirect(302), `"|data|"`, ",,", false},
	{"request-redirect", "303", redirect(303), `"|data|"`, ",,", false},
	{"request-redirect", "307", redirect(307), `"|data|"`, ",,", false},
}

// The tests of these files have no row: what they check exists only in browsers,
// or another test has it.
var wptElsewhere = map[string]string{
	"eventsource-constructor-document-domain": "documents",
	"eventsource-constructor-empty-url":       "URLs relative to a document",
	"eventsource-constructor-non-same-origin": "origins of pages",
	"eventsource-constructor-stringify":       "JavaScript",
	"eventsource-constructor-url-bogus":       "TestMistakesAreErrors",
	"eventsource-cross-origin":                "origins of pages",
	"eventsource-eventtarget":                 "JavaScript",
	"eventsource-onmessage-realm":             "JavaScript",
	"eventsource-onmessage-trusted":           "JavaScript",
	"eventsource-onopen":                      "TestStates",
	"eventsource-prototype":                   "JavaScript",
	"eventsource-request-cancellation":        "TestTheContextEndsTheSequenceInEachPhase",
	"eventsource-url":                         "JavaScript",
	"format-field-retry":                      "TestWaits",
	"format-field-retry-bogus":                "TestRetryFields",
	"format-field-retry-empty":                "TestRetryFields",
	"request-accept":                          "TestHeadersOfTheRequest",
	"request-cache-control":                   "TestHeadersOfTheRequest",
	"request-credentials":                     "origins of pages",
}

func body1(text string) []reply { return []reply{stream(text, io.EOF)} }

func typed(contentType string) []reply {
	return []reply{{header: http.Header{"Content-Type": {contentType}}, parts: []part{{0, "data:data\n\n"}}, end: io.EOF}}
}

func redirect(status int) []reply {
	return []reply{{status: status, header: http.Header{"Location": {"/elsewhere"}}, end: io.EOF}, stream("data:data\n\n", io.EOF)}
}

func TestWebPlatformTests(t *testing.T) {
	for _, tt := range wptRules {
		if _, twice := wptElsewhere[tt.file]; twice {
			t.Errorf("%s has a row, and is listed as having none", tt.file)
		}
		t.Run(tt.file+"/"+tt.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := inOrder(append(tt.replies, noContent)...)
				o := collect(t.Context(), srv.client(&eventsource.Options{Standard: true}), nil)
				var events []string
				for _, ev := range o.events {
					events = append(events, fmt.Sprintf("%q", ev.Type+"|"+ev.Data+"|"+ev.ID))
				}
				if got := strings.Join(events, " "); got != tt.events {
					t.Errorf("events %s, want %s", got, tt.events)
				}
				if got := strings.Join(srv.sent("Last-Event-ID"), ","); got != tt.ids {
					t.Errorf("last event IDs %q, want %q", got, tt.ids)
				}
				if (o.last != nil) != tt.failed {
					t.Errorf("ended with %v", o.last)
				}
			})
		})
	}
}

// What a retry field makes of the reconnection time of 7 seconds.
func TestRetryFields(t *testing.T) {
	for line, want := range map[string]time.Duration{
		"retry:3000": 3 * s, "retry: 3000": 3 * s, "retry:03000": 3 * s, "retry:3000\nretry:1000x": 3 * s,
		"retry": 7 * s, "retry:": 7 * s, "retry:-1": 7 * s, "retry:+1": 7 * s, "retry:1.5": 7 * s, "retry:1e3": 7 * s,
		"retry:  3000": 7 * s, "retry:3000 ": 7 * s, "Retry:3000": 7 * s, "retry:٣": 7 * s, "retry:0": 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			srv := inOrder(stream(line+"\ndata: a\n\n", io.EOF), noContent)
			var asked []time.Duration
			collect(t.Context(), srv.client(&eventsource.Options{Delay: 7 * s, Decide: func(f *eventsource.Failure) {
				asked = append(asked, f.Asked)
			}}), nil)
			if !slices.Equal(asked, []time.Duration{want}) || srv.gaps()[0] < want || srv.gaps()[0] > max(want*3/2, s) {
				t.Errorf("%q: %v, waited %v, want %v", line, asked, srv.gaps(), want)
			}
		})
	}
}
