//go:build unix

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// completions are the words that a shell offers for a command line.
var completions = []struct{ line, has, lacks string }{
	{"tidings su", "sub", "pub"},
	{"tidings k", "key keygen", "sub"},
	{"tidings sub --c", "--cursor --count", "--from"},
	{"tidings pub --nd", "--ndjson", "--type"},
	{"tidings history --rev", "--reverse", "--tail"},
	{"tidings completion z", "zsh", "fish"},
	{"tidings sub $(touch$IFS''evil) --c", "--cursor", ""},
}

// The scripts complete the commands and flags in each shell, and run nothing that stands on the
// command line.
func TestCompletion(t *testing.T) {
	for shell, script := range map[string]string{
		"bash": `source <(tidings completion bash)
read -ra COMP_WORDS <<< "$1"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tidings; printf '%s\n' "${COMPREPLY[@]}"`,
		"zsh": `compdef() { :; }
_describe() { print -rl -- "${(@P)2}"; }
_files() { :; }
source <(tidings completion zsh)
words=("${(@s: :)1}"); CURRENT=$#words; _tidings | grep -- "^${words[-1]}"`,
		"fish": `tidings completion fish | source; complete -C "$argv[1]"`,
	} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			switch {
			case err != nil && os.Getenv("CI") == "true":
				t.Fatal(err)
			case err != nil:
				t.Skip(err)
			}
			for _, tt := range completions {
				c := command(t, nil)
				args := []string{"-c", script, shell, tt.line}
				if shell == "fish" {
					if strings.Contains(tt.line, "$(") {
						continue // complete -C of a string with a substitution is not what typing it is
					}
					args = []string{"-c", script, tt.line}
				}
				sh := exec.CommandContext(t.Context(), path, args...)
				sh.Dir, sh.Env = c.Dir, append(c.Env, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"), "HOME="+c.Dir)
				out, err := sh.CombinedOutput()
				var words []string
				for line := range strings.Lines(string(out)) {
					word, _, _ := strings.Cut(strings.TrimSpace(line), ":")
					word, _, _ = strings.Cut(word, "\t")
					words = append(words, word)
				}
				got := " " + strings.Join(words, " ") + " "
				for want := range strings.FieldsSeq(tt.has) {
					if !strings.Contains(got, " "+want+" ") {
						t.Errorf("%s: %q, %v; want %q", tt.line, out, err, want)
					}
				}
				if tt.lacks != "" && strings.Contains(got, " "+tt.lacks+" ") {
					t.Errorf("%s: %q", tt.line, out)
				}
				if _, err := os.Stat(filepath.Join(c.Dir, "evil")); err == nil {
					t.Errorf("%s: what stands on the line was run", tt.line)
				}
			}
		})
	}
}
