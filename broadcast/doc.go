// Package broadcast sends each value to many receivers, none of which can slow
// down the sender or another receiver.
//
// A [Channel] keeps the last values in one ring, and a [Receiver] is a
// position in it: how many values are kept does not depend on the receivers,
// and one that stalls holds nothing up. One that falls more than the ring's
// capacity behind is told so, with the exact number, and goes on with the
// oldest value that is left:
//
//	for msg, err := range messages.Subscribe(ctx).All() {
//		if gap, ok := errors.AsType[*sse.GapError](err); ok {
//			log.Printf("too slow: %d messages missed", gap.Missed)
//			continue
//		}
//		fmt.Println(msg)
//	}
//
// Where such a sequence becomes a response through sse.Serve, the client is told
// of the gap without further code.
//
// # Order and completeness
//
// All values sent to one channel stand in one true order. It agrees with the
// order of every two calls of Send of which one returned before the other
// began.
//
// A receiver gets values in that order, beginning with the first that is sent
// after Subscribe, each at most once. Between two values that are not
// neighbours in the true order it gets one or more *sse.GapError whose Missed
// add up to the number of values between them. So at any time the values
// received, the values missed and the values still to come add up to what was
// sent since Subscribe.
//
// Send, Subscribe, the end of a receiver and Close take effect one after
// another, each between its call and its return; the end of a context takes
// effect soon after it.
//
// # Gaps
//
// The gaps of this package are *sse.GapError with the Reason "lag", a Missed
// that is exact and never 0, and no ids.
package broadcast
