package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// These return flags of tidings serve, each with the environment variable of its name: the
// variable of --max-message is TIDINGS_MAX_MESSAGE.
func text(name, value string, valid func(string) error, usage string) cli.Flag {
	return &cli.StringFlag{Name: name, Sources: envOf(name), Value: value, Validator: valid, Usage: usage}
}
func number(name string, value int, valid func(int) error, usage string) cli.Flag {
	return &cli.IntFlag{Name: name, Sources: envOf(name), Value: value, Validator: valid, Usage: usage}
}
func period(name string, value time.Duration, valid func(time.Duration) error, usage string) cli.Flag {
	return &cli.DurationFlag{Name: name, Sources: envOf(name), Value: value, Validator: valid, Usage: usage}
}
func toggle(name string, value bool, usage string) cli.Flag {
	return &cli.BoolFlag{Name: name, Sources: envOf(name), Value: value, Usage: usage}
}
func list(name, usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: name, Sources: envOf(name), Usage: usage}
}

func envOf(flag string) cli.ValueSourceChain {
	return env("TIDINGS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")))
}

// env returns an environment variable as the source of a flag that is not given.
// An empty variable counts as unset.
func env(name string) cli.ValueSourceChain {
	return cli.NewValueSourceChain(variable(name))
}

// A variable names an environment variable. It is a cli.ValueSource and a
// cli.EnvValueSource.
type variable string

func (v variable) Lookup() (string, bool) {
	value := os.Getenv(string(v))
	return value, value != ""
}

func (v variable) IsFromEnv() bool  { return true }
func (v variable) Key() string      { return string(v) }
func (v variable) String() string   { return "the environment variable " + string(v) }
func (v variable) GoString() string { return strconv.Quote(string(v)) }

// oneOf returns a validator that accepts only the given values.
func oneOf(values ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(values, s) {
			return fmt.Errorf("want one of %s", strings.Join(values, ", "))
		}
		return nil
	}
}

// between returns a validator for numbers from least to most.
func between(least, most int) func(int) error {
	return func(n int) error {
		switch {
		case n >= least && n <= most:
			return nil
		case most == math.MaxInt:
			return fmt.Errorf("want a number of %d or more", least)
		}
		return fmt.Errorf("want a number from %d to %d", least, most)
	}
}

func notNegative(d time.Duration) error {
	if d < 0 {
		return errors.New("want 0 or more, as in 15s")
	}
	return nil
}

// sizeUnits are the units that a size may end with.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
}

// parseSize parses a number of bytes, such as 512KiB, 1GiB or 65536.
func parseSize(s string) (int64, error) {
	digits, unit := strings.TrimSpace(s), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(digits, u.name); ok {
			digits, unit = strings.TrimSpace(rest), u.bytes
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit || strings.HasPrefix(digits, "+") {
		return 0, errors.New("want a number of bytes, as in 512KiB, 64MiB, 1GiB or 65536")
	}
	return n * unit, nil
}

// validSize returns a validator for sizes from least to most bytes.
func validSize(least, most int64) func(string) error {
	return func(s string) error {
		n, err := parseSize(s)
		switch {
		case err != nil:
			return err
		case n < least || n > most:
			return fmt.Errorf("want %s to %s", formatSize(least), formatSize(most))
		}
		return nil
	}
}

// formatSize is the inverse of parseSize.
func formatSize(n int64) string {
	for _, u := range slices.Backward(sizeUnits) {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// size returns the value, in bytes, of a flag whose validator is validSize. It is 0 if the
// flag has none.
func size(cmd *cli.Command, flag string) int64 {
	if cmd.String(flag) == "" {
		return 0
	}
	n, err := parseSize(cmd.String(flag))
	if err != nil {
		panic(err)
	}
	return n
}
