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

// modulePath is the path of the module whose tree is tested.
const modulePath = "example.com/tidings"

// root is the directory of the module, relative to this package's.
const root = "../.."

// goTool runs the go command in a directory given relative to the module's and
// returns what it prints. The variables are added to the environment.
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

// A listed package is what these tests read of go list's answer.
type listed struct {
	ImportPath string
	Name       string
	Standard   bool
	DepOnly    bool // not in the module, or in std: there because something imports it
	Imports    []string
}

// packages lists the module's packages and all that they import, as built for
// the operating system goos. Tests' imports are not among them.
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

// relative returns a package's path within the module, and whether it is there.
func relative(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, modulePath+"/")
}

// walk calls visit with the path, relative to the module's directory and with
// slashes, of each file that is somebody's work: not below testdata or a
// directory whose name begins with a dot, and not a build's result.
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

// read returns a file's content, its path as walk gives it. All files are read
// through os, and directories by walk, so that go test knows what its cached
// results stand on: it does not see what the go command reads.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
