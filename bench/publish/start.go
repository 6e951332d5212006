//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// A startResult is what starts has measured, in milliseconds from the start of the
// process.
type startResult struct {
	KillListens  float64 `json:"kill_listens_ms"`  // after a kill, until it listens
	KillAnswered float64 `json:"kill_answered_ms"` // until a message is acknowledged
	EndListens   float64 `json:"end_listens_ms"`   // the same after a clean end
	EndAnswered  float64 `json:"end_answered_ms"`
}

// starts starts a server three times on the same data.
func starts(args []string) (any, error) {
	flags := newFlags("start", "[flags] PROGRAM [ARGUMENT...]", `
Starts PROGRAM, a server that listens at -addr. Publishes batches for a while, and kills
it with SIGKILL in the middle. Starts it again and times that, until it listens and
until a message is acknowledged. Ends it with SIGTERM, starts it and times that too. The
server does not outlive this program.`)
	addr, bound := addrFlag(flags), boundFlag(flags)
	busy := flags.Duration("busy", 500*time.Millisecond, "how long to publish before the kill")
	logName := flags.String("log", "", "append the server's output to this `file`")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() == 0 {
		return nil, errors.New("no program to start")
	}
	// The system ends the server when the thread that started it ends.
	runtime.LockOSThread()
	s := starter{addr: *addr, command: flags.Args(), by: time.Now().Add(*bound)}
	if *logName != "" {
		file, err := os.OpenFile(*logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		s.log = file
	}
	return s.measure(*busy)
}

// A starter starts a server. One goroutine owns it.
type starter struct {
	addr    string
	command []string
	by      time.Time
	log     *os.File
	server  *exec.Cmd
}

func (s *starter) measure(busy time.Duration) (result startResult, err error) {
	defer func() {
		if s.server != nil {
			_ = s.end(syscall.SIGKILL) // there is an error already
		}
	}()
	if _, _, err := s.start(); err != nil {
		return result, err
	}
	published := make(chan totals)
	go func() {
		n := names{count: 1, digits: 1}
		left := time.Until(s.by)
		p := &publishing{
			addr: s.addr, connections: 2, size: 100, batch: 100, names: n, sequence: &sequence{topics: 1},
			length: left, bound: left,
		}
		t, _ := p.run()
		published <- t
	}()
	time.Sleep(busy)
	if err := s.end(syscall.SIGKILL); err != nil {
		return result, err
	}
	if t := <-published; t.messages == 0 {
		return result, fmt.Errorf("nothing was published before the kill: %v", t.answers)
	}
	listens, answered, err := s.start()
	if err != nil {
		return result, err
	}
	result.KillListens, result.KillAnswered = measure.Milliseconds(int64(listens)), measure.Milliseconds(int64(answered))
	if err := s.end(syscall.SIGTERM); err != nil {
		return result, err
	}
	if listens, answered, err = s.start(); err != nil {
		return result, err
	}
	result.EndListens, result.EndAnswered = measure.Milliseconds(int64(listens)), measure.Milliseconds(int64(answered))
	return result, s.end(syscall.SIGTERM)
}

// start starts the server and returns after which time it listened and had
// acknowledged a message.
func (s *starter) start() (listens, answered time.Duration, err error) {
	c := exec.Command(s.command[0], s.command[1:]...)
	if s.log != nil {
		c.Stdout, c.Stderr = s.log, s.log
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	if err := c.Start(); err != nil {
		return 0, 0, err
	}
	s.server = c
	message := newMessage(s.addr, names{count: 1, digits: 1}, 100)
	picker := (&sequence{topics: 1}).picker(0)
	for ; ; time.Sleep(time.Millisecond) {
		if time.Now().After(s.by) {
			return 0, 0, errors.New("the server has not answered in time")
		}
		// A process that has ended has no memory, even before Wait.
		if _, err := measure.ProcessMemory(c.Process.Pid); err != nil {
			return 0, 0, errors.New("the server has ended by itself")
		}
		conn, err := dial(s.addr, s.by)
		if err != nil {
			continue
		}
		if listens == 0 {
			listens = time.Since(start)
		}
		status, err := conn.send(message.fill(picker, 1))
		conn.close()
		if err == nil && status == 201 {
			return listens, time.Since(start), nil
		}
	}
}

// end ends the server with a signal and waits until it is gone.
func (s *starter) end(signal syscall.Signal) error {
	c := s.server
	s.server = nil
	if err := c.Process.Signal(signal); err != nil {
		return err
	}
	// A server that does not end is killed.
	timer := time.AfterFunc(time.Until(s.by), func() { _ = c.Process.Kill() })
	defer timer.Stop()
	err := c.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == signal {
			return nil
		}
	}
	return err
}
