package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// A caught signal is the cause of the program's context once a signal has come. As the error of a
// command it means that the program dies of the signal: a shell whose command ends in any other
// way goes on with its loop.
type caught struct{ syscall.Signal }

func (c caught) Error() string { return c.String() }

// code returns the exit code of a shell for a program that has died of the signal.
func (c caught) code() int { return 128 + int(c.Signal) }

// untilSignal returns a context that SIGINT and SIGTERM end. A second signal is not caught: it
// ends the process at once.
func untilSignal(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		sig := <-signals
		signal.Stop(signals)
		cancel(caught{sig.(syscall.Signal)})
	}()
	return ctx
}

// end ends the process with the code of a command, or by the signal that the command died of.
func end(ctx context.Context, code int) {
	if c, ok := context.Cause(ctx).(caught); ok && code == c.code() {
		dieOf(c.Signal)
	}
	os.Exit(code)
}

// graceTime is how long a command that a signal ends may take, as while it writes to a pipe that
// nobody reads.
const graceTime = 500 * time.Millisecond

// endInTime has the process end soon after a signal, also while the command cannot. before is
// called just before that.
func endInTime(ctx context.Context, before func()) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		if c, ok := context.Cause(ctx).(caught); ok {
			time.Sleep(graceTime)
			before()
			end(ctx, c.code())
		}
	})
}
