package hub_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"example.com/tidings/hub"
)

func TestSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := hub.New(t.Context(), hub.NewMemoryLog(nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		p, err := h.Publish(t.Context(), hub.Message{Topic: "a.b", Data: "one"})
		fmt.Println(p, err)
		ev, err := h.Subscribe(t.Context(), hub.Subscription{Topics: []string{"a.*"}, From: hub.FromStart()})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for e, err := range ev {
			fmt.Println(e, err)
			if n++; n == 2 {
				break
			}
			h.Publish(t.Context(), hub.Message{Topic: "a.c", Data: "two"})
		}
	})
}
