package house

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// direct returns the modules that the go.mod file in the directory dir requires
// directly, for its own packages or tools.
func direct(t *testing.T, dir string) []string {
	t.Helper()
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Tool []struct{ Path string }
	}
	if err := json.Unmarshal(goTool(t, dir, nil, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, r := range mod.Require {
		// The go command marks a module that only a tool needs as indirect.
		if !r.Indirect || slices.ContainsFunc(mod.Tool, func(tool struct{ Path string }) bool {
			return strings.HasPrefix(tool.Path+"/", r.Path+"/")
		}) {
			paths = append(paths, r.Path)
		}
	}
	return paths
}

// The lines of docs/dependencies.md that the test reads: the heading of a go.mod
// file's section, and a module with its reason.
var (
	headingLine = regexp.MustCompile("^## (?:`(.*go\\.mod)`)?")
	moduleLine  = regexp.MustCompile("^- `([^`]+)`:? *(.*)$")
)

// undocumented compares docs/dependencies.md with the direct requirements of each
// go.mod file. It returns a sentence for each difference. required is by path.
func undocumented(doc string, required map[string][]string) []string {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	found := map[string][]string{}
	section := ""
	for line := range strings.Lines(doc) {
		line = strings.TrimSpace(line)
		if m := headingLine.FindStringSubmatch(line); m != nil {
			section = m[1]
			if _, ok := required[section]; section != "" && !ok {
				say("%s has a section but is not in the tree", section)
			}
			continue
		}
		m := moduleLine.FindStringSubmatch(line)
		if m == nil || section == "" {
			continue
		}
		if m[2] == "" {
			say("%s: %s has no reason", section, m[1])
		}
		found[section] = append(found[section], m[1])
		if !slices.Contains(required[section], m[1]) {
			say("%s: %s has a line but is not a direct requirement", section, m[1])
		}
	}
	for _, file := range slices.Sorted(maps.Keys(required)) {
		for _, module := range required[file] {
			if !slices.Contains(found[file], module) {
				say("%s: %s is required but has no line", file, module)
			}
		}
	}
	return wrong
}

func TestEveryDependencyHasItsReason(t *testing.T) {
	required := map[string][]string{}
	walk(t, func(file string) {
		if path.Base(file) == "go.mod" {
			read(t, file)
			required[file] = direct(t, path.Dir(file))
		}
	})
	if len(required["go.mod"]) == 0 {
		t.Error("go.mod has no direct requirement: does this test still find the tree?")
	}
	for _, sentence := range undocumented(read(t, "docs/dependencies.md"), required) {
		t.Errorf("docs/dependencies.md: %s", sentence)
	}
}

func TestUndocumentedDependenciesAreNamed(t *testing.T) {
	const doc = "# Dependencies\n\n- `outside/of/a/section`: is text.\n\n" +
		"## `go.mod`\n\n- `example.org/a`: for this.\n- `example.org/stale`: for that.\n- `example.org/mute`\n\n" +
		"## `gone/go.mod`\n\n## From Debian\n\n- `gcc`: for the race detector.\n"
	got := undocumented(doc, map[string][]string{
		"go.mod":       {"example.org/a", "example.org/mute", "example.org/new"},
		"tools/go.mod": {"example.org/tool"},
	})
	want := []string{
		"go.mod: example.org/stale has a line but is not a direct requirement",
		"go.mod: example.org/mute has no reason",
		"gone/go.mod has a section but is not in the tree",
		"go.mod: example.org/new is required but has no line",
		"tools/go.mod: example.org/tool is required but has no line",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
