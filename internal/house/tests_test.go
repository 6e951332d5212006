package house

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	declaredTest = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	namedTest    = regexp.MustCompile("`(Test[A-Z]\\w*)`")
)

// missingTests returns the tests that a document names and that are not declared.
func missingTests(doc string, declared map[string]bool) (missing []string) {
	for _, m := range namedTest.FindAllStringSubmatch(doc, -1) {
		if !declared[m[1]] {
			missing = append(missing, m[1])
		}
	}
	return missing
}

// A document that names a test as the proof of a promise names one that exists.
func TestNamedTestsExist(t *testing.T) {
	declared, docs := map[string]bool{}, map[string]string{}
	walk(t, func(file string) {
		switch {
		case strings.HasSuffix(file, "_test.go"):
			for _, m := range declaredTest.FindAllStringSubmatch(read(t, file), -1) {
				declared[m[1]] = true
			}
		case path.Ext(file) == ".md":
			docs[file] = read(t, file)
		}
	})
	named := 0
	for file, doc := range docs {
		named += len(namedTest.FindAllString(doc, -1))
		for _, name := range missingTests(doc, declared) {
			t.Errorf("%s names %s, which is not declared", file, name)
		}
	}
	if named == 0 {
		t.Error("no document names a test")
	}
}

func TestMissingTestsAreNamed(t *testing.T) {
	got := missingTests("| a | b | `TestIsThere`, `TestIsGone` |", map[string]bool{"TestIsThere": true})
	if len(got) != 1 || got[0] != "TestIsGone" {
		t.Errorf("missing are %v, want TestIsGone", got)
	}
}
