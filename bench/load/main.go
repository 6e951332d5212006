//go:build linux

// Load measures what fanload cannot: the cost of a message to one topic of many,
// other requests during a fan-out, a storm of reconnects, and streams over TLS.
// Each is a command:
//
//	load gets   -addr HOST:PORT …
//	load quiet  -addr HOST:PORT …
//	load topics -addr HOST:PORT -pid PID …
//	load storm  -addr HOST:PORT …
//	load tls    -addr HOST:PORT -tls HOST:PORT -pid PID …
//
// It talks to tidings serve, and over TLS to tidings serve, tlshub or a proxy. Without TLS it uses one
// thread. It only looks at each message, because it shares the machine with the
// server. It prints one line of JSON, and fails if it could not measure. Missing
// messages are part of the result, not a failure.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime/debug"
)

// commands take their arguments and return the result to print.
var commands = map[string]func(args []string) (any, error){
	"gets":   gets,
	"quiet":  quiet,
	"topics": topics,
	"storm":  storm,
	"tls":    secured,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: load gets|quiet|topics|storm|tls [flags]; load COMMAND -h lists them")
		os.Exit(2)
	}
	// Nothing is collected during a measurement: only the TLS streams allocate.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(1 << 30)
	result, err := commands[os.Args[1]](os.Args[2:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// A target is the server to measure, as the flags name it.
type target struct {
	addr string
	port int
	size int // of a message's data, in bytes
}

// register adds the flags that every command has.
func (t *target) register(flags *flag.FlagSet) {
	flags.StringVar(&t.addr, "addr", "127.0.0.1:8080", "the server, on a loopback address")
	flags.IntVar(&t.size, "size", 100, "bytes of a message")
}

// parse parses the arguments of a command.
func (t *target) parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	return t.resolve()
}

// resolve looks up addr, which must be an address of this machine.
func (t *target) resolve() error {
	addr, err := net.ResolveTCPAddr("tcp4", t.addr)
	if err != nil {
		return err
	}
	if !addr.IP.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address: load measures only servers on the same machine", t.addr)
	}
	t.addr, t.port = addr.String(), addr.Port
	return nil
}
