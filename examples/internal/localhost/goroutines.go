//go:build goroutines && unix

package localhost

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// The tests build the programs with the tag goroutines to see that nothing is
// left behind when a client has gone: on SIGUSR1 such a program prints how many
// goroutines it has.
func init() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	go func() {
		for range asked {
			fmt.Println("goroutines", runtime.NumGoroutine())
		}
	}()
}
