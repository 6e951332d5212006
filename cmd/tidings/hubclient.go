package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/internal/outgoing"
	"example.com/tidings/internal/server"
	"example.com/tidings/stream"
)

// A target is a hub that a command asks, and with what.
type target struct {
	base      string // its URL, without a slash at the end
	name      string // the same for messages: without a password
	header    http.Header
	tokenFile string
	token     string // what tokenFile held, if that can be read only once
}

// targetFlags are those of the commands that ask a hub.
func targetFlags() []cli.Flag {
	return []cli.Flag{
		text("url", "http://"+server.DefaultAddr, nil, "the hub is at `URL`, with the path below which it is mounted, if any"),
		&cli.StringSliceFlag{
			Name: "header",
			// No validator: its error would repeat the value, which may be a secret.
			Usage: "send the header `'NAME: VALUE'` with every request; repeat the flag for more headers. A header Authorization replaces other credentials",
		},
		text("token-file", "", nil, "send the credential in `FILE`, which is read for each request; without it, that of the environment variable TIDINGS_TOKEN"),
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "write nothing to stderr but why the command has failed"},
	}
}

// asking sends the requests of commands. The headers of the user stay with the origin of the hub.
var asking = outgoing.Protected(http.DefaultClient)

// newTarget returns the target that the flags name.
func newTarget(cmd *cli.Command) (*target, error) {
	given := cmd.String("url")
	u, err := url.Parse(given)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("--url: want http://HOST:PORT or https://HOST, with the path of the hub if it has one")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("--url: want the URL of the hub, without ? and #")
	}
	t := &target{base: strings.TrimRight(given, "/"), name: strings.TrimRight(u.Redacted(), "/"), tokenFile: cmd.String("token-file")}
	if t.header, err = parseHeaders(cmd.StringSlice("header")); err != nil {
		return nil, err
	}
	if err := outgoing.CheckHeader(t.header); err != nil {
		return nil, fmt.Errorf("--header: %w", err)
	}
	credential, err := t.credential()
	if err != nil {
		return nil, failure{err}
	}
	if info, err := os.Stat(t.tokenFile); err == nil && !info.Mode().IsRegular() { // as that of a shell's <(command)
		t.token = credential
	}
	return t, nil
}

// credential returns the credential that is to be sent now, or "".
func (t *target) credential() (string, error) {
	if t.tokenFile == "" {
		credential := strings.TrimSpace(os.Getenv("TIDINGS_TOKEN"))
		if !outgoing.IsHeaderValue(credential) {
			return "", errors.New("TIDINGS_TOKEN is not one credential, on one line")
		}
		return credential, nil
	}
	if t.token != "" {
		return t.token, nil
	}
	b, err := os.ReadFile(t.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	credential := strings.TrimSpace(string(b))
	if credential == "" || !outgoing.IsHeaderValue(credential) {
		return "", fmt.Errorf("--token-file: %s does not have one credential, on one line", t.tokenFile)
	}
	return credential, nil
}

// prepare puts the credential into a request, unless --header has one.
func (t *target) prepare(_ context.Context, r *http.Request) error {
	r.Host = r.Header.Get("Host") // package http ignores it there; empty means that of the URL
	if r.Header.Get("Authorization") != "" {
		return nil
	}
	credential, err := t.credential()
	if err == nil && credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
	}
	return err
}

// How often and for how long a command asks for a page.
const (
	askTimes = 6
	askTime  = time.Minute
)

// get asks for the JSON at a path. It asks again if the hub cannot answer just now.
func (t *target) get(ctx context.Context, path string, q url.Values, to any) error {
	wait := 200 * time.Millisecond
	for asked := 1; ; asked++ {
		after, err := t.ask(ctx, path, q, to)
		if err == nil || after < 0 || asked == askTimes || ctx.Err() != nil {
			return err
		}
		if err := stream.Sleep(ctx, max(wait, after)); err != nil {
			return err
		}
		wait *= 2
	}
}

// ask asks once. If asking again may help, after is how long to wait for that at least, and
// otherwise negative.
func (t *target) ask(ctx context.Context, path string, q url.Values, to any) (after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.base+path+"?"+q.Encode(), nil)
	if err != nil {
		return -1, err
	}
	r.Header = t.header.Clone()
	if err := t.prepare(ctx, r); err != nil {
		return -1, err
	}
	res, err := asking.Do(r)
	if err != nil {
		after = 0
		if dialFailed(err) {
			after = -1 // a person waits
		}
		return after, unreachable(t.name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		after = -1
		if res.StatusCode == http.StatusServiceUnavailable || res.StatusCode == http.StatusTooManyRequests {
			seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
			after = time.Duration(min(max(seconds, 0), 60)) * time.Second
		}
		return after, refused(t.name, res)
	}
	if err := json.NewDecoder(res.Body).Decode(to); err != nil {
		return 0, fmt.Errorf("the answer of %s breaks off, or is none of a hub: %w", t.name, err)
	}
	return 0, nil
}

// unreachable explains an error of the network.
func unreachable(base string, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // its text has the URL with the query
	}
	if dialFailed(err) {
		return fmt.Errorf("no hub answers at %s (%w); start one with tidings serve, or name it with --url", base, err)
	}
	return fmt.Errorf("%s does not answer: %w", base, err)
}

// dialFailed reports whether there was no connection at all.
func dialFailed(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

// explained returns the text of an error of the packages eventsource and publish.
func explained(base string, err error) string {
	if e, ok := errors.AsType[*net.OpError](err); ok && dialFailed(err) {
		return unreachable(base, e).Error()
	}
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "publish: "), "eventsource: ")
}

// refused explains an answer that is an error.
func refused(base string, res *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	var problem struct{ Detail string }
	if json.Unmarshal(b, &problem) != nil || problem.Detail == "" {
		return fmt.Errorf("%s answers %s", base, res.Status)
	}
	return fmt.Errorf("%s: %s", res.Status, visible(problem.Detail))
}
