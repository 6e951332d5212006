package sse_test

import "strings"

// The examples of WHATWG HTML 9.2.1 and 9.2.6, with other texts.
var standardCases = []conformanceCase{
	{
		name: "messages of one and of two lines", rule: "9.2.1, first example",
		in:   "data: First of three.\n\ndata: Second of three, on\ndata: two lines.\n\ndata: Third of three.\n\n",
		want: dataEvents("First of three.", "Second of three, on\ntwo lines.", "Third of three."),
	},
	{
		name: "events with types", rule: "9.2.1, second example",
		in:   "event: added\ndata: 1\n\nevent: removed\ndata: 1\n\nevent: added\ndata: 22\n\n",
		want: eventList{{Type: "added", Data: "1"}, {Type: "removed", Data: "1"}, {Type: "added", Data: "22"}},
	},
	{
		name: "three data lines make one event", rule: "9.2.6, first example",
		in:   "data: TIDE\ndata: +4\ndata: 37\n\n",
		want: dataEvents("TIDE\n+4\n37"),
	},
	{
		name: "four blocks", rule: "9.2.6, second example: a comment, an id, an id that resets, one of two leading spaces",
		in:   ": a stream for tests\n\ndata: event one\nid: 1\n\ndata:event two\nid\n\ndata:  event three\n\n",
		want: eventList{{ID: "1", Data: "event one"}, {Data: "event two"}, {Data: " event three"}},
	},
	{
		name: "four blocks, the last without its blank line", rule: "9.2.6, second example: the end of the stream does not dispatch",
		in:   ": a stream for tests\n\ndata: event one\nid: 1\n\ndata:event two\nid\n\ndata:  event three\n",
		want: eventList{{ID: "1", Data: "event one"}, {Data: "event two"}},
	},
	{
		name: "empty data is dispatched, the unfinished block is not", rule: "9.2.6, third example",
		in:   "data\n\ndata\ndata\n\ndata:",
		want: dataEvents("", "\n"),
	},
	{
		name: "the space after the colon is optional", rule: "9.2.6, fourth example",
		in:   "data:same\n\ndata: same\n\n",
		want: dataEvents("same", "same"),
	},
}

// Modelled on web-platform-tests, eventsource/format-* and event-data.
var wptCases = []conformanceCase{
	{
		name: "BOM", rule: "format-bom: stripped at the start only",
		in:   "\ufeffdata:1\n\n\ufeffdata:2\n\ndata:3\n\n",
		want: dataEvents("1", "3"),
	},
	{
		name: "double BOM", rule: "format-bom-2: only one is stripped, the other is part of the field name",
		in:   "\ufeff\ufeffdata:1\n\ndata:2\n\ndata:3\n\n",
		want: dataEvents("2", "3"),
	},
	{
		name: "comments", rule: "format-comments: of any length, with any content, between data lines",
		in: "data:1\r:\x00\n:\r\ndata:2\n:" + strings.Repeat("x", 2049) + "\rdata:3\n:data:fail\r:" +
			strings.Repeat("x", 2049) + "\ndata:4\n\n",
		want: dataEvents("1\n2\n3\n4"),
	},
	{
		name: "end before the final blank line", rule: "format-data-before-final-empty-line",
		in:      "retry:1000\ndata:test1\n\nid:test\ndata:test2",
		want:    dataEvents("test1"),
		retries: millis(1000),
	},
	{
		name: "data lines of every form", rule: "format-field-data",
		in:   "data:\n\ndata\ndata\n\ndata:test\n\n",
		want: dataEvents("", "\n", "test"),
	},
	{
		name: "empty event type", rule: "format-field-event-empty: the default type",
		in:   "event:\ndata: x\n\n",
		want: dataEvents("x"),
	},
	{
		name: "event type", rule: "format-field-event: for its block only",
		in:   "event:test\ndata:x\n\ndata:y\n\n",
		want: eventList{{Type: "test", Data: "x"}, {Data: "y"}},
	},
	{
		name: "id beyond ASCII", rule: "format-field-id: UTF-8",
		in:   "id: …\ndata: hello\n\n",
		want: eventList{{ID: "…", Data: "hello"}},
	},
	{
		name: "id after data", rule: "format-field-id-2: the order of fields does not matter",
		in:   "data:hello\nid:7\n\ndata:again\n\n",
		want: eventList{{ID: "7", Data: "hello"}, {ID: "7", Data: "again"}},
	},
	{
		name: "id persists", rule: "format-field-id-3",
		in:   "id: 1\ndata: 1\n\ndata: 2\n\nid: 2\ndata: 3\n\ndata: 4\n\n",
		want: eventList{{ID: "1", Data: "1"}, {ID: "1", Data: "2"}, {ID: "2", Data: "3"}, {ID: "2", Data: "4"}},
	},
	{
		name: "empty id resets", rule: "format-field-id-3",
		in:   "id: 1\ndata: 1\n\nid:\ndata: 2\n\ndata: 3\n\n",
		want: eventList{{ID: "1", Data: "1"}, {Data: "2"}, {Data: "3"}},
	},
	{
		name: "id without a colon resets", rule: "format-field-id-3",
		in:   "id: 1\ndata: 1\n\nid\ndata: 2\n\ndata: 3\n\n",
		want: eventList{{ID: "1", Data: "1"}, {Data: "2"}, {Data: "3"}},
	},
	{
		name: "id of NULs", rule: "format-field-id-null: ignored",
		in: "id: \x00\x00\ndata: hello\n\n", want: dataEvents("hello"),
	},
	{
		name: "id that ends in NUL", rule: "format-field-id-null: ignored",
		in: "id: x\x00\ndata: hello\n\n", want: dataEvents("hello"),
	},
	{
		name: "id that begins with NUL", rule: "format-field-id-null: ignored",
		in: "id: \x00x\ndata: hello\n\n", want: dataEvents("hello"),
	},
	{
		name: "id with NUL inside", rule: "format-field-id-null: ignored",
		in: "id: x\x00x\ndata: hello\n\n", want: dataEvents("hello"),
	},
	{
		name: "id of a space and NUL", rule: "format-field-id-null: ignored",
		in: "id:  \x00\ndata: hello\n\n", want: dataEvents("hello"),
	},
	{
		name: "field names that are almost data", rule: "format-field-parsing",
		in: "data:\x00\ndata:  2\rData:1\ndata\x00:2\ndata:1\r\x00data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n" +
			" data:32\ndata:4\n\n",
		want: dataEvents("\x00\n 2\n1\n3\n\n4"),
	},
	{
		name: "retry", rule: "format-field-retry",
		in: "retry:3000\ndata:x\n\n", want: dataEvents("x"), retries: millis(3000),
	},
	{
		name: "bogus retry", rule: "format-field-retry-bogus: the earlier value stays",
		in: "retry:3000\nretry:1000x\ndata:x\n\n", want: dataEvents("x"), retries: millis(3000),
	},
	{
		name: "empty retry", rule: "format-field-retry-empty",
		in: "retry\ndata:test\n\n", want: dataEvents("test"),
	},
	{
		name: "unknown fields", rule: "format-field-unknown",
		in:   "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacomment\ndata:test\n\n",
		want: dataEvents("test\n\ntest"),
	},
	{
		name: "leading tab and lone space", rule: "format-leading-space: one U+0020 is stripped, a tab is not",
		in:   "data:\ttest\rdata: \ndata:test\n\n",
		want: dataEvents("\ttest\n\ntest"),
	},
	{
		name: "mixed line ends", rule: "format-newlines",
		in: "data:test\r\ndata\ndata:test\r\n\r", want: dataEvents("test\n\ntest"),
	},
	{
		name: "NUL in data", rule: "format-null-character: kept",
		in: "data:\x00\n\n\n\n", want: dataEvents("\x00"),
	},
	{
		name: "data beyond ASCII", rule: "format-utf-8",
		in: "data:ok…\n\n", want: dataEvents("ok…"),
	},
	{
		name: "lines and data", rule: "event-data: a block without a data line fires nothing",
		in:   "data:msg\ndata: msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n",
		want: dataEvents("msg\nmsg", "", "end"),
	},
}

// Modelled on the unit tests of Blink's EventSourceParser.
var blinkCases = []conformanceCase{
	{name: "a lone blank line", rule: "EmptyMessageEventShouldNotBeDispatched", in: "\n"},
	{name: "one message", rule: "DispatchSimpleMessageEvent", in: "data:hi\n\n", want: dataEvents("hi")},
	{
		name: "last event ID from before", rule: "ConstructWithLastEventId",
		in: "data:hi\n\n", opts: decodeOptions{LastEventID: "before"},
		want: eventList{{ID: "before", Data: "hi"}},
	},
	{
		name: "message with id", rule: "DispatchMessageEventWithLastEventId",
		in: "id:99\ndata:hi\n\n", want: eventList{{ID: "99", Data: "hi"}},
	},
	{
		name: "id in a block without data", rule: "LastEventIdCanBeUpdatedEvenWhenDataIsEmpty",
		in: "id:99\n\ndata:later\n\n", want: eventList{{ID: "99", Data: "later"}},
	},
	{
		name: "custom type", rule: "DispatchMessageEventWithCustomEventType",
		in: "event:foo\ndata:hi\n\n", want: eventList{{Type: "foo", Data: "hi"}},
	},
	{
		name: "retry alone", rule: "RetryTakesEffectEvenWhenNotDispatching",
		in: "retry:999\n", retries: millis(999),
	},
	{
		name: "type is reset", rule: "EventTypeShouldBeReset",
		in: "event:foo\ndata:hi\n\ndata:bye\n\n", want: eventList{{Type: "foo", Data: "hi"}, {Data: "bye"}},
	},
	{
		name: "type of a block without data is reset", rule: "9.2.6, dispatch, step 2: the event type buffer is emptied",
		in: "event:foo\n\ndata:bye\n\n", want: dataEvents("bye"),
	},
	{name: "data is reset", rule: "DataShouldBeReset", in: "data:hi\n\n\n", want: dataEvents("hi")},
	{
		name: "id is not reset", rule: "LastEventIdShouldNotBeReset",
		in: "id:99\ndata:hi\n\ndata:bye\n\n", want: eventList{{ID: "99", Data: "hi"}, {ID: "99", Data: "bye"}},
	},
	{
		name: "various line ends", rule: "VariousNewLinesShouldBeAllowed",
		in: "data:hi\r\n\rdata:bye\r\r", want: dataEvents("hi", "bye"),
	},
	{
		name: "retry that is not digits", rule: "NonDigitRetryShouldBeIgnored",
		in: "retry:a0\nretry:xi\nretry:2a\nretry:09a\nretry:1\b\nretry:  1234\nretry:456 \n",
	},
	{
		name: "unrecognized fields", rule: "UnrecognizedFieldShouldBeIgnored",
		in: "data:hi\nfoo:bar\nbaz\n\n", want: dataEvents("hi"),
	},
	{
		name: "comment that looks like a field", rule: "CommentShouldBeIgnored",
		in: "data:hi\n:event:a\n\n", want: dataEvents("hi"),
	},
	{
		name: "BOM on two lines of a block", rule: "BOMShouldBeIgnored: the second is part of a field name",
		in: "\ufeffdata:hi\n\ufeffdata:bye\n\n", want: dataEvents("hi"),
	},
	{
		name: "field without colon", rule: "ColonlessLineShouldBeTreatedAsNameOnlyField",
		in: "data:hi\nevent:a\nevent\n\n", want: dataEvents("hi"),
	},
	{
		name: "leading and trailing spaces", rule: "AtMostOneLeadingSpaceCanBeSkipped",
		in:   "data:  hi  \nevent:  type \n\n",
		want: eventList{{Type: " type ", Data: " hi  "}},
	},
	{
		name: "data accumulates", rule: "DataShouldAccumulate",
		in: "data\ndata:hi\ndata: you\ndata\n\n", want: dataEvents("\nhi\nyou\n"),
	},
	{
		name: "type does not accumulate", rule: "EventShouldNotAccumulate",
		in: "data:hi\nevent:a\nevent:b\n\n", want: eventList{{Type: "b", Data: "hi"}},
	},
	{
		name: "all fields and line ends", rule: "FeedDataOneByOne",
		in: "data:hi\r\ndata:you\revent:a\revent:b\nid:4\n\nid:8\ndata:bye\r\n\r",
		want: eventList{
			{ID: "4", Type: "b", Data: "hi\nyou"},
			{ID: "8", Data: "bye"},
		},
	},
	{
		name: "ill-formed UTF-8", rule: "InvalidUTF8Sequence",
		in: "data:\xffhi\xc2\ndata:bye\n\n", want: dataEvents("\ufffdhi\ufffd\nbye"),
	},
	{
		name: "id with NUL keeps the id before", rule: "IgnoreIdHavingNullCharacter",
		in:   "id:99\ndata:hi\n\nid:4\x0023\ndata:bye\n\n",
		want: eventList{{ID: "99", Data: "hi"}, {ID: "99", Data: "bye"}},
	},
}
