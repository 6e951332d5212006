package sse_test

import "strings"

// Modelled on the tests of eventsource-parser (JavaScript). Its tests of chunk
// boundaries are covered by the runner, which splits each input at every
// position.
var eventsourceParserCases = []conformanceCase{
	{
		name: "plain and named events", rule: "basic stream",
		in:   "data: 0\n\ndata: 1\n\ndata: 2\n\nevent: done\ndata: ✔\n\n",
		want: eventList{{Data: "0"}, {Data: "1"}, {Data: "2"}, {Type: "done", Data: "✔"}},
	},
	{
		name: "named events with a time", rule: "stream of time events",
		in:   "event: time\ndata: 2026-06-01T12:00:00.000Z\n\nevent: time\ndata: 2026-06-01T12:00:00.250Z\n\n",
		want: eventList{{Type: "time", Data: "2026-06-01T12:00:00.000Z"}, {Type: "time", Data: "2026-06-01T12:00:00.250Z"}},
	},
	{
		name: "id, type and retry on each event", rule: "identified messages and retry interval",
		in: "event: tick\nid: 1337\nretry: 50\ndata: 1337\n\nevent: tick\nid: 1338\nretry: 50\ndata: 1338\n\n",
		want: eventList{
			{ID: "1337", Type: "tick", Data: "1337"},
			{ID: "1338", Type: "tick", Data: "1338"},
		},
		retries: millis(50, 50),
	},
	{
		name: "heartbeats", rule: "comments between events",
		in:   ": ♥\n\ndata: A\n\n: ♥\n\ndata: B\n\nevent: done\ndata: ✔\n\n",
		want: eventList{{Data: "A"}, {Data: "B"}, {Type: "done", Data: "✔"}},
	},
	{
		name: "multi-line data", rule: "each data line after the first adds an LF",
		in:   "event: stock\ndata: ABC\ndata: +2\ndata: 10\n\nevent: stock\ndata: DEF\ndata: -8\ndata: 1881\n\n",
		want: eventList{{Type: "stock", Data: "ABC\n+2\n10"}, {Type: "stock", Data: "DEF\n-8\n1881"}},
	},
	{
		name: "multi-byte text", rule: "characters of two, three and four bytes across chunks",
		in:   "id: 0\ndata:grüß\ndata: дом 家\n\nid: 1\ndata:🦀🏳️‍🌈 👩‍👩‍👧\n\n",
		want: eventList{{ID: "0", Data: "grüß\nдом 家"}, {ID: "1", Data: "🦀🏳️‍🌈 👩‍👩‍👧"}},
	},
	{
		name: "leading blank lines", rule: "blank lines before the first event fire nothing",
		in:   "\n\n\n\nid: 1\ndata: 海\n\nevent: done\ndata: ✔\n\n",
		want: eventList{{ID: "1", Data: "海"}, {ID: "1", Type: "done", Data: "✔"}},
	},
	{
		name: "BOM before two lines of a block", rule: "a leading BOM is stripped and its data line kept",
		in: "\ufeffdata: first\ndata: second\n\n", want: dataEvents("first\nsecond"),
	},
	{
		name: "BOM encoded twice over", rule: "the Latin-1 reading of a BOM, in UTF-8, is not a BOM",
		in:   "ï»¿data: no BOM\n\ndata: next\n\n",
		want: dataEvents("next"),
	},
	{
		name: "carriage returns", rule: "CR only",
		in:   "data: dog\rdata: bark\r\rdata: cat\rdata: meow\r\r",
		want: dataEvents("dog\nbark", "cat\nmeow"),
	},
	{
		name: "line feeds", rule: "LF only",
		in:   "data: cow\ndata: moo\n\ndata: horse\ndata: neigh\n\n",
		want: dataEvents("cow\nmoo", "horse\nneigh"),
	},
	{
		name: "CRLF", rule: "CRLF only",
		in:   "data: sheep\r\ndata: bleat\r\n\r\ndata: pig\r\ndata: oink\r\n\r\n",
		want: dataEvents("sheep\nbleat", "pig\noink"),
	},
	{
		name: "odd comments", rule: "comments of many colons, in many scripts, with spaces at the end",
		in: ": Hello\n\n" + strings.Repeat(":", 300) + "\ndata: First\n\n: Первый: 第二\ndata: Second\n\n" +
			strings.Repeat(": Moop \n", 10) + ": ثالث\ndata: Third\n\n:നാല\ndata: Fourth\n\n",
		want: dataEvents("First", "Second", "Third", "Fourth"),
	},
	{
		name: "more odd comments", rule: "NUL, emptiness and fields in comments; the end drops what is unfinished",
		in: "data:1\r\r:\x00\n:\r\ndata:2\n\n:" + strings.Repeat("x", 700) +
			"\rdata:3\n\n:data:fail\r:y\ndata:4\n\ndata:5",
		want: dataEvents("1", "2", "3", "4"),
	},
	{
		name: "event field without a value", rule: "empty event fields, with data and without",
		in:   "event:\ndata: Hello 1\n\nevent:\n\nevent: done\ndata: ✔\n\n",
		want: eventList{{Data: "Hello 1"}, {Type: "done", Data: "✔"}},
	},
	{
		name: "retry field without a value", rule: "ignored, and its event is not",
		in:      "id: 1\nretry: 500\ndata: 🥌\n\nid:2\nretry:\ndata:🧹\n\nid: 3\ndata: ✅\n\n",
		want:    eventList{{ID: "1", Data: "🥌"}, {ID: "2", Data: "🧹"}, {ID: "3", Data: "✅"}},
		retries: millis(500),
	},
	{
		name: "retry and then a bad one", rule: "partially incorrect retry fields",
		in: "retry:1000\nretry:2000x\ndata:x\n\nretry: 50x\n\ndata: second\n\n", want: dataEvents("x", "second"),
		retries: millis(1000),
	},
	{
		name: "one event over line ends split by chunks", rule: "a CRLF split between chunks is one line end",
		in: "data: A\r\ndata: B\r\ndata: C\r\n\r\n", want: dataEvents("A\nB\nC"),
	},
	{
		name: "bad id after a good one", rule: "an id with NUL is ignored, the one before it in the block survives",
		in: "id: 123\nid: bad\x00id\ndata: hello\n\n", want: eventList{{ID: "123", Data: "hello"}},
	},
	{
		name: "ids in blocks without data", rule: "each takes effect, a bad one does not, an empty one resets",
		in:   "id: 42\n\ndata:a\n\nid: bad\x00id\n\ndata:b\n\nid:\n\ndata:c\n\n",
		want: eventList{{ID: "42", Data: "a"}, {ID: "42", Data: "b"}, {Data: "c"}},
	},
	{
		name: "id alone, CR", rule: "taken whatever the line end",
		in: "id: 42\r\rdata:a\r\r", want: eventList{{ID: "42", Data: "a"}},
	},
	{
		name: "id alone, CRLF", rule: "taken whatever the line end",
		in: "id: 42\r\n\r\ndata:a\r\n\r\n", want: eventList{{ID: "42", Data: "a"}},
	},
	{
		name: "comment that ends in CRLF", rule: "the LF is not a blank line",
		in: "data: one\n:ignored\r\ndata: two\n\n", want: dataEvents("one\ntwo"),
	},
	{
		name: "comment that ends in CR", rule: "the next line is not swallowed",
		in: "data: one\n:ignored\rdata: two\n\n", want: dataEvents("one\ntwo"),
	},
	{
		name: "unknown line that ends in CRLF", rule: "the LF is not a blank line",
		in: "data: one\nignored\r\ndata: two\n\n", want: dataEvents("one\ntwo"),
	},
	{
		name: "unknown line that ends in CR", rule: "the next line is not swallowed",
		in: "garbage\rdata: ok\n\n", want: dataEvents("ok"),
	},
	{
		name: "bare data that ends in CRLF", rule: "a data line without colon is one empty line",
		in: "data: one\ndata\r\ndata: two\n\n", want: dataEvents("one\n\ntwo"),
	},
	{
		name: "blank line of CRLF after CR", rule: "one event, not two",
		in: "data: one\r\r\n", want: dataEvents("one"),
	},
	{
		name: "JSON instead of a stream", rule: "an error body is unknown fields",
		in: "{\"error\":\"Internal Server Error\",\"message\":\"failed\"}\n",
	},
	{
		name: "prose instead of a stream", rule: "a line without colon is an unknown field",
		in: "Well, this was not expected\n\n",
	},
	{
		name: "field name with data as its prefix", rule: "datax is unknown",
		in: "datax: a value\ndata: ok\n\n", want: dataEvents("ok"),
	},
}

// Modelled on the tests of undici, Node's EventSource.
var undiciCases = []conformanceCase{
	{name: "data with a colon only", rule: "parseLine: empty data", in: "data:\n\n", want: dataEvents("")},
	{name: "data with a colon and a space", rule: "parseLine: empty data", in: "data: \n\n", want: dataEvents("")},
	{name: "data of spaces", rule: "parseLine: one space is stripped", in: "data:   \n\n", want: dataEvents("  ")},
	{name: "data with colons", rule: "parseLine: the first colon ends the name", in: "data: : \n\n", want: dataEvents(": ")},
	{name: "data beginning with a colon", rule: "parseLine: the first colon ends the name", in: "data::\n\n", want: dataEvents(":")},
	{name: "data", rule: "parseLine: data", in: "data: Hello\n\n", want: dataEvents("Hello")},
	{name: "comment", rule: "parseLine: comments are ignored", in: ":comment\n\n"},
	{name: "retry", rule: "parseLine: retry; a block of only that fires nothing", in: "retry: 1000\n\n", retries: millis(1000)},
	{name: "id", rule: "parseLine: id; a block of only that fires nothing", in: "id: 1234\n\n"},
	{name: "event", rule: "parseLine: event; a block of only that fires nothing", in: "event: custom\n\n"},
	{name: "invalid field", rule: "parseLine: a field named comment", in: "comment: invalid\n\n"},
	{name: "commented data", rule: "a comment that holds a data line", in: ":data: Hello\n\n"},
	{
		name: "all fields", rule: "processEvent",
		in:      "retry: 4000\nid: 1234\nevent: custom\ndata: Hello\n\n",
		want:    eventList{{ID: "1234", Type: "custom", Data: "Hello"}},
		retries: millis(4000),
	},
	{
		name: "last event ID from before without an id field", rule: "processEvent: the persisted id",
		in: "data: null\n\n", opts: decodeOptions{LastEventID: "1234"}, want: eventList{{ID: "1234", Data: "null"}},
	},
	{
		name: "last event ID from before and an id field", rule: "processEvent: the field wins",
		in: "id: 5\ndata: x\n\n", opts: decodeOptions{LastEventID: "1234"}, want: eventList{{ID: "5", Data: "x"}},
	},
	{name: "BOM and one event", rule: "a BOM that comes byte by byte", in: "\ufeffdata: Hello\n\n", want: dataEvents("Hello")},
	{name: "BOM alone", rule: "a stream of a BOM and no more", in: "\ufeff"},
	{name: "BOM and blank lines", rule: "blank lines after a BOM fire nothing", in: "\ufeff\n\n"},
	{name: "first two bytes of a BOM", rule: "not a BOM", in: "\xef\xbbdata: a\n\ndata: b\n\n", want: dataEvents("b")},
	{name: "first byte of a BOM", rule: "not a BOM", in: "\xefdata: a\n\ndata: b\n\n", want: dataEvents("b")},
}

// Modelled on the tests of LaunchDarkly's Go client and on the streams of its
// service. Its parser dispatches blocks without data; the standard does not.
var launchDarklyCases = []conformanceCase{
	{
		name: "named event with JSON", rule: "TestDecode",
		in: "event: eventName\ndata: {\"k\":\"v\"}\n\n", want: eventList{{Type: "eventName", Data: `{"k":"v"}`}},
	},
	{
		name: "blank lines and types without data", rule: "TestDecode, corrected by 9.2.6: no data, no event",
		in: "\n\n\nevent: event1\n\n\n\n\nevent: event2\n\n",
	},
	{
		name: "blank lines and types without data, dataless", rule: "TestDecode, as its parser answers",
		in: "\n\n\nevent: event1\n\n\n\n\nevent: event2\n\n", opts: decodeOptions{Dataless: true},
		want: eventList{{Type: "event1"}, {Type: "event2"}},
	},
	{name: "id and data", rule: "TestDecode", in: "id: abc\ndata: def\n\n", want: eventList{{ID: "abc", Data: "def"}}},
	{name: "id with a NUL", rule: "TestDecode", in: "id: a\x00bc\ndata: def\n\n", want: dataEvents("def")},
	{
		name: "last ID persists", rule: "TestDecoderTracksLastEventID",
		in:   "id: abc\ndata: first\n\ndata: second\n\nid: def\ndata:third\n\n",
		opts: decodeOptions{LastEventID: "my-id"},
		want: eventList{{ID: "abc", Data: "first"}, {ID: "abc", Data: "second"}, {ID: "def", Data: "third"}},
	},
	{
		name: "last ID overridden with nothing", rule: "TestDecoderTracksLastEventID",
		in:   "id: abc\ndata: first\n\nid: \ndata: second\n\n",
		opts: decodeOptions{LastEventID: "my-id"},
		want: eventList{{ID: "abc", Data: "first"}, {Data: "second"}},
	},
	{
		name: "last ID from before overridden with nothing", rule: "an empty id field resets the initial id too",
		in: "id:\ndata: a\n\n", opts: decodeOptions{LastEventID: "my-id"}, want: dataEvents("a"),
	},
	{
		name: "put and patch", rule: "the service: no space after colons, heartbeats of a lone colon",
		in: "event:put\ndata:{\"path\":\"/\",\"data\":{\"flags\":{}}}\n\n:\n:\nevent:patch\ndata:{\"path\":\"/flags/a\"," +
			"\"data\":{\"version\":2}}\n\n:\n",
		want: eventList{
			{Type: "put", Data: `{"path":"/","data":{"flags":{}}}`},
			{Type: "patch", Data: `{"path":"/flags/a","data":{"version":2}}`},
		},
	},
}

// Modelled on the tests of go-sse, which dispatches blocks without data and the
// unfinished event. The standard dispatches neither.
var goSSECases = []conformanceCase{
	{
		name: "id of NUL and bad retry", rule: "TestRead",
		in: "id:\x00\nretry:x\ndata: Hello!\n\n", want: dataEvents("Hello!"),
	},
	{
		name: "only ids", rule: "TestRead, Break, corrected by 9.2.6: no data, no event",
		in: "id: a\n\nid: b\n\nid: c\n",
	},
	{
		name: "only ids, dataless and unfinished", rule: "TestRead, Break, as its reader answers",
		in: "id: a\n\nid: b\n\nid: c\n", opts: decodeOptions{Dataless: true, Unfinished: true},
		want: eventList{{ID: "a"}, {ID: "b"}, {ID: "c"}},
	},
	{
		name: "spaces and line ends of each kind", rule: "TestFieldParser, normal data",
		in:   "event: soup\ndata:a bowl\ndata:  two bowls  \r\n\n",
		want: eventList{{Type: "soup", Data: "a bowl\n two bowls  "}},
	},
	{
		name: "no line end at the end", rule: "TestFieldParser, no newline at the end",
		in: ":comment\r: another comment\ndata: whatever",
	},
	{
		name: "field name with spaces after it", rule: "TestFieldParser, fields without data: it is another name",
		in: "data\ndata  \ndata:\n\n", want: dataEvents("\n"),
	},
	{
		name: "invalid fields among valid ones", rule: "TestFieldParser, invalid fields",
		in:      "i'm an invalid field:\nme too\nretry: 120\nid: 5\r\n\r\ndata:x\n\n",
		want:    eventList{{ID: "5", Data: "x"}},
		retries: millis(120),
	},
	{
		name: "only one line end at the end", rule: "TestFieldParser, one newline at the end",
		in: "data: first chunk\ndata: second chunk\r\n",
	},
	{
		name: "a stream of subscriptions", rule: "TestConnection_Subscriptions, corrected by 9.2.6",
		in: "retry: 1000\n\nevent: test\ndata: something\nid: 1\n\nevent: test2\ndata: something else\n\n" +
			"data: unnamed\nid: 2\n\ndata: never received",
		want: eventList{
			{ID: "1", Type: "test", Data: "something"},
			{ID: "1", Type: "test2", Data: "something else"},
			{ID: "2", Data: "unnamed"},
		},
		retries: millis(1000),
	},
	{
		name: "dirty end", rule: "TestConnection_dispatchDirty, corrected by 9.2.6",
		in: "data: hello\ndata: world\n",
	},
	{
		name: "dirty end, unfinished", rule: "TestConnection_dispatchDirty, as its client answers",
		in: "data: hello\ndata: world\n", opts: decodeOptions{Unfinished: true}, want: dataEvents("hello\nworld"),
	},
	{
		name: "id and retry without data", rule: "TestConnection_reconnect: both take effect",
		in: "id: 1\nretry: 2\n\ndata:x\n\n", want: eventList{{ID: "1", Data: "x"}}, retries: millis(2),
	},
	{
		name: "type after data", rule: "TestConnection_Unsubscriptions: the order of fields does not matter",
		in: "data: for one\nevent: a\n\n", want: eventList{{Type: "a", Data: "for one"}},
	},
}
