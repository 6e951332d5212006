package main

import (
	"os"
	"runtime"
	"sync"
)

// Go takes a processor from a goroutine after 10 milliseconds only. Where one of the log's has much
// to do, such as writing the index, those that wait for the same processor wait so long. With a few
// more of Go's processors than the machine has, the system shares them out in shorter slices.
const (
	leastMoreProcessors = 2
	moreProcessorsOf    = 4 // one for each so many
)

// processors returns the value of GOMAXPROCS for a number of processors that Go may use.
func processors(n int) int { return n + max(leastMoreProcessors, n/moreProcessorsOf) }

// moreProcessors sets GOMAXPROCS once, unless the environment does. Only a program should do that:
// the packages of the library leave the process as it is.
var moreProcessors = sync.OnceFunc(func() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processors(runtime.GOMAXPROCS(0)))
	}
})
