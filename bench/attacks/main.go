//go:build linux

// Attacks attacks tidings serve in many ways, and judges what that did to others:
//
//	attacks -bin TIDINGS              every attack, and a table
//	attacks -bin TIDINGS -a NAME,…    some of them
//	attacks -list                     their names, and what each does
//
// Beside each attack there is a control group: subscribers, a publisher and newcomers, in a
// process of their own. A decoy, the same attack on a second server, shows what part of the
// control group's delay is only the load of the machine. docs/limits.md has the table, and
// verdict.go what an attack must not do. The exit status is 1 if one did.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == controlCommand {
		if err := controlMain(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "attacks:", err)
			os.Exit(1)
		}
		return
	}
	plan := trialPlan{control: fullControl, progress: os.Stderr}
	var names, flags, env string
	var list, verbose bool
	var tries int
	flag.StringVar(&plan.program, "bin", "", "the `program` to attack: a build of cmd/tidings")
	flag.StringVar(&names, "a", "", "only these attacks, separated by commas")
	flag.BoolVar(&list, "list", false, "print the names of the attacks, and what each does")
	flag.DurationVar(&plan.attack, "d", 3500*time.Millisecond, "how long an attack lasts")
	flag.DurationVar(&plan.decoy, "decoy", 2*time.Second, "how long the decoy's attack lasts; 0 for none")
	flag.DurationVar(&plan.limited, "limited", 2*time.Second, "how long the attack on a server with GOMEMLIMIT=64MiB lasts; 0 for none")
	flag.DurationVar(&plan.term, "term", time.Second, "when in another attack SIGTERM comes; 0 for none")
	flag.DurationVar(&plan.rest, "rest", 10*time.Second, "how long after the attack the server may take to give everything back")
	flag.StringVar(&flags, "flags", "", "more flags for the server, separated by spaces")
	flag.StringVar(&env, "env", "", "variables for the server's environment, separated by spaces")
	flag.IntVar(&tries, "tries", 2, "how often an attack is tried until it misses nothing: the machine may have been busy")
	flag.BoolVar(&verbose, "v", false, "print the server's own log, too")
	flag.Parse()
	if list {
		printAttacks(os.Stdout)
		return
	}
	chosen, err := choose(names)
	if err == nil && plan.program == "" {
		err = fmt.Errorf("-bin is needed")
	}
	if err == nil {
		err = raiseFileLimit()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "attacks:", err)
		os.Exit(2)
	}
	plan.flags, plan.env = strings.Fields(flags), strings.Fields(env)
	var results []result
	for _, a := range chosen {
		results = append(results, try(plan, a, tries, verbose))
	}
	printTable(os.Stdout, results)
	if slices.ContainsFunc(results, func(r result) bool { return len(r.missed()) > 0 }) {
		os.Exit(1)
	}
}

// try tries an attack until it misses nothing, at most so often, and prints each result.
func try(plan trialPlan, a attack, tries int, verbose bool) (r result) {
	for n := range max(1, tries) {
		var log string
		r, log = runTrial(plan, a)
		r.tries = n + 1
		fmt.Fprint(plan.progress, r.report())
		if verbose {
			fmt.Fprintln(plan.progress, log)
		}
		if len(r.missed()) == 0 {
			break
		}
	}
	return r
}

// choose returns the attacks with the names, or all.
func choose(names string) (chosen []attack, err error) {
	if names == "" {
		return attacks, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(attacks, func(a attack) bool { return a.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no attack %q: -list prints those that there are", name)
		}
		chosen = append(chosen, attacks[i])
	}
	return chosen, nil
}

// raiseFileLimit lets this process, and the servers that it starts, open as many files as
// the system allows.
func raiseFileLimit() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}
