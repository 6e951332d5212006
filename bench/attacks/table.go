//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// columns are the heads of the table's columns.
var columns = []string{
	"attack", "p99, ms: decoy → attack", "lost, twice, cut", "memory above rest, MB", "MB with 64 MiB",
	"newcomers: served, refused, wrong; slowest, ms", "after: descriptors, goroutines, heap MB", "SIGTERM, ms", "verdict",
}

// figures are the cells of the table's row between the name and the verdict.
func (r *result) figures() []string {
	const none = "–"
	delay := fmt.Sprintf("%.0f", r.during.Delivery.P99)
	if r.decoy != nil {
		delay = fmt.Sprintf("%.0f → %s", r.decoy.Delivery.P99, delay)
	}
	d, l, n := r.during, r.later, r.during.Newcomer
	cells := []string{
		delay,
		fmt.Sprintf("%d, %d, %d", d.Lost+l.Lost+l.Overdue, d.Twice+l.Twice, d.Cut+l.Cut),
		fmt.Sprintf("%+d", (r.peakMemory-r.restMemory)>>20),
		none,
		fmt.Sprintf("%d, %d, %d; %.0f", n.Served, n.Refused, n.Wrong, n.Slowest),
		none,
		none,
	}
	if r.limitedMemory > 0 {
		cells[3] = fmt.Sprint(r.limitedMemory >> 20)
	}
	if b, a := r.before, r.after; a != (account{}) {
		cells[5] = fmt.Sprintf("%+d, %+d, %+d", a.Descriptors-b.Descriptors, a.Goroutines-b.Goroutines, (a.Heap-b.Heap)>>20)
	}
	if r.ended > 0 {
		cells[6] = fmt.Sprint(r.ended.Round(time.Millisecond).Milliseconds())
	}
	return cells
}

// printTable prints the results as a table in Markdown, and counts them.
func printTable(w io.Writer, results []result) {
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	missed := 0
	for _, r := range results {
		verdict := "held"
		if r.tries > 1 {
			verdict = fmt.Sprintf("held, at try %d", r.tries)
		}
		if m := r.missed(); len(m) > 0 {
			missed++
			verdict = "**missed**: " + strings.Join(m, "; ")
		}
		cells := append(append([]string{"`" + r.attack + "`"}, r.figures()...), strings.ReplaceAll(verdict, "|", "/"))
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
	fmt.Fprintf(w, "\n%d attacks, %d of them held.\n", len(results), len(results)-missed)
}
