package main

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/urfave/cli/v3"
)

// The scripts ask the program for the words that may come next. Those of the cli package need
// other packages in bash, and evaluate what is on the command line.
var (
	//go:embed completion/tidings.bash
	bashCompletion string
	//go:embed completion/tidings.zsh
	zshCompletion string
	//go:embed completion/tidings.fish
	fishCompletion string
)

const completionDescription = `Completion prints a script that completes the commands and flags of tidings:

   source <(tidings completion bash)               in ~/.bashrc
   source <(tidings completion zsh)                in ~/.zshrc, after compinit
   tidings completion fish > ~/.config/fish/completions/tidings.fish`

// configureCompletion replaces the scripts of the command that the cli package adds.
func configureCompletion(cmd *cli.Command) {
	cmd.Hidden = false
	cmd.Usage = "print a script for the completion of a shell"
	cmd.UsageText = "tidings completion bash|zsh|fish"
	cmd.Description = completionDescription
	cmd.HideHelpCommand = true
	cmd.Commands = nil
	for _, shell := range []struct{ name, script string }{{"bash", bashCompletion}, {"zsh", zshCompletion}, {"fish", fishCompletion}} {
		cmd.Commands = append(cmd.Commands, &cli.Command{
			Name:            shell.name,
			Usage:           "for " + shell.name,
			HideHelpCommand: true,
			Action: func(_ context.Context, cmd *cli.Command) error {
				_, err := fmt.Fprint(cmd.Root().Writer, shell.script)
				return err
			},
			OnUsageError: usageError,
		})
	}
	cmd.Action = onlySubcommands("tidings completion", "bash")
	cmd.OnUsageError = usageError
}
