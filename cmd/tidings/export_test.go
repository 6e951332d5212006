package main

import (
	"io/fs"
	"log/slog"
)

// Functions for the tests.
var (
	ExitAfter    = exitAfter
	GCPercent    = gcPercent
	KeepAlive    = keepAlive
	ParseSize    = parseSize
	Processors   = processors
	FormatSize   = formatSize
	SystemMemory = systemMemory
	WhyLate      = whyLate
	ParseMessage = parseMessage
	ReadLine     = readLine
	Visible      = visible
	PlainJSON    = plainJSON
	OpenCursor   = openCursor
)

// Move is move.
func (c *cursorFile) Move(id string) error { return c.move(id) }

// NotLimited is notLimited.
const NotLimited = notLimited

// A Plan is a memoryPlan.
type Plan struct {
	Limit           int64
	From            string
	Set             bool
	Window, Clients int
	Index           int64
}

// PlanMemory plans with the text of --max-memory.
func PlanMemory(flag, env string, inRuntime int64, system fs.FS) (Plan, error) {
	var n int64
	if flag != "" {
		n, _ = parseSize(flag)
	}
	p, err := planMemory(n, env, inRuntime, system, slog.New(slog.DiscardHandler))
	return Plan{Limit: p.limit, From: p.from, Set: p.set, Window: p.window, Clients: p.clients, Index: p.index}, err
}
