# Varnish in front of Tidings: save as /etc/varnish/default.vcl, put in your own
# address, and give the public name to Tidings:
#
#	tidings serve --allow-host tidings.example.org
#
# A stream that is silent is kept alive every 15 seconds; pipe_timeout is 60. A stream
# takes a thread: thread_pool_max, by default 5,000 in each of two pools, limits how
# many there are. Varnish cannot pipe over HTTP/2, so leave that to the TLS proxy before
# it.

vcl 4.1;

import std;

backend hub {
	.host = "127.0.0.1";
	.port = "8080";
	.connect_timeout = 2s;

	# Varnish cannot answer after it has begun a pipe. So it must know before that
	# Tidings is down: it finds out within half a second. Until then it closes the
	# connection without an answer, after which browsers also come back.
	.probe = {
		.url = "/topics?limit=1";
		.interval = 500ms;
		.window = 1;
		.threshold = 1;
		.initial = 1;
	}
}

sub vcl_recv {
	if (req.url ~ "^/events([?]|$)" && req.http.Accept ~ "text/event-stream") {
		# If Tidings does not answer, an EventSource gets a stream that asks it to come
		# back. A 503 would end it for good. Others get Varnish's 503.
		if (!std.healthy(req.backend_hint)) {
			return (synth(700));
		}

		# A pipe holds back nothing, speaks HTTP/1.1, and closes with its client. A pass
		# would keep in memory, without bound, what a slow client has yet to read.
		return (pipe);
	}

	# Nothing else is worth a cache.
	return (pass);
}

sub vcl_synth {
	if (resp.status == 700) {
		set resp.status = 200;
		set resp.reason = "OK";
		set resp.http.Content-Type = "text/event-stream";
		set resp.http.Cache-Control = "no-store";

		# For the pages of --allow-origin. The answer holds nothing to hide.
		if (req.http.Origin) {
			set resp.http.Access-Control-Allow-Origin = req.http.Origin;
			set resp.http.Access-Control-Allow-Credentials = "true";
		}

		# With the client's own id: some clients forget theirs over an event without.
		if (req.http.Last-Event-ID ~ "^[0-9a-z-]+$") {
			synthetic({"event: tidings.unavailable
retry: 3000
data: {}
id: "} + req.http.Last-Event-ID + {"

"});
		} else {
			synthetic({"event: tidings.unavailable
retry: 3000
data: {}

"});
		}
		return (deliver);
	}
}
