package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// modulePath is the path of the module under test.
const modulePath = "example.com/tidings"

// root is the directory of the module, relative to this package's.
const root = "../.."

// goTool runs the go command and returns its output. dir is relative to the module's
// directory. The environment also has the variables of env.
func goTool(t *testing.T, dir string, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join(root, dir)
	cmd.Env = append(cmd.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// A listed package has the fields of go list's output that the tests use.
type listed struct {
	ImportPath string
	Name       string
	Standard   bool
	DepOnly    bool // listed only because another package imports it
	Imports    []string
}

// packages lists the module's packages and all their dependencies, as built for the
// operating system goos. It does not include the imports of tests.
func packages(t *testing.T, goos string) []listed {
	t.Helper()
	out := goTool(t, ".", []string{"GOOS=" + goos},
		"list", "-deps", "-json=ImportPath,Name,Standard,DepOnly,Imports", "./...")
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// relative returns a package's path within the module, and whether it is in it.
func relative(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, modulePath+"/")
}

// walk calls visit with the path of each file that somebody wrote. It skips testdata,
// directories whose name begins with a dot, and build results. The path has slashes
// and is relative to the module's directory.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case !d.IsDir():
			visit(filepath.ToSlash(rel))
		case rel == ".":
		case strings.HasPrefix(name, "."), name == "testdata", name == "node_modules", rel == "dist", rel == "bin":
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// read returns the content of a file. path is in the form of walk. The tests read all
// files through os and all directories through walk. That tells go test when its
// cached result is stale: it does not see what the go command reads.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
