// Command tidings serves a live feed of messages over server-sent events.
//
//	tidings serve
//
// It exits with 0 after a stop by SIGINT or SIGTERM, with 2 when it was called
// wrongly, and with 1 when it failed otherwise. Errors are one line on stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"
)

// version is set by the linker for a release.
var version string

func main() {
	cli.VersionPrinter = func(cmd *cli.Command) { fmt.Fprintln(cmd.Root().Writer, "tidings", cmd.Version) }
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal is no longer caught, and ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// A failure is an error at run time. All others that a command returns are
// those of its caller.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// run runs the program and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := newCommand(stdout, stderr).Run(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "tidings: %v\n", err)
	if _, ok := errors.AsType[failure](err); ok {
		return 1
	}
	return 2
}

func newCommand(stdout, stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:            "tidings",
		Usage:           "server-sent events, served",
		Version:         buildVersion(),
		Writer:          stdout,
		ErrWriter:       stderr,
		HideHelpCommand: true,
		Commands:        []*cli.Command{serveCommand(), benchCommand()},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return fmt.Errorf("there is no command %q; see tidings --help", cmd.Args().First())
			}
			return errors.New("give a command, as in tidings serve; see tidings --help")
		},
		// Errors are returned as they are, neither printed with the help nor
		// turned into an exit.
		OnUsageError:   usageError,
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
	}
}

// usageError returns err in words of our own where the library's would mislead,
// and with where to look.
func usageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		text = "there is no flag --" + name
	}
	return fmt.Errorf("%s; see %s --help", text, cmd.FullName())
}

// buildVersion returns the version of a release, or else what the Go toolchain
// has recorded.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
