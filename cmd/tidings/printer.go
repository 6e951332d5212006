package main

import (
	"io"

	"github.com/urfave/cli/v3"
)

// A printer writes messages to stdout, each with one call, as it comes.
type printer struct {
	w        io.Writer
	terminal bool
	json     bool // the data of an event is a whole message
	end      byte
	line     []byte
	writing  func(begins bool) // is called before and after each write, or nil
}

func newPrinter(cmd *cli.Command) *printer {
	p := &printer{w: cmd.Root().Writer, json: cmd.Bool("json"), end: '\n'}
	p.terminal = isTerminal(p.w)
	if cmd.Bool("null") {
		p.end = 0
	}
	return p
}

// print writes the data of an event.
func (p *printer) print(data string) error {
	switch {
	case p.json:
		data = plainJSON(data)
	case p.terminal:
		data = visible(data)
	}
	p.line = append(append(p.line[:0], data...), p.end)
	if p.writing != nil {
		p.writing(true)
		defer p.writing(false)
	}
	return writeOut(p.w, p.line)
}
