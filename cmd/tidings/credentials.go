package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/internal/auth"
	"example.com/tidings/topics"
)

// grants are the flags that say what somebody may do.
func grants() []cli.Flag {
	return []cli.Flag{
		list("publish", "allow to publish to the topics of `FILTER`, such as orders.**; repeat the flag, or separate filters with commas"),
		list("subscribe", "allow to read the topics of `FILTER`; repeat the flag, or separate filters with commas"),
		toggle("administer", false, "allow what is the operator's"),
	}
}

const newKeyDescription = `New makes an API key for a service, adds a line for it to the keys file of the server,
and prints the key. The file has its hash only, so the key cannot be shown again:

   tidings key new --keys tidings.keys --publish 'orders.**' shop

A server that runs with --keys tidings.keys accepts the key within a second:

   curl -H "Authorization: Bearer $KEY" http://127.0.0.1:8080/topics/orders.42 -d shipped

To take a key away, remove its line.`

func keyCommand() *cli.Command {
	return &cli.Command{
		Name:            "key",
		Usage:           "make API keys for services",
		UsageText:       "tidings key new [options] NAME",
		HideHelpCommand: true,
		Commands: []*cli.Command{{
			Name:        "new",
			Usage:       "make an API key, and print it once",
			UsageText:   "tidings key new [options] NAME",
			Description: newKeyDescription,
			Flags: append([]cli.Flag{
				text("keys", "", nil, "add the key to `FILE`, which is made if there is none"),
				period("for", 0, notNegative, "end the key after `DURATION`, such as 2160h; 0 means never"),
			}, grants()...),
			Action:       newKey,
			OnUsageError: usageError,
		}},
		Action:       onlySubcommands("tidings key", "new"),
		OnUsageError: usageError,
	}
}

// onlySubcommands is the action of a command that has only subcommands.
func onlySubcommands(name, first string) cli.ActionFunc {
	return func(_ context.Context, cmd *cli.Command) error {
		if cmd.Args().Present() {
			return fmt.Errorf("unknown command %q; see %s --help", cmd.Args().First(), name)
		}
		return fmt.Errorf("no command given; try %s %s, or see %[1]s --help", name, first)
	}
}

func newKey(_ context.Context, cmd *cli.Command) error {
	file := cmd.String("keys")
	switch {
	case cmd.Args().Len() != 1:
		return errors.New("key new takes one argument, the name of the key; see tidings key new --help")
	case file == "":
		return errors.New("--keys is missing: it names the file of the server's keys")
	}
	secret, k, err := auth.NewKey(cmd.Args().First())
	if err != nil {
		return err
	}
	if k.Publish, err = filters(cmd, "publish"); err != nil {
		return err
	}
	if k.Subscribe, err = filters(cmd, "subscribe"); err != nil {
		return err
	}
	k.Administer = cmd.Bool("administer")
	if len(k.Publish)+len(k.Subscribe) == 0 && !k.Administer {
		return errors.New("the key would allow nothing: say what with --publish, --subscribe or --administer")
	}
	if d := cmd.Duration("for"); d > 0 {
		k.Expires = k.Created.Add(d)
	}
	if err := auth.AddKey(file, k); err != nil {
		return failure{err}
	}
	_, err = fmt.Fprintln(cmd.Root().Writer, secret)
	return err
}

// filters returns the topic filters of a flag.
func filters(cmd *cli.Command, flag string) ([]topics.Filter, error) {
	parsed, err := topics.ParseFilters(cmd.StringSlice(flag)...)
	if bad, ok := errors.AsType[*topics.Error](err); ok {
		return nil, fmt.Errorf("a filter of --%s %s", flag, bad.Reason)
	}
	if errors.Is(err, topics.ErrReserved) {
		return nil, fmt.Errorf("a filter of --%s begins with %s, which is reserved", flag, topics.ReservedPrefix)
	}
	return parsed, err
}

const keygenDescription = `Keygen makes a pair of keys to try signed tokens with. Whoever has the private key FILE
signs tokens. The server checks them with the public key FILE.pub:

   tidings keygen tidings.key
   tidings serve --jwt-key tidings.key.pub
   tidings token --key tidings.key --subscribe 'users.{sub}.**' ada

In production the service that signs its users in has the private key, and signs with a
library for JSON Web Tokens.`

func keygenCommand() *cli.Command {
	return &cli.Command{
		Name:        "keygen",
		Usage:       "make a key that signs tokens",
		UsageText:   "tidings keygen [options] FILE",
		Description: keygenDescription,
		Flags: []cli.Flag{
			toggle("secret", false, "make one secret, with which tokens are signed and checked (HS256), instead of a pair of keys (EdDSA)"),
		},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Len() != 1 {
				return errors.New("keygen takes one argument, the file to make; see tidings keygen --help")
			}
			generate := auth.GenerateKeys
			if cmd.Bool("secret") {
				generate = auth.GenerateSecret
			}
			if err := generate(cmd.Args().First()); err != nil {
				return failure{err}
			}
			return nil
		},
		OnUsageError: usageError,
	}
}

const tokenDescription = `Token signs a JSON Web Token for SUBJECT and prints it. In a filter, {sub} stands for the
subject, as one token:

   tidings token --key tidings.key --subscribe 'users.{sub}.**' --for 15m ada`

func tokenCommand() *cli.Command {
	return &cli.Command{
		Name:        "token",
		Usage:       "sign a token",
		UsageText:   "tidings token [options] SUBJECT",
		Description: tokenDescription,
		Flags: append([]cli.Flag{
			text("key", "", nil, "sign with the private key, or the secret, in `FILE`"),
			text("kid", "", nil, "name the key `KID` in the token"),
			text("issuer", "", nil, "set the claim iss to `NAME`"),
			text("audience", "", nil, "set the claim aud to `NAME`"),
			period("for", time.Hour, positive, "end the token after `DURATION`"),
		}, grants()...),
		Action:       newToken,
		OnUsageError: usageError,
	}
}

func newToken(_ context.Context, cmd *cli.Command) error {
	switch {
	case cmd.Args().Len() != 1:
		return errors.New("token takes one argument, the subject; see tidings token --help")
	case cmd.String("key") == "":
		return errors.New("--key is missing: it names the file of the key that signs, which tidings keygen makes")
	}
	now := time.Now()
	token, err := auth.Sign(auth.Claims{
		Issuer: cmd.String("issuer"), Subject: cmd.Args().First(), Audience: cmd.String("audience"),
		Issued: now, Expires: now.Add(cmd.Duration("for")),
		Grant: auth.Grant{Publish: cmd.StringSlice("publish"), Subscribe: cmd.StringSlice("subscribe"), Administer: cmd.Bool("administer")},
	}, cmd.String("key"), cmd.String("kid"))
	if err != nil {
		return failure{err}
	}
	_, err = fmt.Fprintln(cmd.Root().Writer, token)
	return err
}
