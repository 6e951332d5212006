// Package eventsource is a client for server-sent events. It comes back after
// every interruption, and continues where it was:
//
//	client := eventsource.New("http://127.0.0.1:8080/events?topic=orders.*", nil)
//	for ev, err := range client.Events(ctx) {
//		if err != nil {
//			log.Print(err) // a gap: the sequence goes on. After any other error it ends
//			continue
//		}
//		fmt.Println(ev.ID, ev.Data)
//	}
//
// The client works with every server that follows the standard, WHATWG HTML
// 9.2. What it knows beyond that about Tidings' own hub, it learns from the
// hub's events.
//
// # When it reconnects
//
// A sequence ends without an error after status 204, or after the event
// tidings.end with the reason "finished". The client takes any other end of a
// response, an error of the network, and the statuses 408, 429 and 5xx for
// temporary. It connects again with the last event ID, also if the first
// attempt failed. All other statuses end the sequence with an error.
// [Options.Standard], [Options.FailFast] and [Options.Decide] change these
// rules.
//
// Before an attempt the client waits for the larger of two random times. One is
// 1 to 1½ times R, where R is what the server asked for last, with a retry field
// or a Retry-After header. The other is ½ to 1 times the smaller of 30 s and
// 1 s·2ⁿ, where n counts the attempts. n begins at 0 again after a stream of 60
// seconds. If the server or [Options.Delay] asks for no wait at all, the client
// returns at once after a stream that had opened.
//
// # What it delivers
//
// The position is the last event ID with which the client would reconnect. It
// moves past an event when the consumer comes back for the next one. So an event
// whose handling was interrupted comes again.
//
// Nothing is queued. The consumer's goroutine reads the response, so a slow
// consumer slows the connection down. The client starts no goroutine of its own.
package eventsource
