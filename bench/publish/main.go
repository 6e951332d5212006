//go:build linux

// Publish measures how fast a server takes messages, and what that costs. Each
// measurement is a command:
//
//	publish load   publishes, and times the acknowledgements
//	publish replay reads stored messages as one client
//	publish resume times how soon a client that comes back gets what it missed
//	publish topics times the pages of GET /topics
//	publish start  kills and ends a server, and times its starts
//	publish memory reports the memory of an idle server
//	publish fsync  times small appends with fdatasync: the disk's yardstick
//	publish serve  is a bare net/http handler: the yardstick of single messages
//
// The topics that load publishes to have numbered names: see -topics. The others take
// the same flag, and then know the names. It prints one line of JSON, and fails if it
// could not measure. Messages that the server refused are part of the result.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// A command has a name, a line of help, and a function that takes its arguments and
// returns the result to print.
type command struct {
	name, help string
	run        func(args []string) (any, error)
}

var commands = []command{
	{"load", "publish, and time the acknowledgements", load},
	{"replay", "read stored messages as one client", replay},
	{"resume", "time how soon a client that comes back gets what it missed", resume},
	{"topics", "time the pages of GET /topics", pages},
	{"start", "kill and end a server, and time its starts", starts},
	{"memory", "report the memory of an idle server", memory},
	{"fsync", "time small appends with fdatasync", fsync},
	{"serve", "be a bare net/http handler", serve},
}

func main() {
	name := ""
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == name })
	if i < 0 {
		if slices.Contains([]string{"-h", "-help", "--help", "help"}, name) {
			usage(os.Stdout)
			return
		}
		usage(os.Stderr)
		os.Exit(2)
	}
	// Nothing is collected during most measurements.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(1 << 30)
	result, err := commands[i].run(os.Args[2:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "publish %s: %v\n", name, err)
		os.Exit(1)
	}
}

func usage(w io.Writer) {
	fmt.Fprint(w, "usage: publish COMMAND [flags]; publish COMMAND -h lists the flags of a command\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-8s%s\n", c.name, c.help)
	}
}

// newFlags returns the flags of a command, with a text for -h.
func newFlags(name, synopsis, text string) *flag.FlagSet {
	flags := flag.NewFlagSet("publish "+name, flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: publish %s %s\n\n%s\n\n", name, synopsis, strings.TrimSpace(text))
		flags.PrintDefaults()
	}
	return flags
}

// parse parses the arguments of a command, of which n are not flags.
func parse(flags *flag.FlagSet, args []string, n int) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != n {
		return fmt.Errorf("got %d arguments besides the flags, want %d", flags.NArg(), n)
	}
	return nil
}

// boundFlag adds the flag -within.
func boundFlag(flags *flag.FlagSet) *time.Duration {
	return flags.Duration("within", 5*time.Minute, "fail if it takes longer than this")
}

// addrFlag adds the flag -addr.
func addrFlag(flags *flag.FlagSet) *string {
	return flags.String("addr", "127.0.0.1:8080", "the server, `HOST:PORT`")
}
