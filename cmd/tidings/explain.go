package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"example.com/tidings/hub"
	"example.com/tidings/topics"
)

// topicArgs returns the filters that the arguments of a command are. Its error explains a mistake,
// and what was probably meant.
func topicArgs(args []string) ([]topics.Filter, error) {
	if len(args) > hub.MaxFilters {
		return nil, fmt.Errorf("%d topics are too many: a stream has up to %d. %s", len(args), hub.MaxFilters, eaten(args))
	}
	var filters []topics.Filter
	for _, arg := range args {
		f, err := topics.ParseFilter(arg)
		if err != nil {
			return nil, mistaken("filter", arg, err)
		}
		if n := f.Stars(); n > hub.MaxStars {
			return nil, fmt.Errorf("the filter %s has %d tokens *, and may have %d: use a final ** for the last ones", arg, n, hub.MaxStars)
		}
		filters = append(filters, f)
	}
	return filters, nil
}

// mistaken explains why an argument is no topic, or no filter.
func mistaken(noun, arg string, err error) error {
	if errors.Is(err, topics.ErrReserved) {
		return fmt.Errorf("the %s %q begins with %q, which is the hub's own", noun, arg, topics.ReservedPrefix)
	}
	reason := err.Error()
	if e, ok := errors.AsType[*topics.Error](err); ok {
		reason = "the " + noun + " " + e.Reason
	}
	switch {
	case arg == "":
		return errors.New(reason + ". Is a variable unset?")
	case noun == "topic" && strings.Contains(arg, "*"):
		return fmt.Errorf("%s. A message has one topic", reason)
	case isFile(arg):
		return fmt.Errorf("%s. %s", reason, eaten([]string{arg}))
	}
	if meant := suggest(arg); meant != "" {
		return fmt.Errorf("%s. Did you mean '%s'?", reason, meant)
	}
	return errors.New(reason)
}

// suggest returns the filter that was probably meant by one that is invalid, as in the notation of
// MQTT, AMQP, NATS, Redis or a path, or "".
func suggest(arg string) string {
	tokens := strings.FieldsFunc(strings.TrimSpace(arg), func(c rune) bool { return c == '/' || c == '.' })
	for i, t := range tokens {
		switch t {
		case "#", ">", "...":
			tokens[i] = "**"
		case "+", "%":
			tokens[i] = "*"
		default:
			if name, ok := strings.CutSuffix(t, "*"); ok && name != "" && !strings.Contains(name, "*") {
				tokens[i] = name + ".*"
			}
		}
	}
	meant := strings.Join(tokens, ".")
	if _, err := topics.ParseFilter(meant); err != nil {
		return ""
	}
	return meant
}

// eaten explains that a shell replaces a * that is not quoted, if some arguments are the names of
// files here, and otherwise returns "".
func eaten(args []string) string {
	var files []string
	for _, arg := range args {
		if isFile(arg) {
			files = append(files, arg)
		}
	}
	switch n := len(files); {
	case n == 0:
		return ""
	case n == 1:
		return fmt.Sprintf("There is a file %s here: if you have typed a *, the shell has replaced it. Quote it, as in 'orders.*'", files[0])
	default:
		return fmt.Sprintf("There are files %s and %s here: if you have typed a *, the shell has replaced it. Quote it, as in 'orders.*'", files[0], files[1])
	}
}

func isFile(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
