package house

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write api.txt anew")

// public returns the packages that users of the module can import: no program,
// nothing internal, no example. A new one is watched without being listed.
func public(all []listed) []string {
	var paths []string
	for _, p := range all {
		rel, ours := relative(p.ImportPath)
		if !ours || p.Name == "main" {
			continue
		}
		elements := strings.Split(rel, "/")
		if elements[0] != "examples" && !slices.Contains(elements, "internal") {
			paths = append(paths, rel)
		}
	}
	slices.Sort(paths)
	return paths
}

func TestAPI(t *testing.T) {
	var want bytes.Buffer
	for _, path := range public(packages(t, "linux")) {
		fmt.Fprintf(&want, "# %s/%s\n\n", modulePath, path)
		want.Write(goTool(t, ".", []string{"GOOS=linux", "GOARCH=amd64"}, "doc", "-all", "./"+path))
		want.WriteString("\n")
	}
	if *update {
		if err := os.WriteFile(root+"/api.txt", want.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := read(t, "api.txt"); got != want.String() {
		t.Errorf("api.txt is not what go doc says of the public packages:\n%s\n"+
			"If the change is meant, run make api, and say why in the commit.", difference(got, want.String()))
	}
}

// difference returns the lines from the first that differs to the last, those
// of old marked with - and those of now with +, and not too many of either.
func difference(old, now string) string {
	a, b := strings.Split(old, "\n"), strings.Split(now, "\n")
	first := 0
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
		first++
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	var out strings.Builder
	fmt.Fprintf(&out, "from line %d:\n", first+1)
	for _, side := range []struct {
		mark  string
		lines []string
	}{{"-", a}, {"+", b}} {
		const enough = 20
		for _, line := range side.lines[:min(enough, len(side.lines))] {
			fmt.Fprintf(&out, "%s %s\n", side.mark, line)
		}
		if more := len(side.lines) - enough; more > 0 {
			fmt.Fprintf(&out, "%s … and %d lines more\n", side.mark, more)
		}
	}
	return out.String()
}

func TestDifferenceShowsWhatChanged(t *testing.T) {
	const old, now = "a\nb\nc\nd\n", "a\nB\nc\nd\n"
	if got, want := difference(old, now), "from line 2:\n- b\n+ B\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPublicPackagesAreThoseThatUsersCanImport(t *testing.T) {
	got := public([]listed{
		{ImportPath: modulePath + "/stream", Name: "stream"},
		{ImportPath: modulePath + "/sse", Name: "sse"},
		{ImportPath: modulePath + "/hub/jetlog", Name: "jetlog"},
		{ImportPath: modulePath + "/hub/internal/window", Name: "window"},
		{ImportPath: modulePath + "/internal/server", Name: "server"},
		{ImportPath: modulePath + "/examples/internal/listen", Name: "listen"},
		{ImportPath: modulePath + "/cmd/tidings", Name: "main"},
		{ImportPath: "io", Name: "io", Standard: true},
	})
	if want := []string{"hub/jetlog", "sse", "stream"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
