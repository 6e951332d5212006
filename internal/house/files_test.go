package house

import (
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

// maxLines is the limit above which a file has more than one noun. It is generous:
// consider to split a file at about 500 lines.
const maxLines = 600

func TestNoFileIsTooLong(t *testing.T) {
	walk(t, func(file string) {
		if path.Ext(file) != ".go" {
			return
		}
		if lines := strings.Count(read(t, file), "\n"); lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it, with one noun in each file", file, lines, maxLines)
		}
	})
}

// vague has names that do not say what a package is for.
var vague = []string{"base", "common", "helper", "helpers", "lib", "misc", "shared", "types", "util", "utils"}

// misnamed says what is wrong with a package's name, or "". std has the paths of the
// standard library's packages.
func misnamed(name string, std []string) string {
	if slices.Contains(vague, name) {
		return "is too vague: name the package after what it provides"
	}
	for _, p := range std {
		if path.Base(p) == name {
			return "is also the name of the standard library's " + p
		}
	}
	return ""
}

func TestPackageNamesAreTheirOwn(t *testing.T) {
	std := slices.DeleteFunc(strings.Fields(string(goTool(t, ".", nil, "list", "std"))), func(p string) bool {
		return strings.HasPrefix(p, "vendor/") || slices.Contains(strings.Split(p, "/"), "internal")
	})
	if !slices.Contains(std, "net/http") {
		t.Fatal("go list std does not name net/http")
	}
	named := map[string]bool{}
	walk(t, func(file string) {
		if path.Ext(file) != ".go" {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, read(t, file), parser.PackageClauseOnly)
		if err != nil {
			t.Error(err)
			return
		}
		name := strings.TrimSuffix(f.Name.Name, "_test")
		if key := path.Dir(file) + " " + name; !named[key] {
			named[key] = true
			if wrong := misnamed(name, std); wrong != "" {
				t.Errorf("%s: the package name %s %s", path.Dir(file), name, wrong)
			}
		}
	})
}

func TestMisnamedPackagesAreSeen(t *testing.T) {
	std := []string{"encoding/json", "maps"}
	for name, want := range map[string]string{
		"broadcast": "",
		"main":      "",
		"util":      "is too vague: name the package after what it provides",
		"json":      "is also the name of the standard library's encoding/json",
	} {
		if got := misnamed(name, std); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
