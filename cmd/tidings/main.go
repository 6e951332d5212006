// Command tidings serves a hub of durable topics over server-sent events.
//
//	tidings serve
//
//	tidings sub 'orders.*'
//	tidings pub orders.42 shipped
//
// The server exits with 0 after SIGINT or SIGTERM. Other commands die of them. A usage
// error exits with 2, and any other error with 1. An error is one line on stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// The linker sets version for a release.
var version string

func main() {
	cli.VersionPrinter = func(cmd *cli.Command) { fmt.Fprintln(cmd.Root().Writer, "tidings", cmd.Version) }
	ctx := untilSignal(context.Background())
	stderr := newLossyWriter(os.Stderr)
	code := run(ctx, os.Args, os.Stdout, stderr)
	stderr.Flush(flushTime)
	end(ctx, code)
}

// flushTime is how long the program waits at its end for whoever reads its stderr.
const flushTime = 100 * time.Millisecond

// A failure is an error at run time. Any other error of a command is a usage
// error.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// run runs the program and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := newCommand(stdout, stderr).Run(ctx, args)
	if err == nil {
		return 0
	}
	if c, ok := errors.AsType[caught](err); ok {
		return c.code()
	}
	fmt.Fprintf(stderr, "tidings: %s\n", visible(err.Error())) // a server may have chosen a part of it
	if _, ok := errors.AsType[failure](err); ok {
		return 1
	}
	if _, ok := errors.AsType[*tooFew](err); ok {
		return 124 // as timeout(1)
	}
	return 2
}

func newCommand(stdout, stderr io.Writer) *cli.Command {
	return &cli.Command{
		Name:            "tidings",
		Usage:           "a server for server-sent events, and its clients",
		Version:         buildVersion(),
		Writer:          stdout,
		ErrWriter:       stderr,
		HideHelpCommand: true,
		Commands:        []*cli.Command{serveCommand(), subCommand(), pubCommand(), topicsCommand(), historyCommand(), keyCommand(), keygenCommand(), tokenCommand(), revokeCommand(), benchCommand(), logCommand()},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return fmt.Errorf("unknown command %q; see tidings --help", cmd.Args().First())
			}
			return errors.New("no command given; try tidings serve, or see tidings --help")
		},
		// Run only returns errors: it neither prints them with the help nor
		// exits.
		OnUsageError:   usageError,
		ExitErrHandler: func(context.Context, *cli.Command, error) {},

		EnableShellCompletion:           true,
		ConfigureShellCompletionCommand: configureCompletion,
	}
}

// usageError rewords an error of the library that would mislead, and says which
// help to read.
func usageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		text = "unknown flag --" + name
		if name == "token" || name == "password" {
			text += ": others see what stands on a command line; use --token-file FILE or TIDINGS_TOKEN"
		}
	}
	return fmt.Errorf("%s; see %s --help", text, cmd.FullName())
}

// buildVersion returns the version of a release, or the version that the Go
// toolchain recorded.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
