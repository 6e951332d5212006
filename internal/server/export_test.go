package server

import "strconv"

// NewSmallMemory is NewMemory with another bound on the data retained.
func NewSmallMemory(buffer, maxBytes int) Feed { return newMemory(buffer, maxBytes) }

// ProblemRows returns the rows of the table of problem types in
// docs/http-api.md, as the code has them.
func ProblemRows() []string {
	var rows []string
	for t, p := range problemTypes {
		rows = append(rows, "| `"+problemType(t).uri()+"` | "+strconv.Itoa(p.status)+" | "+p.title+" |")
	}
	return rows
}
