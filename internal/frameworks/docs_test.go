package frameworks

import (
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const page = "../../docs/frameworks.md"

// The code of the page is that of the functions tested here.
func TestPageShowsTestedCode(t *testing.T) {
	source := functions(t)
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for rest := string(text); ; {
		_, after, ok := strings.Cut(rest, "```go\n")
		if !ok {
			break
		}
		block, after, ok := strings.Cut(after, "```")
		if !ok {
			t.Fatal("a code block has no end")
		}
		rest = after
		blocks++
		name := declared(t, block)
		if want, ok := source[name]; !ok || block != want {
			t.Errorf("the page's %s is not the one tested:\n%s\nwant\n%s", name, block, want)
		}
	}
	if blocks < 4 {
		t.Errorf("%d code blocks", blocks)
	}
}

// Each stack that breaks a promise is on the page, with what it breaks.
func TestPageNamesWhatIsImpossible(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(string(text)), " ")
	for _, s := range stacks() {
		for _, breaks := range []map[promise]string{s.breaks, s.breaksGzip} {
			for p, why := range breaks {
				if why != routeForGET && !strings.Contains(words, why) {
					t.Errorf("%s: %s: the page does not say that %s", s.name, p, why)
				}
			}
		}
	}
}

// functions returns the source of this package's functions without their
// comments, by name.
func functions(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	source := map[string]string{}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok {
				source[qualified(d)] = string(src[fset.Position(d.Pos()).Offset:fset.Position(d.End()).Offset]) + "\n"
			}
		}
	}
	return source
}

// declared returns the name of the one function that a code block declares.
func declared(t *testing.T, block string) string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+block, 0)
	if err != nil || len(f.Decls) != 1 {
		t.Fatalf("not one declaration (%v):\n%s", err, block)
	}
	if b, err := format.Source([]byte(block)); err != nil || string(b) != block {
		t.Errorf("not formatted (%v):\n%s", err, block)
	}
	d, ok := f.Decls[0].(*ast.FuncDecl)
	if !ok {
		t.Fatalf("not a function:\n%s", block)
	}
	return qualified(d)
}

// qualified returns the name of a function, with the type of its receiver
// before that of a method.
func qualified(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return d.Name.Name
	}
	return types.ExprString(d.Recv.List[0].Type) + "." + d.Name.Name
}
