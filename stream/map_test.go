package stream_test

import (
	"slices"
	"strconv"
	"testing"

	"example.com/tidings/sse"
	"example.com/tidings/stream"
)

func TestMap(t *testing.T) {
	var got []string
	for s, err := range stream.Map(stream.Of(1, 2, 3), func(v int) (string, error) { return strconv.Itoa(10 * v), nil }) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	if want := []string{"10", "20", "30"}; !slices.Equal(got, want) {
		t.Errorf("yielded %q, want %q", got, want)
	}
}

// sse.JSON fails for a value that JSON cannot represent, and the error ends the
// sequence.
func TestMapWithJSON(t *testing.T) {
	events := stream.Map(stream.Of[any](1, func() {}, 3), func(v any) (sse.Event, error) { return sse.JSON("n", v) })
	var got []sse.Event
	var last error
	for e, err := range events {
		if last = err; err == nil {
			got = append(got, e)
		}
	}
	if want := []sse.Event{{Type: "n", Data: "1"}}; !slices.Equal(got, want) || last == nil {
		t.Errorf("yielded %v, then the error %v; want %v and an error", got, last, want)
	}
}
