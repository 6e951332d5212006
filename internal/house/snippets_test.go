package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The test compiles and vets each block of Go code ("```go") in the README and in docs
// by itself. A block is one of:
//
//   - a whole file: it begins with "package";
//   - statements: the line before it is statementsMark. They are the body of a
//     function with the parameters in statementsFunc;
//   - declarations, otherwise.
//
// The last two import the packages in imports that they mention.

const statementsMark = "<!-- snippet: statements -->"

// statementsFunc declares the names that statements may use without a declaration.
const statementsFunc = `func _(ctx context.Context, w http.ResponseWriter, r *http.Request, events iter.Seq2[sse.Event, error], messages *broadcast.Channel[string]) {`

// imports has the import path of each package that a block may mention.
var imports = knownImports(
	"bytes", "cmp", "context", "database/sql", "encoding/json", "errors", "fmt", "io", "iter", "log", "log/slog", "math/rand/v2",
	"net", "net/http", "os", "os/signal", "slices", "strconv", "strings", "sync", "syscall", "time",
	modulePath+"/broadcast", modulePath+"/eventsource", modulePath+"/eventsource/publish", modulePath+"/eventlog", modulePath+"/eventlog/natslog", modulePath+"/eventlog/segmentlog", modulePath+"/hub", modulePath+"/hub/httpapi", modulePath+"/hub/stats",
	modulePath+"/sse", modulePath+"/stream", modulePath+"/topics",
	"golang.org/x/sys/unix",
)

func knownImports(paths ...string) map[string]string {
	known := map[string]string{}
	for _, p := range paths {
		known[path.Base(strings.TrimSuffix(p, "/v2"))] = p
	}
	return known
}

// compiledElsewhere has documents whose code needs other modules. Another test
// compares it with code that is compiled.
var compiledElsewhere = []string{"docs/frameworks.md"}

// A snippet is one block of Go code in a document.
type snippet struct {
	doc        string // the path, in the form of walk
	line       int    // the number of its first line, from 1
	statements bool
	code       string
}

func (s snippet) String() string { return fmt.Sprintf("%s:%d", s.doc, s.line) }

// snippets returns the blocks of Go code in a document's text.
func snippets(doc, text string) ([]snippet, error) {
	var all []snippet
	var before string // the last line before the block that is not blank
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		info, fenced := strings.CutPrefix(lines[i], "```")
		if !fenced {
			if strings.TrimSpace(lines[i]) != "" {
				before = lines[i]
			}
			continue
		}
		begin := i + 1
		n := slices.Index(lines[begin:], "```")
		if n < 0 {
			return nil, fmt.Errorf("%s:%d: the block has no end", doc, i+1)
		}
		if info == "go" {
			code := strings.Join(lines[begin:begin+n], "\n") + "\n"
			all = append(all, snippet{doc, begin + 1, before == statementsMark, code})
		}
		i = begin + n
		before = ""
	}
	return all, nil
}

// file returns the snippet as a Go file. Positions in it refer to the
// document.
func (s snippet) file() (string, error) {
	switch formatted, err := format.Source([]byte(s.code)); {
	case err != nil:
		return "", fmt.Errorf("%s: %w", s, err)
	case string(formatted) != s.code:
		return "", fmt.Errorf("%s: gofmt would write it as\n%s", s, formatted)
	}
	abs, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(s.doc)))
	if err != nil {
		return "", err
	}
	code := fmt.Sprintf("//line %s:%d\n%s", filepath.ToSlash(abs), s.line, s.code)
	if strings.HasPrefix(s.code, "package ") {
		return code, nil
	}
	if s.statements {
		code = statementsFunc + "\n" + code + "}\n"
	}
	f, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+code, 0)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s, err)
	}
	head := "package p\n\n"
	for _, p := range mentioned(f) {
		head += fmt.Sprintf("import %q\n", p)
	}
	return head + code, nil
}

// mentioned returns the import paths of the known packages that a file mentions.
func mentioned(f *ast.File) []string {
	found := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && imports[x.Name] != "" {
				found[imports[x.Name]] = true
			}
		}
		return true
	})
	return slices.Sorted(maps.Keys(found))
}

// compile builds and vets the snippets in one run of the go command. Its error has
// the faults. Each snippet is a package of its own in a temporary module that
// requires this one. They are built for Linux, because one uses its system calls.
func compile(t *testing.T, all []snippet) error {
	t.Helper()
	dir := t.TempDir()
	base, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range all {
		code, err := s.file()
		if err != nil {
			return err
		}
		write(t, filepath.Join(dir, fmt.Sprintf("s%03d", i), "snippet.go"), code)
	}
	// The temporary module has the requirements of this one, so that the go command
	// loads no other module.
	_, requirements, _ := strings.Cut(read(t, "go.mod"), "\n")
	write(t, filepath.Join(dir, "go.mod"), fmt.Sprintf("module snippets\n%s\nrequire %[2]s v0.0.0\n\nreplace %[2]s => %[3]q\n", requirements, modulePath, base))
	write(t, filepath.Join(dir, "go.sum"), read(t, "go.sum"))
	cmd := exec.CommandContext(t.Context(), "go", "vet", "./...")
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "GOOS=linux", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go vet: %w\n%s", err, bytes.ReplaceAll(out, []byte(base+string(filepath.Separator)), nil))
	}
	return nil
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSnippetsCompile(t *testing.T) {
	var all []snippet
	docs := 0
	walk(t, func(file string) {
		if file != "README.md" && (path.Dir(file) != "docs" || path.Ext(file) != ".md") || slices.Contains(compiledElsewhere, file) {
			return
		}
		found, err := snippets(file, read(t, file))
		if err != nil {
			t.Error(err)
		}
		if len(found) > 0 {
			docs++
		}
		all = append(all, found...)
	})
	if docs < 2 {
		t.Fatalf("code in %d documents: does this test still find them?", docs)
	}
	if err := compile(t, all); err != nil {
		t.Error(err)
	}
}

// Each case is a document with one block, and its error.
func TestBrokenSnippetsAreNamed(t *testing.T) {
	const statements = statementsMark + "\n"
	for _, tt := range []struct {
		name, text string
		wrong      string // part of the error; "" if the block is right
	}{
		{"a file", "```go\npackage main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println() }\n```", ""},
		{"declarations", "```go\nvar a = strings.ToUpper(\"a\")\n```", ""},
		{"statements", statements + "```go\nif err := sse.Serve(w, r, events, nil); err != nil {\n\tlog.Print(err)\n}\n```", ""},
		{"statements after a blank line", statements + "\n```go\nmessages.Send(\"a\")\n```", ""},
		{"other languages are left alone", "```js\nlet go = \n```", ""},
		{"a file without its import", "text\n\n```go\npackage main\n\nfunc main() { fmt.Println() }\n```", "docs/x.md:6: undefined: fmt"},
		{"declarations that are not there", "```go\nvar a = stream.Sleeep\n```", "docs/x.md:2: undefined: stream.Sleeep"},
		{"statements that do not compile", "a\n\n" + statements + "```go\nsse.Serve(w, r, events)\n```", "docs/x.md:5: not enough arguments"},
		{"a variable that is not used", statements + "```go\na := 1\n```", "docs/x.md:3: declared and not used: a"},
		{"statements without the mark", "```go\nmessages.Send(\"a\")\n```", "docs/x.md:2: "},
		{"a mark further up", statements + "text\n\n```go\nmessages.Send(\"a\")\n```", "docs/x.md:5: "},
		{"what vet reports", statements + "```go\nfmt.Printf(\"%d\\n\", \"a\")\n```", "docs/x.md:3:"},
		{"what gofmt would change", "```go\nvar a  = 1\n```", "docs/x.md:2: gofmt"},
		{"what does not parse", "```go\nvar a = = 1\n```", "docs/x.md:2: "},
		{"a block without an end", "text\n```go\nvar a = 1\n", "docs/x.md:2: the block has no end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all, err := snippets("docs/x.md", tt.text)
			if err == nil && len(all) > 0 {
				err = compile(t, all)
			}
			switch {
			case tt.wrong == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
				t.Errorf("got %v, want one with %q", err, tt.wrong)
			}
		})
	}
}
