package sse_test

import (
	"math"
	"time"
)

var (
	withComments   = decodeOptions{Comments: true}
	withRetry      = decodeOptions{Retry: true}
	withUnfinished = decodeOptions{Unfinished: true}
	withDataless   = decodeOptions{Dataless: true}
)

// What the options add to the standard's events.
var optionCases = []conformanceCase{
	{name: "comments off", rule: "Comments: dropped by default", in: ":c\ndata:a\n\n", want: dataEvents("a")},
	{name: "comment before data", rule: "Comments: on the event of its block", in: ":c\ndata:a\n\n", opts: withComments, want: eventList{{Comment: "c", Data: "a"}}},
	{name: "comment after data", rule: "Comments: on the event of its block", in: "data:a\n:c\n\n", opts: withComments, want: eventList{{Comment: "c", Data: "a"}}},
	{name: "comment with a space", rule: "Comments: one leading space is stripped", in: ": c\ndata:a\n\n", opts: withComments, want: eventList{{Comment: "c", Data: "a"}}},
	{name: "comment with two spaces", rule: "Comments: one leading space is stripped", in: ":  c \ndata:a\n\n", opts: withComments, want: eventList{{Comment: " c ", Data: "a"}}},
	{name: "comment lines", rule: "Comments: joined with LF", in: ":a\n: b\ndata:x\n:c\n\n", opts: withComments, want: eventList{{Comment: "a\nb\nc", Data: "x"}}},
	{name: "empty comment", rule: "Comments: one empty line is no text", in: ":\ndata:x\n\n", opts: withComments, want: dataEvents("x")},
	{name: "empty comment lines", rule: "Comments: joined with LF", in: ":\n: \n:\ndata:x\n\n", opts: withComments, want: eventList{{Comment: "\n\n", Data: "x"}}},
	{name: "comment of colons", rule: "Comments: the first colon makes it one", in: ":::\ndata:x\n\n", opts: withComments, want: eventList{{Comment: "::", Data: "x"}}},
	{name: "comment with NUL", rule: "Comments: kept", in: ":a\x00b\ndata:x\n\n", opts: withComments, want: eventList{{Comment: "a\x00b", Data: "x"}}},
	{name: "comment with CR", rule: "Comments: CR ends it", in: ":a\r:b\rdata:x\r\r", opts: withComments, want: eventList{{Comment: "a\nb", Data: "x"}}},
	{name: "comment of the block before", rule: "Comments: reset after each blank line", in: ":a\ndata:x\n\ndata:y\n\n", opts: withComments, want: eventList{{Comment: "a", Data: "x"}, {Data: "y"}}},
	{name: "comment of a block without data", rule: "Comments: reset after each blank line", in: ":a\n\ndata:y\n\n", opts: withComments, want: dataEvents("y")},
	{name: "keep-alive without a blank line", rule: "Comments: belongs to the block that follows", in: "data:x\n\n: keep-alive\ndata:y\n\n", opts: withComments, want: eventList{{Data: "x"}, {Comment: "keep-alive", Data: "y"}}},
	{name: "comment after a BOM", rule: "Comments: the BOM is no part of it", in: "\ufeff:a\ndata:x\n\n", opts: withComments, want: eventList{{Comment: "a", Data: "x"}}},

	{name: "retry off", rule: "Retry: zero by default", in: "retry:5\ndata:x\n\n", want: dataEvents("x"), retries: millis(5)},
	{name: "retry of an event", rule: "Retry: on the event of its block", in: "retry:5\ndata:x\n\ndata:y\n\n", opts: withRetry, want: eventList{{Retry: 5 * time.Millisecond, Data: "x"}, {Data: "y"}}, retries: millis(5)},
	{name: "retry twice", rule: "Retry: the last one", in: "retry:5\ndata:x\nretry:6\n\n", opts: withRetry, want: eventList{{Retry: 6 * time.Millisecond, Data: "x"}}, retries: millis(5, 6)},
	{name: "retry and a bad one", rule: "Retry: the last valid one", in: "retry:5\nretry:x\nretry\ndata:x\n\n", opts: withRetry, want: eventList{{Retry: 5 * time.Millisecond, Data: "x"}}, retries: millis(5)},
	{name: "retry and then zero", rule: "Retry: the last valid one", in: "retry:5\nretry:0\ndata:x\n\n", opts: withRetry, want: dataEvents("x"), retries: millis(5, 0)},
	{name: "retry of a block without data", rule: "Retry: reset after each blank line", in: "retry:5\n\ndata:x\n\n", opts: withRetry, want: dataEvents("x"), retries: millis(5)},
	{name: "retry saturated", rule: "Retry: the largest Duration", in: "retry:99999999999999999999\ndata:x\n\n", opts: withRetry, want: eventList{{Retry: math.MaxInt64, Data: "x"}}, retries: []time.Duration{math.MaxInt64}},

	{name: "unfinished, data with line end", rule: "Unfinished: the end counts as a blank line", in: "data:a\n", opts: withUnfinished, want: dataEvents("a")},
	{name: "unfinished, data without line end", rule: "Unfinished: what is left counts as a line", in: "data:a", opts: withUnfinished, want: dataEvents("a")},
	{name: "unfinished, bare data", rule: "Unfinished: what is left counts as a line", in: "data", opts: withUnfinished, want: dataEvents("")},
	{name: "unfinished, half a field name", rule: "Unfinished: an unknown field", in: "data:a\ndat", opts: withUnfinished, want: dataEvents("a")},
	{name: "unfinished, after CR", rule: "Unfinished: the CR ended the line", in: "data:a\r", opts: withUnfinished, want: dataEvents("a")},
	{name: "unfinished, after a whole event", rule: "Unfinished: nothing is left", in: "data:a\n\n", opts: withUnfinished, want: dataEvents("a")},
	{name: "unfinished, after a whole event in CR", rule: "Unfinished: nothing is left", in: "data:a\r\r", opts: withUnfinished, want: dataEvents("a")},
	{name: "unfinished, no data", rule: "Unfinished: no data, no event", in: "event:e\nid:1\n", opts: withUnfinished},
	{name: "unfinished, a comment", rule: "Unfinished: no data, no event", in: "data:a\n\n:c", opts: withUnfinished, want: dataEvents("a")},
	{name: "unfinished, empty", rule: "Unfinished: nothing is left", in: "\n", opts: withUnfinished},
	{name: "unfinished, all fields", rule: "Unfinished: the id takes effect", in: "id:1\nevent:e\ndata:a\ndata:b\nid:2", opts: withUnfinished, want: eventList{{ID: "2", Type: "e", Data: "a\nb"}}},
	{name: "unfinished, retry without line end", rule: "Unfinished: what is left counts as a line", in: "data:a\nretry:7", opts: withUnfinished, want: dataEvents("a"), retries: millis(7)},
	{name: "unfinished, BOM and data", rule: "Unfinished: the BOM is stripped", in: "\ufeffdata:a", opts: withUnfinished, want: dataEvents("a")},
	{name: "unfinished, half a BOM", rule: "Unfinished: an unknown field", in: "\xef\xbb", opts: withUnfinished},

	{name: "dataless, id", rule: "Dataless: an id field that is taken", in: "id:1\n\n", opts: withDataless, want: eventList{{ID: "1"}}},
	{name: "dataless, empty id", rule: "Dataless: an empty id is taken", in: "id\n\n", opts: decodeOptions{Dataless: true, LastEventID: "9"}, want: eventList{{}}},
	{name: "dataless, id with NUL", rule: "Dataless: an id that is ignored counts for nothing", in: "id:\x00\n\n", opts: withDataless},
	{name: "dataless, same id again", rule: "Dataless: a field that is taken, whatever its value", in: "id:1\n\nid:1\n\n", opts: withDataless, want: eventList{{ID: "1"}, {ID: "1"}}},
	{name: "dataless, id of an earlier block", rule: "Dataless: counts for its block only", in: "id:1\n\n\n\nfoo\n\n", opts: withDataless, want: eventList{{ID: "1"}}},
	{name: "dataless, type", rule: "Dataless: a type that is not empty, with the id in force", in: "id:1\ndata:x\n\nevent:e\n\n", opts: withDataless, want: eventList{{ID: "1", Data: "x"}, {ID: "1", Type: "e"}}},
	{name: "dataless, empty type", rule: "Dataless: an empty type counts for nothing", in: "event:e\nevent:\n\n", opts: withDataless},
	{name: "dataless, unknown field", rule: "Dataless: counts for nothing", in: "foo:bar\n\n", opts: withDataless},
	{name: "dataless, blank lines", rule: "Dataless: counts for nothing", in: "\n\n\r\n\r", opts: withDataless},
	{name: "dataless, comment not asked for", rule: "Dataless: counts with Comments only", in: ":c\n\n", opts: withDataless},
	{name: "dataless, comment", rule: "Dataless: a comment, where asked for", in: ":c\n\n", opts: decodeOptions{Dataless: true, Comments: true}, want: eventList{{Comment: "c"}}},
	{name: "dataless, empty comment", rule: "Dataless: an empty comment counts for nothing", in: ":\n\n", opts: decodeOptions{Dataless: true, Comments: true}},
	{name: "dataless, retry not asked for", rule: "Dataless: counts with Retry only", in: "retry:5\n\n", opts: withDataless, retries: millis(5)},
	{name: "dataless, retry", rule: "Dataless: a retry, where asked for", in: "retry:5\n\n", opts: decodeOptions{Dataless: true, Retry: true}, want: eventList{{Retry: 5 * time.Millisecond}}, retries: millis(5)},
	{name: "dataless, retry zero", rule: "Dataless: a retry of zero counts for nothing", in: "retry:0\n\n", opts: decodeOptions{Dataless: true, Retry: true}, retries: millis(0)},
	{name: "dataless, empty data line", rule: "Dataless: that is an event anyway", in: "data\n\n", opts: withDataless, want: dataEvents("")},
	{
		name: "dataless, unfinished", rule: "Dataless and Unfinished: the id at the end",
		in: "data:x\n\nid:1", opts: decodeOptions{Dataless: true, Unfinished: true}, want: eventList{{Data: "x"}, {ID: "1"}},
	},
	{
		name: "everything", rule: "all options on one stream",
		in: "\ufeff: hi\nretry: 10\n\nid: 1\n\nevent: e\ndata: a\n:c\nretry: 20\n\n:\n\ndata: b\nid",
		opts: decodeOptions{
			LastEventID: "0", Comments: true, Retry: true, Unfinished: true, Dataless: true,
		},
		want: eventList{
			{ID: "0", Comment: "hi", Retry: 10 * time.Millisecond},
			{ID: "1"},
			{ID: "1", Type: "e", Data: "a", Comment: "c", Retry: 20 * time.Millisecond},
			{Data: "b"},
		},
		retries: millis(10, 20),
	},
	{
		name: "last event ID", rule: "LastEventID: in force until an id field comes",
		in: "data:a\n\n:c\n\ndata:b\n\nid:2\n\ndata:c\n\n", opts: decodeOptions{LastEventID: "1"},
		want: eventList{{ID: "1", Data: "a"}, {ID: "1", Data: "b"}, {ID: "2", Data: "c"}},
	},
	{
		name: "last event ID and an id with NUL", rule: "LastEventID: an id that is ignored leaves it",
		in: "id:\x00\ndata:a\n\n", opts: decodeOptions{LastEventID: "1"}, want: eventList{{ID: "1", Data: "a"}},
	},
	{
		name: "ill-formed last event ID and the same bytes in a field", rule: "LastEventID: the field is decoded all the same",
		in: "id:\xff\ndata:a\n\n", opts: decodeOptions{LastEventID: "\xff"}, want: eventList{{ID: "\ufffd", Data: "a"}},
	},
}
