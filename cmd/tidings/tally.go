package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// How often progress is shown, and from when on.
const (
	progressFrom  = time.Second
	progressEvery = 200 * time.Millisecond
)

// eraseLine goes to the beginning of a terminal's line, and erases it.
const eraseLine = "\r\x1b[K"

// mostBad is how many lines are named that could not be published. The others are counted.
const mostBad = 20

// A tally counts messages. On a terminal it shows the counts while that takes long.
type tally struct {
	seen, stored, refused, unknown, waiting int

	failed error // why publishing was given up

	notes *noter
	w     io.Writer // the terminal, or nil
	begun time.Time
	shown time.Time // zero while nothing is shown
}

func newTally(notes *noter, w io.Writer) *tally {
	p := &tally{notes: notes, begun: time.Now()}
	if isTerminal(w) && !notes.quiet && os.Getenv("TERM") != "dumb" {
		p.w = w
		notes.begin = eraseLine + notes.begin // counts may stand there
	}
	return p
}

// bad names a line that is not published.
func (p *tally) bad(line int, why string) {
	switch p.refused++; {
	case p.refused <= mostBad:
		p.end()
		p.notes.notef("line %d: %s", line, why)
	case p.refused == mostBad+1:
		p.notes.notef("further lines like these are counted only")
	}
}

// show shows the counts, if it is time.
func (p *tally) show() {
	now := time.Now()
	if p.w == nil || now.Sub(p.begun) < progressFrom || now.Sub(p.shown) < progressEvery {
		return
	}
	p.shown = now
	text := thousands(p.stored) + " stored"
	if p.waiting > 0 {
		text += ", " + thousands(p.waiting) + " on their way"
	}
	fmt.Fprint(p.w, eraseLine, text)
}

// end removes what is shown.
func (p *tally) end() {
	if !p.shown.IsZero() {
		fmt.Fprint(p.w, eraseLine)
		p.shown = time.Time{}
	}
}

// summary says what has become of all messages.
func (p *tally) summary() string {
	parts := []string{count(p.stored, "message") + " stored"}
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, thousands(n)+" "+what)
		}
	}
	add(p.refused, "left out")
	add(p.unknown, "of which it is not known")
	add(p.seen-p.stored-p.refused-p.unknown, "not sent")
	return strings.Join(parts, ", ")
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return thousands(n) + " " + noun
}

// thousands returns a number with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
