package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/internal/server"
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
		Flags: []cli.Flag{
			text("url", "http://"+server.DefaultAddr, nil, "the server is at `URL`"),
			text("token-file", "", nil, "send the credential in `FILE`; without it, that of the environment variable TIDINGS_TOKEN"),
		},
		Action:       revoke,
		OnUsageError: usageError,
	}
}

func revoke(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Len() != 1 {
		return errors.New("revoke takes one argument, the subject; see tidings revoke --help")
	}
	credential := os.Getenv("TIDINGS_TOKEN")
	if file := cmd.String("token-file"); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return failure{err}
		}
		credential = strings.TrimSpace(string(b))
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	at := strings.TrimSuffix(cmd.String("url"), "/") + "/subjects/" + url.PathEscape(cmd.Args().First()) + "/revocation"
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, at, nil)
	if err != nil {
		return err
	}
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return failure{err}
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return nil
	}
	var problem struct{ Detail string }
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if json.Unmarshal(b, &problem) != nil || problem.Detail == "" {
		return failure{fmt.Errorf("the server at %s answers %s", cmd.String("url"), res.Status)}
	}
	return failure{fmt.Errorf("%s: %s", res.Status, problem.Detail)}
}
