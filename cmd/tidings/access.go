package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/internal/auth"
	"example.com/tidings/topics"
)

// accessFlags are the flags of serve that say who may do what.
func accessFlags() []cli.Flag {
	return []cli.Flag{
		text("keys", "", nil, "accept the API keys in `FILE`, which tidings key new writes; the file is read again when it changes"),
		list("jwt-key", "accept signed tokens (JWT) that the key in `[KID=]FILE` checks: a public key in PEM, or a secret; repeat the flag for more keys"),
		text("jwt-issuer", "", nil, "accept only tokens whose iss is `NAME`"),
		text("jwt-audience", "", nil, "accept only tokens whose aud names `NAME`; without it, tokens with an aud are refused"),
		period("max-token-age", 24*time.Hour, positive, "refuse tokens that live longer than `DURATION`"),
		list("anonymous", "let anyone without a credential do `ACTION=FILTER`, such as subscribe=public.**; repeat the flag for more"),
		text("public-url", "", nil, "pages reach the server at `URL`, such as https://hub.example.org, through a proxy"),
		toggle("check", false, "say in sentences who may do what with these settings, and end"),
	}
}

// newAuthenticator returns what checks credentials, or nil if no flag asks for any.
func newAuthenticator(cmd *cli.Command, logger *slog.Logger) (*auth.Authenticator, error) {
	opts := auth.Options{KeysFile: cmd.String("keys"), Logger: logger}
	var err error
	if opts.Tokens, err = newTokens(cmd); err != nil {
		return nil, err
	}
	if opts.AnonymousPublish, opts.AnonymousSubscribe, err = anonymousGrants(cmd.StringSlice("anonymous")); err != nil {
		return nil, err
	}
	credentials := opts.KeysFile != "" || opts.Tokens != nil
	if credentials && cmd.Bool("insecure-anonymous") {
		return nil, errors.New("--insecure-anonymous lets anyone do everything, and --keys or --jwt-key only some: leave one of them out, or say with --anonymous what anyone may do")
	}
	if !credentials && len(opts.AnonymousPublish)+len(opts.AnonymousSubscribe) == 0 {
		return nil, nil
	}
	return auth.New(opts)
}

func newTokens(cmd *cli.Command) (*auth.Tokens, error) {
	ts := &auth.Tokens{Issuer: cmd.String("jwt-issuer"), Audience: cmd.String("jwt-audience"), MaxAge: cmd.Duration("max-token-age")}
	for _, given := range cmd.StringSlice("jwt-key") {
		id, file, ok := strings.Cut(given, "=")
		if !ok {
			id, file = "", given
		}
		k, err := auth.ReadSigningKey(id, file)
		if err != nil {
			return nil, fmt.Errorf("--jwt-key: %w", err)
		}
		ts.Keys = append(ts.Keys, k)
	}
	if len(ts.Keys) > 0 {
		return ts, nil
	}
	for _, flag := range []string{"jwt-issuer", "jwt-audience", "max-token-age"} {
		if cmd.IsSet(flag) {
			return nil, fmt.Errorf("--%s is for signed tokens, and no --jwt-key is given that checks them", flag)
		}
	}
	return nil, nil
}

// anonymousGrants parses what --anonymous grants.
func anonymousGrants(given []string) (publish, subscribe []topics.Filter, err error) {
	for _, grant := range given {
		action, pattern, ok := strings.Cut(grant, "=")
		if !ok || action != "publish" && action != "subscribe" {
			return nil, nil, fmt.Errorf("--anonymous %q: want subscribe=FILTER or publish=FILTER, as in subscribe=public.**", grant)
		}
		f, err := topics.ParseFilter(pattern)
		if bad, ok := errors.AsType[*topics.Error](err); ok {
			return nil, nil, fmt.Errorf("--anonymous %q: the filter %s", grant, bad.Reason)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("--anonymous %q: the filter begins with %s, which is reserved", grant, topics.ReservedPrefix)
		}
		if action == "publish" {
			publish = append(publish, f)
		} else {
			subscribe = append(subscribe, f)
		}
	}
	return publish, subscribe, nil
}

// watchKeys has a change of the keys file count within a second, until ctx is done. end ends the
// streams of a subject.
func watchKeys(ctx context.Context, a *auth.Authenticator, end func(subject string)) {
	everyTick(ctx, func(ctx context.Context, ticks <-chan time.Time) {
		a.Watch(ctx, ticks, func(names []string) {
			for _, name := range names {
				end("key:" + name)
			}
		})
	})
}

// writeAccess says in sentences who may do what. beyond says whether other machines can reach the
// address of the clients.
func writeAccess(w io.Writer, cmd *cli.Command, a *auth.Authenticator, beyond bool) {
	addr := cmd.String("addr")
	who := "Only this machine can reach it."
	if beyond {
		who = "Other machines can reach it."
	}
	if a == nil {
		fmt.Fprintf(w, "Whoever reaches %s may read, publish and administer everything. %s\n", addr, who)
		return
	}
	fmt.Fprintf(w, "Without a credential one may %s.\n", may(a.Anonymous()))
	for _, id := range a.Identities() {
		until := ""
		if !id.Until.IsZero() {
			until = ", until " + id.Until.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(w, "The API key %s may %s%s.\n", id.Key, may(id), until)
	}
	for _, k := range a.SigningKeys() {
		name := "A key without a kid"
		if k.ID != "" {
			name = "The key " + k.ID
		}
		fmt.Fprintf(w, "%s checks tokens (%s), which say themselves what one may.\n", name, k.Algorithm())
	}
	switch url := cmd.String("public-url"); {
	case strings.HasPrefix(url, "https://"):
		fmt.Fprintf(w, "Pages reach the server at %s.\n", url)
	case cmd.String("tls-cert") != "":
		fmt.Fprintf(w, "The server speaks HTTPS on %s.\n", addr)
	default:
		fmt.Fprintf(w, "The server speaks plain HTTP on %s. %s\n", addr, who)
		if beyond && a.HasCredentials() {
			fmt.Fprintln(w, "Keys and tokens travel in clear: give the server a certificate with --tls-cert, or put HTTPS in front and say so with --public-url https://….")
		}
	}
}

// may says what an identity may do.
func may(id auth.Identity) string {
	var parts []string
	for _, x := range []struct {
		verb    string
		filters []topics.Filter
	}{{"read", id.Subscribe}, {"publish to", id.Publish}} {
		if len(x.filters) > 0 {
			names := make([]string, len(x.filters))
			for i, f := range x.filters {
				names[i] = f.String()
			}
			parts = append(parts, x.verb+" "+strings.Join(names, ", "))
		}
	}
	if id.Administer {
		parts = append(parts, "administer")
	}
	if len(parts) == 0 {
		return "do nothing"
	}
	return strings.Join(parts, " and ")
}
