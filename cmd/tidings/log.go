package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"example.com/tidings/eventlog/segmentlog"
)

const verifyDescription = `Verify reads every message in the folder and checks it. It writes nothing, and a server
may use the folder meanwhile. It prints what it found, and each range of messages that
is damaged or missing, with the file:

   tidings log verify
   tidings log verify --data /backup/tidings-data

The exit code is 0 if all is well, and 1 if anything is damaged or missing.`

func logCommand() *cli.Command {
	return &cli.Command{
		Name:            "log",
		Usage:           "look after a folder of stored messages",
		UsageText:       "tidings log verify [options]",
		HideHelpCommand: true,
		Commands: []*cli.Command{{
			Name:        "verify",
			Usage:       "check whether every message in a folder is intact",
			UsageText:   "tidings log verify [options]",
			Description: verifyDescription,
			Flags: []cli.Flag{
				text("data", segmentlog.DefaultDir, nil, "check the folder `DIR`"),
			},
			Action: verifyLog,
			// Not inherited from the parent.
			OnUsageError: usageError,
		}},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return fmt.Errorf("unknown command %q; see tidings log --help", cmd.Args().First())
			}
			return errors.New("no command given; try tidings log verify, or see tidings log --help")
		},
		OnUsageError: usageError,
	}
}

// verifyLog verifies a folder and prints what it found.
func verifyLog(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("verify takes no arguments, but got %q; give the folder with --data", cmd.Args().First())
	}
	dir := cmd.String("data")
	var faults []segmentlog.Fault
	sum, err := segmentlog.Verify(ctx, dir, func(f segmentlog.Fault) { faults = append(faults, f) })
	if err != nil {
		return failure{err}
	}
	if err := writeVerified(cmd.Root().Writer, sum, faults); err != nil {
		return failure{err}
	}
	switch {
	case sum.Missing > 0:
		return failure{fmt.Errorf("%d of %d messages in %q are damaged or missing", sum.Missing, sum.Last-sum.First+1, dir)}
	case len(faults) > 0:
		return failure{fmt.Errorf("%q is damaged, but no message is known to be missing", dir)}
	}
	return nil
}

// writeVerified writes a table of what was found, and the faults.
func writeVerified(w io.Writer, sum segmentlog.Summary, faults []segmentlog.Fault) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	numbers := "none"
	if sum.First <= sum.Last {
		numbers = fmt.Sprintf("%d to %d", sum.First, sum.Last)
	}
	fmt.Fprintf(t, "segments\t%d\nrecords\t%d\nnumbers\t%s\nremoved\t%d\nbytes\t%d\nmissing\t%d\n",
		sum.Segments, sum.Records, numbers, sum.Removed, sum.Bytes, sum.Missing)
	if err := t.Flush(); err != nil || len(faults) == 0 {
		return err
	}
	fmt.Fprint(t, "\nmissing\tfile\tproblem\n")
	for _, f := range faults {
		missing, file := "", f.File
		switch {
		case f.First == f.Last && f.First > 0:
			missing = fmt.Sprint(f.First)
		case f.First > 0:
			missing = fmt.Sprintf("%d to %d", f.First, f.Last)
		}
		if file == "" {
			file = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", missing, file, f.Problem)
	}
	return t.Flush()
}
