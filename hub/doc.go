// Package hub takes messages, has a log store them, and hands them to
// subscribers as server-sent events: each once, in order, and from where a
// subscriber left off.
//
//	h, err := hub.New(ctx, hub.NewMemoryLog(nil), nil) // or a log of package jetlog
//	...
//	p, err := h.Publish(ctx, hub.Message{Topic: "orders.42.status", Data: "shipped"})
//	...
//	http.HandleFunc("GET /orders/{order}/events", func(w http.ResponseWriter, r *http.Request) {
//		// Once it is clear that this client may read it:
//		h.ServeEvents(w, r, hub.Subscription{Topics: []string{"orders." + hub.Token(r.PathValue("order")) + ".*"}})
//	})
//
// Package httpapi has the whole as an HTTP API.
//
// # Topics
//
// A topic is a path of tokens, joined by dots, see [CheckTopic]. It exists by
// being published to. A subscription names topics or filters, see [Filter].
//
// # Positions
//
// The log has one true order of all messages, whatever their topic. A position in
// it is the id of the event before it, such as 0w3k7zq4m8tc-42: the epoch, which
// tells one log and one opening of it from the others, and a sequence number. To
// clients it is opaque. A client that comes back with the last id that it has,
// as an EventSource does by itself, gets all that followed it, from this hub or
// from another one on the same log.
//
// # What is promised
//
// Publish returns when the log has stored the message. How far that reaches is the
// log's promise: to the end of the process, or past that of the machine.
//
// From then on a subscriber whose topics match gets the message exactly once,
// after all those before it and before all those after it, whatever it was
// reading when the message was published, and however often it comes back.
// Where it does not, it is told: by a [*sse.GapError], which becomes the event
// tidings.gap. The reasons are the constants that begin with Gap.
//
// Nobody waits for a subscriber. It has no queue: it is a place in the log. One
// that is slow falls back from the window of the newest messages, which all share,
// to the log, and reads at its own pace; it catches up without a gap for as long
// as the log retains what it is owed. One that wants to be current rather than
// complete says so, see [LagSkip].
package hub
