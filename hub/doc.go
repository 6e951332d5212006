// Package hub takes messages, stores them in a log, and delivers them to subscribers as
// server-sent events: each once, in order, and from where a subscriber left off.
//
//	h, err := hub.New(ctx, eventlog.NewMemory(nil), nil) // or a log of package segmentlog
//	...
//	p, err := h.Publish(ctx, hub.Message{Topic: "orders.42.status", Data: "shipped"})
//	...
//	http.HandleFunc("GET /orders/{order}/events", func(w http.ResponseWriter, r *http.Request) {
//		// After checking that this client may read the order:
//		filters, err := topics.ParseFilters("orders." + topics.Token(r.PathValue("order")) + ".*")
//		if err != nil {
//			http.Error(w, "Invalid order", http.StatusBadRequest)
//			return
//		}
//		h.ServeEvents(w, r, hub.Subscription{Filters: filters})
//	})
//
// Package httpapi has all of it as an HTTP API.
//
// # Topics
//
// A topic is a path of tokens, joined by dots, see package topics. It exists as soon as
// something is published to it. A subscription has filters, which select topics.
//
// # Positions
//
// The log has one order of all messages, whatever their topic. A position in it is the id of
// the event just before it, such as 0w3k7zq4m8tc-42: an epoch and a sequence number, see
// [eventlog.Position]. To clients it is opaque. A client that reconnects with the last id
// that it has received, as an EventSource does by itself, gets everything after it, from
// this hub or from another one on the same log.
//
// # What is promised
//
// Publish returns when the log has stored the message. The log says which failures the message
// then survives. In a log in memory it lasts until the process ends. In one of package
// segmentlog it is on the disk.
//
// From then on a subscriber whose filters match gets the message exactly once, after all
// earlier messages and before all later ones. It does not matter what the subscriber was
// reading when the message was published, or how often it reconnects. A subscriber that does
// not get a message is told so: by a [*sse.GapError], which becomes the event tidings.gap.
// The constants of package sse that begin with Gap are the reasons.
//
// Publishers and other subscribers never wait for a slow subscriber. It has no queue, only a
// place in the log. A slow subscriber falls out of the window of the newest messages, which
// all share, and reads the log at its own pace. It catches up without a gap as long as the
// log retains its messages. A subscriber that would rather be current than complete asks for
// [LagSkip].
//
// # Permissions
//
// The hub authorises nothing: whoever calls it decides who may read and publish what. It ends a
// stream that may no longer be read: at [Subscription.Until], at the deadline of the context that
// ServeEvents gets, when [Subscription.Session] is done, and by [Hub.Disconnect] and [Hub.Revoke]. The
// cancellation of a request's context ends no stream whose connection was taken over: net/http
// cancels it as soon as the handler returns.
package hub
