package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/urfave/cli/v3"
)

const revokeDescription = `Revoke ends all streams of SUBJECT, on all servers of the log, and has its tokens refused
that were signed until now: until --max-token-age of the server has passed. A subject is
jwt:NAME, as the sub of its tokens, or key:NAME:

   tidings revoke --token-file ops.token jwt:ada

To take an API key away for good, remove its line from the keys file.`

func revokeCommand() *cli.Command {
	return &cli.Command{
		Name:        "revoke",
		Usage:       "end the streams of a subject, and refuse its tokens",
		UsageText:   "tidings revoke [options] SUBJECT",
		Description: revokeDescription,
		Flags:       targetFlags(),
		Action:      revoke,

		DisableSliceFlagSeparator: true, // a header's value may hold a comma
		OnUsageError:              usageError,
	}
}

func revoke(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Len() != 1 {
		return errors.New("revoke takes one argument, the subject; see tidings revoke --help")
	}
	t, err := newTarget(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, t.base+"/subjects/"+url.PathEscape(cmd.Args().First())+"/revocation", nil)
	if err != nil {
		return err
	}
	r.Header = t.header
	if err := t.prepare(ctx, r); err != nil {
		return failure{err}
	}
	res, err := asking.Do(r)
	if err != nil {
		return failure{unreachable(t.name, err)}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		return failure{refused(t.name, res)}
	}
	return nil
}
