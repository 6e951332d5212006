package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A library must not change the state of its process, which belongs to the program.
// These functions and variables change it. They are by the package's path. A name that
// ends in * means all names with that prefix.
var ofProcess = map[string][]string{
	"expvar":                {"*"},
	"flag":                  {"*"},
	"golang.org/x/sys/unix": {"Chdir", "Dup2", "Dup3", "Exit", "Prctl", "Setenv", "Setpriority", "Setrlimit", "Umask"},
	"log":                   {"Fatal*", "Set*"},
	"log/slog":              {"SetDefault", "SetLogLoggerLevel"},
	"math/rand":             {"Seed"},
	"mime":                  {"AddExtensionType"},
	"net":                   {"DefaultResolver"},
	"net/http":              {"DefaultClient", "DefaultServeMux", "DefaultTransport", "Get", "Handle", "HandleFunc", "Head", "Post", "PostForm"},
	"net/http/pprof":        {"*"},
	"os":                    {"Chdir", "Clearenv", "Exit", "Setenv", "Unsetenv"},
	"os/signal":             {"*"},
	"runtime":               {"GC", "GOMAXPROCS", "Set*"},
	"runtime/debug":         {"FreeOSMemory", "Set*"},
	"syscall":               {"Chdir", "Dup2", "Dup3", "Exit", "Setenv", "Setpriority", "Setrlimit", "Umask", "Unsetenv"},
}

// changesProcess returns a sentence for each place in a file that uses a name of
// ofProcess. runtime.GOMAXPROCS(0) changes nothing, and is allowed.
func changesProcess(t *testing.T, name, source string) []string {
	t.Helper()
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var wrong []string
	say := func(at token.Pos, what string) {
		wrong = append(wrong, fmt.Sprintf("%s: %s changes the process, which only a program may do", files.Position(at), what))
	}
	imported := map[string]string{} // path by name
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if len(ofProcess[p]) > 0 && (name == "." || slices.Contains(ofProcess[p], "*")) {
			say(spec.Pos(), "the import of "+p)
		}
		imported[name] = p
	}
	asks := map[ast.Expr]bool{} // the functions of calls that only read a setting
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if len(n.Args) == 1 {
				arg, ok := n.Args[0].(*ast.BasicLit)
				asks[n.Fun] = ok && arg.Value == "0"
			}
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if !ok || n.Sel.Name == "GOMAXPROCS" && asks[n] {
				break
			}
			p := imported[pkg.Name]
			if slices.ContainsFunc(ofProcess[p], func(name string) bool {
				prefix, many := strings.CutSuffix(name, "*")
				return name == n.Sel.Name || many && prefix != "" && strings.HasPrefix(n.Sel.Name, prefix)
			}) {
				say(n.Pos(), p+"."+n.Sel.Name)
			}
		}
		return true
	})
	return wrong
}

// libraryPackages returns the packages that users import, and the packages of this module
// that these import on any system. The paths are within the module.
func libraryPackages(t *testing.T) []string {
	t.Helper()
	imports := map[string][]string{}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, p := range packages(t, goos) {
			if from, ours := relative(p.ImportPath); ours {
				imports[from] = append(imports[from], p.Imports...)
			}
		}
	}
	found := map[string]bool{}
	var add func(string)
	add = func(from string) {
		if found[from] {
			return
		}
		found[from] = true
		for _, p := range imports[from] {
			if to, ours := relative(p); ours {
				add(to)
			}
		}
	}
	for from := range imports {
		if slices.ContainsFunc(library, func(pattern string) bool { return matches(pattern, from) }) {
			add(from)
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func TestLibraryLeavesTheProcessAlone(t *testing.T) {
	own := libraryPackages(t)
	for _, p := range []string{"sse", "hub", "eventlog/natslog", "internal/problem"} {
		if !slices.Contains(own, p) {
			t.Errorf("%s is not among the library's packages, %q: does this test still find the tree?", p, own)
		}
	}
	walk(t, func(file string) {
		if path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") || !slices.Contains(own, path.Dir(file)) {
			return
		}
		for _, sentence := range changesProcess(t, file, read(t, file)) {
			t.Error(sentence)
		}
	})
}

func TestChangesOfTheProcessAreSeen(t *testing.T) {
	for _, tt := range []struct {
		rule   string
		source string // an import and a statement
		wrong  string // a name in the sentence; "" for none
	}{
		{"only the program gives memory back", `"runtime/debug"; debug.FreeOSMemory()`, "runtime/debug.FreeOSMemory"},
		{"not even in a goroutine", `"runtime/debug"; go debug.FreeOSMemory()`, "runtime/debug.FreeOSMemory"},
		{"only the program sets GOGC", `"runtime/debug"; defer debug.SetGCPercent(debug.SetGCPercent(300))`, "runtime/debug.SetGCPercent"},
		{"only the program limits memory", `"runtime/debug"; debug.SetMemoryLimit(1)`, "runtime/debug.SetMemoryLimit"},
		{"an import under another name counts", `d "runtime/debug"; d.SetMaxThreads(1)`, "runtime/debug.SetMaxThreads"},
		{"a function value counts", `"runtime/debug"; f := debug.FreeOSMemory; f()`, "runtime/debug.FreeOSMemory"},
		{"a dot import counts", `. "runtime/debug"; FreeOSMemory()`, "runtime/debug"},
		{"reading is allowed", `"runtime/debug"; debug.ReadBuildInfo()`, ""},
		{"a field of that name does not count", `"runtime/debug"; x.SetGCPercent(debug.Stack())`, ""},
		{"reading the number of processors is allowed", `"runtime"; runtime.GOMAXPROCS(0)`, ""},
		{"setting it is not", `"runtime"; runtime.GOMAXPROCS(1)`, "runtime.GOMAXPROCS"},
		{"only the program handles signals", `"os/signal"; signal.Ignore()`, "os/signal"},
		{"only the program sets the default logger", `"log/slog"; slog.SetDefault(nil)`, "log/slog.SetDefault"},
		{"using the default logger is allowed", `"log/slog"; slog.Default()`, ""},
		{"only the program sets the environment", `"os"; os.Setenv("a", "b")`, "os.Setenv"},
		{"only the program changes the default client", `"net/http"; http.DefaultClient.Timeout = 1`, "net/http.DefaultClient"},
		{"only the program sets limits", `"golang.org/x/sys/unix"; unix.Setrlimit(0, nil)`, "golang.org/x/sys/unix.Setrlimit"},
		{"reading limits is allowed", `"golang.org/x/sys/unix"; unix.Getrlimit(0, nil)`, ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			spec, statement, _ := strings.Cut(tt.source, "; ")
			got := changesProcess(t, "x.go", "package x\nimport "+spec+"\nfunc f() { "+statement+" }\n")
			switch {
			case tt.wrong == "" && len(got) == 0:
			case tt.wrong != "" && len(got) > 0 && strings.Contains(got[0], tt.wrong+" changes"):
			default:
				t.Errorf("got %q, want it to name %q (none if that is empty)", got, tt.wrong)
			}
		})
	}
}
