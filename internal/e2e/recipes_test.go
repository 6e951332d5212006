package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"example.com/tidings/topics"
)

// The programs of docs/recipes.md run unchanged except for the address. A subscriber gets
// their messages, and each program prints the ids.
func TestRecipes(t *testing.T) {
	t.Parallel()
	interpreters := map[string][]string{ // names of programs, by the language of the block
		"sh":     {"sh"},
		"python": {"python3"},
		"php":    {"php"},
		"js":     {"node"},
	}
	doc, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	program(t, "curl")
	dir := t.TempDir()
	p := startProcess(t, dir, "127.0.0.1:0")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", p.URL+"/events?topic=orders.*", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	stream := receive(res.Body)
	if ev, ok := stream.next(t); !ok || ev.Type != "tidings.open" {
		t.Fatalf("first comes %+v", ev)
	}

	ran := map[string]bool{}
	blocks := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(doc), -1)
	for i, block := range blocks {
		if strings.Contains(block[2], "token(") {
			continue // see TestTokenRecipes
		}
		language, text := block[1], strings.ReplaceAll(block[2], "http://127.0.0.1:8080", p.URL)
		names, ok := interpreters[language]
		if !ok {
			t.Errorf("block %d has an unknown language: %s", i, language)
			continue
		}
		interpreter := program(t, names...)
		file := filepath.Join(dir, "recipe."+language)
		if language == "js" {
			file = strings.TrimSuffix(file, "js") + "mjs" // for await
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(ctx, interpreter, file)
		cmd.Env = append(cmd.Environ(), "no_proxy=*")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s\n%s", language, err, out, text)
		}
		wants := []string{`{"status":"shipped"}`}
		if strings.Contains(text, "/batch") {
			wants = []string{`{"status":"packed"}`, `{"status":"shipped"}`}
		}
		for _, want := range wants {
			ev, ok := stream.next(t)
			if data := strings.ReplaceAll(ev.Data, " ", ""); !ok || data != want || ev.Type != "" {
				t.Errorf("%s: the subscriber gets %+v, want %s", language, ev, want)
			}
			if !strings.Contains(string(out), ev.ID) {
				t.Errorf("%s: it prints %q, without the id %s", language, out, ev.ID)
			}
		}
		ran[language] = true
	}
	if len(ran) != len(interpreters) {
		t.Errorf("the recipes that ran are %v, want one in each language of %v", ran, interpreters)
	}
}

// The functions of docs/recipes.md make the same tokens as topics.Token, of its examples and of
// other strings.
func TestTokenRecipes(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	strs := []string{"", "tidings", "tidings.", "Tidings", "\x00\x7f\n", "é=日*.😀 \"'\\/", strings.Repeat("x", 200)}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\|$").FindAllStringSubmatch(string(doc), -1)
	if len(rows) < 10 {
		t.Fatalf("docs/recipes.md has %d examples of tokens", len(rows))
	}
	for _, row := range rows {
		if got := topics.Token(row[1]); got != row[2] {
			t.Errorf("topics.Token(%q) is %q; docs/recipes.md says %q", row[1], got, row[2])
		}
		strs = append(strs, row[1])
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var b strings.Builder
		for range random.IntN(8) {
			b.WriteRune([]rune("az09-_~@:=.*/% \n\u00e9\u65e5\U0001f600")[random.IntN(19)])
		}
		strs = append(strs, b.String())
	}
	input, err := json.Marshal(strs)
	if err != nil {
		t.Fatal(err)
	}
	for language, tt := range map[string]struct{ interpreter, file, rest string }{
		"js":     {"node", "token.mjs", "\nimport fs from 'node:fs';\nconsole.log(JSON.stringify(JSON.parse(fs.readFileSync(0)).map(token)));\n"},
		"python": {"python3", "token.py", "\nimport json, sys\nprint(json.dumps([token(s) for s in json.loads(sys.stdin.buffer.read())]))\n"},
	} {
		block := regexp.MustCompile("(?ms)^```" + language + "\n([^`]*token\\(.*?)^```$").FindStringSubmatch(string(doc))
		if block == nil {
			t.Fatalf("docs/recipes.md has no token in %s", language)
		}
		file := filepath.Join(t.TempDir(), tt.file)
		if err := os.WriteFile(file, []byte(block[1]+tt.rest), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), program(t, tt.interpreter), file)
		cmd.Stdin = bytes.NewReader(input)
		out, err := cmd.Output()
		var got []string
		if err != nil || json.Unmarshal(out, &got) != nil || len(got) != len(strs) {
			t.Fatalf("%s: %v, %s", language, err, out)
		}
		for i, s := range strs {
			if want := topics.Token(s); got[i] != want {
				t.Errorf("%s: the token of %q is %q, want %q", language, s, got[i], want)
			}
		}
	}
}

// A recipe whose message is too large is told so, although its library sends all of the message
// before it reads.
func TestRecipesAreToldOfRefusals(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := startProcess(t, dir, "127.0.0.1:0")
	for _, tt := range []struct{ language, interpreter, file, large, says string }{
		{"python", "python3", "large.py", `"x" * 5_000_000`, "HTTP Error 413"},
		{"php", "php", "large.php", `str_repeat("x", 5_000_000)`, "413 Request Entity Too Large"},
		{"js", "node", "large.mjs", `"x".repeat(5_000_000)`, "A message may have up to 524288 bytes"},
	} {
		block := regexp.MustCompile("(?ms)^```" + tt.language + "\n(.*?)^```$").FindStringSubmatch(string(doc))
		if block == nil || strings.Count(block[1], `"shipped"`) != 1 {
			t.Fatalf("docs/recipes.md has another recipe in %s", tt.language)
		}
		text := strings.NewReplacer("http://127.0.0.1:8080", p.URL, `"shipped"`, tt.large).Replace(block[1])
		file := filepath.Join(dir, tt.file)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		interpreter := program(t, tt.interpreter)
		for range 2 {
			cmd := exec.CommandContext(t.Context(), interpreter, file)
			cmd.Env = append(cmd.Environ(), "no_proxy=*")
			if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), tt.says) {
				t.Errorf("%s: the program says\n%s\nwithout %q", tt.language, out, tt.says)
			}
		}
	}
}
