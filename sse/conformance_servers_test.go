package sse_test

import "strings"

// Streams in the form that real servers send, with other contents.
var serverCases = []conformanceCase{
	{
		name: "OpenAI chat completions", rule: "unnamed JSON events and a terminator that is not JSON",
		in: "data: {\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n" +
			"data: {\"id\":\"c-1\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
		want: dataEvents(
			`{"id":"c-1","object":"chat.completion.chunk","choices":[{"delta":{"content":"Hi"}}]}`,
			`{"id":"c-1","choices":[{"delta":{},"finish_reason":"stop"}]}`,
			"[DONE]",
		),
	},
	{
		name: "OpenAI responses", rule: "each event typed, its type in the JSON again",
		in: "event: response.created\ndata: {\"type\":\"response.created\"}\n\n" +
			"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"H\"}\n\n",
		want: eventList{
			{Type: "response.created", Data: `{"type":"response.created"}`},
			{Type: "response.output_text.delta", Data: `{"type":"response.output_text.delta","delta":"H"}`},
		},
	},
	{
		name: "OpenAI terminator without data before it", rule: "an event whose type has no data line is not dispatched",
		in: "event: done\n\ndata: [DONE]\n\n", want: dataEvents("[DONE]"),
	},
	{
		name: "OpenAI-compatible server that forgets the last blank line", rule: "dropped",
		in: "data: {\"n\":1}\n\ndata: [DONE]\n", want: dataEvents(`{"n":1}`),
	},
	{
		name: "OpenAI-compatible server that forgets the last blank line, unfinished", rule: "kept by the option",
		in: "data: {\"n\":1}\n\ndata: [DONE]\n", opts: decodeOptions{Unfinished: true}, want: dataEvents(`{"n":1}`, "[DONE]"),
	},
	{
		name: "OpenAI-compatible server that forgets every line end at the end, unfinished", rule: "kept by the option",
		in: "data: {\"n\":1}\n\ndata: [DONE]", opts: decodeOptions{Unfinished: true}, want: dataEvents(`{"n":1}`, "[DONE]"),
	},
	{
		name: "OpenRouter", rule: "comments with text while it waits",
		in: ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\ndata: {\"a\":1}\n\n", want: dataEvents(`{"a":1}`),
	},
	{
		name: "Anthropic messages", rule: "typed events, pings among them",
		in: "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n" +
			"event: ping\ndata: {\"type\": \"ping\"}\n\n" +
			"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"¡\"}}\n\n" +
			"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
		want: eventList{
			{Type: "message_start", Data: `{"type":"message_start","message":{"id":"m"}}`},
			{Type: "ping", Data: `{"type": "ping"}`},
			{Type: "content_block_delta", Data: `{"type":"content_block_delta","delta":{"text":"¡"}}`},
			{Type: "message_stop", Data: `{"type":"message_stop"}`},
		},
	},
	{
		name: "Anthropic end without its blank line", rule: "dropped",
		in:   "event: ping\ndata: {}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n",
		want: eventList{{Type: "ping", Data: "{}"}},
	},
	{
		name: "Anthropic end without its blank line, unfinished", rule: "kept by the option",
		in:   "event: ping\ndata: {}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n",
		opts: decodeOptions{Unfinished: true},
		want: eventList{{Type: "ping", Data: "{}"}, {Type: "message_stop", Data: `{"type":"message_stop"}`}},
	},
	{
		name: "Anthropic event without data, dataless", rule: "kept by the option",
		in:   "event: vertex_event\n\nevent: ping\ndata: {}\n\n",
		opts: decodeOptions{Dataless: true},
		want: eventList{{Type: "vertex_event"}, {Type: "ping", Data: "{}"}},
	},
	{
		name: "Gemini", rule: "CRLF throughout, JSON over one line",
		in:   "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"a\"}]}}]}\r\n\r\ndata: {\"usage\": 2}\r\n\r\n",
		want: dataEvents(`{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}`, `{"usage": 2}`),
	},
	{
		name: "text-generation-inference", rule: "no space after the colon",
		in: "data:{\"token\":{\"text\":\" a\"}}\n\ndata:{\"token\":{\"text\":\" b\"}}\n\n", want: dataEvents(
			`{"token":{"text":" a"}}`, `{"token":{"text":" b"}}`),
	},
	{
		name: "text deltas with leading spaces", rule: "only the first space is the protocol's",
		in: "data:  word\n\ndata:\n\ndata:   \n\n", want: dataEvents(" word", "", "  "),
	},
	{
		name: "MCP", rule: "an event with an id and empty data to resume from, then JSON-RPC",
		in: "id: s1-0\ndata: \n\nevent: message\nid: s1-1\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n",
		want: eventList{
			{ID: "s1-0"},
			{ID: "s1-1", Type: "message", Data: `{"jsonrpc":"2.0","id":1,"result":{}}`},
		},
	},
	{
		name: "Wikimedia", rule: "an :ok first, ids that are JSON arrays",
		in: ":ok\n\nevent: message\nid: [{\"topic\":\"eqiad.mediawiki.change\",\"partition\":0,\"timestamp\":1780315200000}," +
			"{\"topic\":\"codfw.mediawiki.change\",\"partition\":0,\"offset\":-1}]\ndata: {\"wiki\":\"dewiki\"}\n\n",
		want: eventList{{
			ID: `[{"topic":"eqiad.mediawiki.change","partition":0,"timestamp":1780315200000},` +
				`{"topic":"codfw.mediawiki.change","partition":0,"offset":-1}]`,
			Type: "message", Data: `{"wiki":"dewiki"}`,
		}},
	},
	{
		name: "LaunchDarkly with a large put", rule: "one data line beyond any read buffer's first size",
		in:   "event: put\ndata: {\"flags\":\"" + strings.Repeat("0123456789", 420) + "\"}\n\n:\n",
		want: eventList{{Type: "put", Data: `{"flags":"` + strings.Repeat("0123456789", 420) + `"}`}},
	},
	{
		name: "Firebase", rule: "keep-alive as a typed event whose data is null",
		in:   "event: put\ndata: {\"path\":\"/\",\"data\":null}\n\nevent: keep-alive\ndata: null\n\n",
		want: eventList{{Type: "put", Data: `{"path":"/","data":null}`}, {Type: "keep-alive", Data: "null"}},
	},
	{
		name: "axum", rule: "keep-alive as a lone colon and a blank line",
		in: "event: tick\ndata: 1\nid: 1\n\n:\n\n:\n\ndata: 2\n\n", want: eventList{{ID: "1", Type: "tick", Data: "1"}, {ID: "1", Data: "2"}},
	},
	{
		name: "sse-starlette", rule: "CRLF, a comment with a time",
		in:   "id: 1\r\nevent: update\r\ndata: a\r\ndata: b\r\n\r\n: ping - 2026-06-01 12:00:00+00:00\r\n\r\n",
		want: eventList{{ID: "1", Type: "update", Data: "a\nb"}},
	},
	{
		name: "Spring", rule: "no spaces, id and event before data, a comment inside",
		in: "id:7\nevent:progress\n:half\nretry:3000\ndata:50\n\n", want: eventList{{ID: "7", Type: "progress", Data: "50"}},
		retries: millis(3000),
	},
	{
		name: "r3labs", rule: "data before the event field",
		in: "id: 1\ndata: payload\nevent: kind\n\n", want: eventList{{ID: "1", Type: "kind", Data: "payload"}},
	},
	{
		name: "PHP with padding", rule: "two kilobytes of comment first, for old clients and proxies",
		in: ":" + strings.Repeat(" ", 2048) + "\nretry: 2000\n\ndata: x\n\n", want: dataEvents("x"), retries: millis(2000),
	},
	{
		name: "Mercure", rule: "ids that are URNs, multi-line JSON",
		in:   "id: urn:uuid:0b0e8f6a-3b1c-4f0e-9b2e-000000000001\ndata: {\ndata:   \"a\": 1\ndata: }\n\n",
		want: eventList{{ID: "urn:uuid:0b0e8f6a-3b1c-4f0e-9b2e-000000000001", Data: "{\n  \"a\": 1\n}"}},
	},
	{
		name: "Nchan", rule: "ids with colons",
		in: ": hi\n\nid: 1780315200:0\ndata: m\n\n", want: eventList{{ID: "1780315200:0", Data: "m"}},
	},
	{
		name: "Particle", rule: "blank lines and :ok first, two blank lines between events",
		in: "\n:ok\n\nevent: temp\ndata: {\"data\":\"21\"}\n\n\nevent: temp\ndata: {\"data\":\"22\"}\n\n\n",
		want: eventList{
			{Type: "temp", Data: `{"data":"21"}`},
			{Type: "temp", Data: `{"data":"22"}`},
		},
	},
	{
		name: "datastar", rule: "one event of many data lines of HTML",
		in: "event: datastar-patch-elements\ndata: selector #a\ndata: elements <div id=\"a\">\ndata: elements   x: y\n" +
			"data: elements </div>\n\n",
		want: eventList{{
			Type: "datastar-patch-elements",
			Data: "selector #a\nelements <div id=\"a\">\nelements   x: y\nelements </div>",
		}},
	},
	{
		name: "HTML error page", rule: "unknown fields only",
		in: "<!DOCTYPE html>\r\n<html><body style=\"color: red\">\r\n\r\n<h1>502: Bad Gateway</h1>\r\n\r\n</body></html>\r\n\r\n",
	},
	{
		name: "newline-delimited JSON", rule: "unknown fields only",
		in: "{\"data\":1}\n{\"data\":2}\n\n",
	},
	{
		name: "a proxy that glues an error to a data line", rule: "it is data",
		in: "data: {\"a\":1}{\"error\":\"timeout\"}\n\n", want: dataEvents(`{"a":1}{"error":"timeout"}`),
	},
	{
		name: "pretty-printed JSON under one data line", rule: "the lines after the first are unknown fields",
		in: "data: {\n  \"a\": 1\n}\n\n", want: dataEvents("{"),
	},
	{
		name: "base64 in several data lines", rule: "joined with LF",
		in: "data:AAECAwQF\ndata:BgcICQ==\n\n", want: dataEvents("AAECAwQF\nBgcICQ=="),
	},
	{
		name: "Tidings gap", rule: "comment, type, data, id last",
		in: ": 3 missed\nevent: tidings.gap\ndata: {\"reason\":\"lag\",\"missed\":3}\n\nevent: tick\ndata: 9\nid: e-9\n\n",
		want: eventList{
			{Type: "tidings.gap", Data: `{"reason":"lag","missed":3}`},
			{ID: "e-9", Type: "tick", Data: "9"},
		},
	},
}
