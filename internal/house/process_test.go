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

// A library changes nothing of the process that it is part of: that belongs to the
// program. These are the functions and variables of packages with which one does, by
// the package's path. A name that ends in * stands for all that begin so.
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

// changesProcess returns a sentence for each place in a file that uses what changes the
// process. runtime.GOMAXPROCS(0) changes nothing.
func changesProcess(t *testing.T, name, source string) []string {
	t.Helper()
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var wrong []string
	say := func(at token.Pos, what string) {
		wrong = append(wrong, fmt.Sprintf("%s: %s changes the process, which is the program's", files.Position(at), what))
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
	asks := map[ast.Expr]bool{} // the function of a call that only asks
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

// libraryPackages returns the paths within the module of the packages that users import,
// and of those of ours that these import, on any system.
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
	for _, p := range []string{"sse", "hub", "hub/jetlog", "internal/problem"} {
		if !slices.Contains(own, p) {
			t.Errorf("%s is not among the library's packages, %q: does this test still see the tree?", p, own)
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
		source string // an import, and a statement
		wrong  string // what the sentence names; "" for none
	}{
		{"memory is given back by the program", `"runtime/debug"; debug.FreeOSMemory()`, "runtime/debug.FreeOSMemory"},
		{"in a goroutine, too", `"runtime/debug"; go debug.FreeOSMemory()`, "runtime/debug.FreeOSMemory"},
		{"garbage is collected as the program says", `"runtime/debug"; defer debug.SetGCPercent(debug.SetGCPercent(300))`, "runtime/debug.SetGCPercent"},
		{"so is the limit of memory", `"runtime/debug"; debug.SetMemoryLimit(1)`, "runtime/debug.SetMemoryLimit"},
		{"under another name, too", `d "runtime/debug"; d.SetMaxThreads(1)`, "runtime/debug.SetMaxThreads"},
		{"as a value, too", `"runtime/debug"; f := debug.FreeOSMemory; f()`, "runtime/debug.FreeOSMemory"},
		{"without a name, too", `. "runtime/debug"; FreeOSMemory()`, "runtime/debug"},
		{"to read is allowed", `"runtime/debug"; debug.ReadBuildInfo()`, ""},
		{"a field of that name is another thing", `"runtime/debug"; x.SetGCPercent(debug.Stack())`, ""},
		{"to ask for the number of processors is allowed", `"runtime"; runtime.GOMAXPROCS(0)`, ""},
		{"to set it is not", `"runtime"; runtime.GOMAXPROCS(1)`, "runtime.GOMAXPROCS"},
		{"signals are the program's", `"os/signal"; signal.Ignore()`, "os/signal"},
		{"so is the default logger", `"log/slog"; slog.SetDefault(nil)`, "log/slog.SetDefault"},
		{"which may be used", `"log/slog"; slog.Default()`, ""},
		{"so is the environment", `"os"; os.Setenv("a", "b")`, "os.Setenv"},
		{"so is the default client", `"net/http"; http.DefaultClient.Timeout = 1`, "net/http.DefaultClient"},
		{"so are limits", `"golang.org/x/sys/unix"; unix.Setrlimit(0, nil)`, "golang.org/x/sys/unix.Setrlimit"},
		{"which may be asked for", `"golang.org/x/sys/unix"; unix.Getrlimit(0, nil)`, ""},
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
