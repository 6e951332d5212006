package stream_test

import (
	"context"
	"fmt"
	"iter"
	"os"
	"strconv"
	"time"

	"example.com/tidings/sse"
	"example.com/tidings/stream"
)

// countdown is a sequence written by hand, like stream! in Rust.
func countdown(ctx context.Context, d time.Duration) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		for n := 3; n > 0; n-- {
			if stream.Sleep(ctx, d) != nil {
				return // ctx is done
			}
			if !yield(sse.Event{Data: fmt.Sprint("T-minus ", n)}, nil) {
				return // the consumer has stopped
			}
		}
		yield(sse.Event{Type: "liftoff", Data: "Liftoff!"}, nil)
	}
}

// A sequence is a plain function with the parameter yield. It can loop, wait
// and call other functions.
func Example_sequence() {
	for event, err := range countdown(context.Background(), time.Millisecond) {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(event.Type, event.Data)
	}
	// Output:
	//  T-minus 3
	//  T-minus 2
	//  T-minus 1
	// liftoff Liftoff!
}

// readings is a sequence that may fail, like try_stream! in Rust. In place of
// the question mark there, it yields the error and returns.
func readings(lines []string) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		defer fmt.Println("closed") // releases the resources of the sequence
		for i, line := range lines {
			v, err := strconv.Atoi(line)
			if err != nil {
				yield(0, fmt.Errorf("line %d: %w", i+1, err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// A sequence that fails yields the error in place of a value and returns.
func Example_failingSequence() {
	for v, err := range readings([]string{"12", "13", "x", "14"}) {
		if err != nil {
			fmt.Println("error:", err)
			break
		}
		fmt.Println(v)
	}
	// Output:
	// 12
	// 13
	// error: line 3: strconv.Atoi: parsing "x": invalid syntax
	// closed
}

// This prints the wire form of three ticks that are at least a millisecond
// apart.
func ExampleThrottle() {
	type tick struct {
		Seq     int    `json:"seq"`
		Message string `json:"message"`
	}
	ctx := context.Background()

	ticks := stream.Map(stream.Of(0, 1, 2), func(n int) (sse.Event, error) {
		return sse.JSON("tick", tick{n, fmt.Sprint("tick ", n)})
	})
	var wire []byte
	for event, err := range stream.Throttle(ctx, ticks, time.Millisecond) {
		if err == nil {
			wire, err = event.AppendText(wire)
		}
		if err != nil {
			fmt.Println(err)
			break
		}
	}
	os.Stdout.Write(wire)
	// Output:
	// event: tick
	// data: {"seq":0,"message":"tick 0"}
	//
	// event: tick
	// data: {"seq":1,"message":"tick 1"}
	//
	// event: tick
	// data: {"seq":2,"message":"tick 2"}
}

// Enumerate numbers the ticks of a clock.
func ExampleEvery() {
	ticks := stream.Every(context.Background(), time.Millisecond)
	for tick, err := range stream.Take(stream.Enumerate(ticks), 3) {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(tick.Index)
	}
	// Output:
	// 0
	// 1
	// 2
}

// FilterMap keeps the changes of one order and turns them into events.
func ExampleFilterMap() {
	type change struct {
		order  int
		status string
	}
	changes := stream.Of(change{7, "paid"}, change{8, "paid"}, change{7, "sent"})

	events := stream.FilterMap(changes, func(c change) (sse.Event, bool, error) {
		if c.order != 7 {
			return sse.Event{}, false, nil
		}
		event, err := sse.JSON("status", c.status)
		return event, true, err
	})
	for event, err := range events {
		fmt.Println(event.Type, event.Data, err)
	}
	// Output:
	// status "paid" <nil>
	// status "sent" <nil>
}

// Merge joins messages from a channel with regular signs of life. Each source
// gets a context, which Merge ends when the consumer stops.
func ExampleMerge() {
	messages := make(chan string, 2)
	messages <- "hello"
	messages <- "hi there"

	merged := stream.Merge(context.Background(),
		func(ctx context.Context) iter.Seq2[sse.Event, error] {
			return stream.Map(stream.Receive(ctx, messages), func(text string) (sse.Event, error) {
				return sse.Event{Data: text}, nil
			})
		},
		func(ctx context.Context) iter.Seq2[sse.Event, error] {
			return stream.Map(stream.Every(ctx, time.Hour), func(time.Time) (sse.Event, error) {
				return sse.Event{Comment: "alive"}, nil
			})
		},
	)
	for event, err := range stream.Take(merged, 3) {
		fmt.Println(event.Data+event.Comment, err)
	}
	// Unordered output:
	// hello <nil>
	// hi there <nil>
	// alive <nil>
}
