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

var update = flag.Bool("update", false, "rewrite api.txt")

// public returns the packages that users of the module can import: no programs,
// internal packages or examples. It finds new packages by itself.
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
		t.Errorf("api.txt differs from the output of go doc for the public packages:\n%s\n"+
			"If you meant to change the API, run make api, and say why in the commit.", difference(got, want.String()))
	}
}

// difference returns the first lines that the two texts do not have in common, in
// order. It marks lines of old with - and lines of now with +. Before each place it
// puts a line number of old.
func difference(old, now string) string {
	a, b := strings.Split(old, "\n"), strings.Split(now, "\n")
	// common[i][j] is the length of the longest common subsequence of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	inside := false // inside a difference
	for i, j := 0, 0; i < len(a) || j < len(b); {
		if i < len(a) && j < len(b) && a[i] == b[j] {
			inside = false
			i, j = i+1, j+1
			continue
		}
		if !inside {
			out = append(out, fmt.Sprintf("line %d:", i+1))
			inside = true
		}
		if j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1] {
			out = append(out, "- "+a[i])
			i++
		} else {
			out = append(out, "+ "+b[j])
			j++
		}
	}
	const enough = 60
	if more := len(out) - enough; more > 0 {
		out = append(out[:enough], fmt.Sprintf("… and %d lines more", more))
	}
	return strings.Join(out, "\n")
}

func TestDifferenceShowsWhatChanged(t *testing.T) {
	const (
		old = "a\nb\nc\nd\ne\n"
		now = "a\nB\nc\nd\ne\nf\n"
	)
	if got, want := difference(old, now), "line 2:\n- b\n+ B\nline 6:\n+ f"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPublicPackagesAreThoseThatUsersCanImport(t *testing.T) {
	got := public([]listed{
		{ImportPath: modulePath + "/stream", Name: "stream"},
		{ImportPath: modulePath + "/sse", Name: "sse"},
		{ImportPath: modulePath + "/eventlog/natslog", Name: "natslog"},
		{ImportPath: modulePath + "/hub/internal/window", Name: "window"},
		{ImportPath: modulePath + "/internal/server", Name: "server"},
		{ImportPath: modulePath + "/examples/internal/listen", Name: "listen"},
		{ImportPath: modulePath + "/cmd/tidings", Name: "main"},
		{ImportPath: "io", Name: "io", Standard: true},
	})
	if want := []string{"eventlog/natslog", "sse", "stream"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
