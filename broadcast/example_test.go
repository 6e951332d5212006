package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"example.com/tidings/broadcast"
	"example.com/tidings/sse"
)

// Every receiver gets every value.
func Example() {
	ctx := context.Background() // of a request, usually
	messages := broadcast.New[string](64)

	var done sync.WaitGroup
	received := make([][]string, 2)
	for i := range received {
		receiver := messages.Subscribe(ctx) // receives what is sent from here on
		done.Go(func() {
			for msg, err := range receiver.All() {
				if err != nil {
					continue // a gap; it would need to be 64 messages behind
				}
				received[i] = append(received[i], msg)
			}
		})
	}

	fmt.Println("sent to", messages.Send("hello"))
	fmt.Println("sent to", messages.Send("hi there"))
	messages.Close() // receivers get what is left, then their loops end
	done.Wait()
	fmt.Println(received)
	// Output:
	// sent to 2
	// sent to 2
	// [[hello hi there] [hello hi there]]
}

// A receiver that falls behind is told how many values it missed, and goes on.
func ExampleReceiver_All_lag() {
	ticks := broadcast.New[int](3)
	receiver := ticks.Subscribe(context.Background())
	for n := range 10 {
		ticks.Send(n) // never waits for the receiver
	}
	ticks.Close()

	for n, err := range receiver.All() {
		if gap, ok := errors.AsType[*sse.GapError](err); ok {
			fmt.Println("missed", gap.Missed)
			continue
		}
		fmt.Println("received", n)
	}
	// Output:
	// missed 7
	// received 7
	// received 8
	// received 9
}

// Receive takes one value at a time, with a context for each.
func ExampleReceiver_Receive() {
	ctx := context.Background()
	answers := broadcast.New[string](8)
	receiver := answers.Subscribe(ctx)
	defer receiver.Close()
	answers.Send("42")

	answer, err := receiver.Receive(ctx)
	fmt.Println(answer, err)

	answers.Close()
	_, err = receiver.Receive(ctx)
	fmt.Println(errors.Is(err, broadcast.ErrClosed))
	// Output:
	// 42 <nil>
	// true
}
