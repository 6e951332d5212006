package stream_test

import (
	"slices"
	"strconv"
	"testing"

	"example.com/tidings/stream"
)

func TestFilter(t *testing.T) {
	odd := func(v int) bool { return v%2 == 1 }
	got := trace(t, stream.Filter(newSource(1, 2, gap, 3, 4, errBoom).seq(), odd))
	if want := []string{"1", "gap", "3", "boom"}; !slices.Equal(got, want) {
		t.Errorf("yielded %q, want %q", got, want)
	}
}

func TestFilterMap(t *testing.T) {
	var got []int
	for v, err := range stream.FilterMap(stream.Of("1", "x", "3"), func(s string) (int, bool, error) {
		v, err := strconv.Atoi(s)
		return v, err == nil, nil
	}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	if want := []int{1, 3}; !slices.Equal(got, want) {
		t.Errorf("yielded %v, want %v", got, want)
	}
}
