package server

import (
	"net/http"
	"strconv"
)

// ShutdownGrace is shutdownGrace.
const ShutdownGrace = shutdownGrace

// HTTP returns the http.Server that Run runs.
func (s *Server) HTTP() *http.Server { return s.http }

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
