package problem_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"example.com/tidings/internal/problem"
)

// The documentation lists every problem type, and no others.
func TestProblemTypesAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/http-api.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "| `urn:tidings:problem:") {
			documented = append(documented, strings.TrimSpace(line))
		}
	}
	var defined []string
	for _, p := range problem.Types() {
		defined = append(defined, "| `"+p.URI()+"` | "+strconv.Itoa(p.Status())+" | "+p.Title()+" |")
	}
	for _, row := range defined {
		if !slices.Contains(documented, row) {
			t.Errorf("docs/http-api.md lacks the row\n%s", row)
		}
	}
	for _, row := range documented {
		if !slices.Contains(defined, row) {
			t.Errorf("docs/http-api.md has the row\n%s\nwhich is not what the code has", row)
		}
	}
}
