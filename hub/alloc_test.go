package hub_test

import (
	"iter"
	"testing"

	"example.com/tidings/hub"
)

// What is in the window is handed on without an allocation, to any number of
// subscribers, and in each form once it was made for the first.
func TestDeliveryDoesNotAllocate(t *testing.T) {
	h := newHub(t, nil, nil)
	const runs = 500
	publish(t, h, numbered("orders.1.status", "", 4*runs)...)
	publish(t, h, numbered("other", "", 10)...)
	untilHead(h, 4*runs+10)
	for name, sub := range map[string]hub.Subscription{
		"data":     {Topics: []string{"orders.*.status", "x.**"}, From: hub.FromStart()},
		"envelope": {Topics: []string{"**"}, From: hub.FromStart(), Format: hub.FormatEnvelope},
	} {
		for i := range 2 {
			events, err := h.Events(t.Context(), sub)
			if err != nil {
				t.Fatal(err)
			}
			next, stop := iter.Pull2(events)
			next() // tidings.open
			n := testing.AllocsPerRun(runs, func() {
				if ev, err, ok := next(); !ok || err != nil || ev.ID == "" {
					t.Fatalf("%+v, %v, %v", ev, err, ok)
				}
			})
			stop()
			if n != 0 && (name == "data" || i > 0) {
				t.Errorf("%s: %v allocations for an event, want none", name, n)
			}
		}
	}
}
