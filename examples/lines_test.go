package examples_test

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// rustLines are the non-blank lines of the tutorial's programs, as they
// stand in its code blocks: imports, attributes and comments included,
// Cargo.toml not.
var rustLines = map[string]int{
	"ticks":         34,
	"notifications": 62,
	"clock":         22,
	"metrics":       41,
	"launch":        25,
}

// longerAllowed are the programs that may have more lines than the tutorial's, for
// replies that are better.
var longerAllowed = map[string]bool{"notifications": true}

// goLines counts the non-blank lines of a program, imports and comments
// included.
func goLines(t *testing.T, program string) (n int) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(program, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if len(bytes.TrimSpace(line)) > 0 {
			n++
		}
	}
	return n
}

func TestProgramsAreShorterThanTheSeeds(t *testing.T) {
	for program, rust := range rustLines {
		if n := goLines(t, program); n >= rust && !longerAllowed[program] {
			t.Errorf("%s has %d lines, the Rust program %d", program, n, rust)
		}
	}
}

// A row of the README is: program, lines here, lines in Rust, what it shows.
var row = regexp.MustCompile(`(?m)^\| \[([a-z-]+)\]\(examples/([a-z-]+)/main\.go\) \| ([0-9]+) \| ([0-9]+) \|.*$`)

func TestTheREADMECountsTheLines(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	if errors.Is(err, fs.ErrNotExist) {
		missing(t, err)
	} else if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, m := range row.FindAllSubmatch(readme, -1) {
		program := string(m[1])
		rows = append(rows, program)
		want := []string{program, strconv.Itoa(goLines(t, program)), strconv.Itoa(rustLines[program])}
		if got := []string{string(m[2]), string(m[3]), string(m[4])}; !slices.Equal(got, want) {
			t.Errorf("README: row %q, want %q", m[0], want)
		}
	}
	if want := slices.Sorted(maps.Keys(rustLines)); !slices.Equal(slices.Sorted(slices.Values(rows)), want) {
		t.Errorf("README: rows for %q, want one for each of %q", rows, want)
	}
}
