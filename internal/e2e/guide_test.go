package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// guideBlocks returns the blocks of code of a language in a section of the guide.
func guideBlocks(t *testing.T, section, language string) (blocks []string) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	text := between(t, string(doc), "\n### "+section+"\n", "\n### ")
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, match[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("the section %s has no block of %s", section, language)
	}
	return blocks
}

// The commands of the guide's chapter "Authentication" work, and the hub accepts the tokens that
// its programs sign.
func TestGuideTokens(t *testing.T) {
	t.Parallel()
	tidings.once.Do(buildTidings)
	if tidings.err != nil {
		t.Fatal(tidings.err)
	}
	dir := t.TempDir()
	tool := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(tidings.path, args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tidings %q: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	var served bool
	for _, section := range []string{"Keys for services", "Tokens for users"} {
		for _, block := range guideBlocks(t, section, "console") {
			for line := range strings.Lines(block) {
				command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ tidings ")
				if !ok {
					continue
				}
				args := strings.Fields(strings.ReplaceAll(command, "'", ""))
				if args[0] == "serve" {
					served = true
					args = append(args, "--check")
				}
				tool(args...)
			}
		}
	}
	if !served {
		t.Error("no command serves: does this test still find them?")
	}
	tool("keygen", "--secret", "tidings.secret")
	p := startProcess(t, dir, "127.0.0.1:0", "--memory", "--jwt-key", "tidings.key.pub", "--jwt-key", "tidings.secret")

	for language, name := range map[string]string{"js": "node", "python": "python3", "php": "php"} {
		t.Run(language, func(t *testing.T) {
			interpreter := program(t, name)
			file := filepath.Join(dir, "token."+strings.Replace(language, "js", "mjs", 1))
			if err := os.WriteFile(file, []byte(guideBlocks(t, "Tokens for users", language)[0]), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(interpreter, file)
			cmd.Dir = dir
			token, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequestWithContext(t.Context(), "GET", p.URL+"/session", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var session struct {
				Subject   string
				Subscribe []string
			}
			if err := json.NewDecoder(res.Body).Decode(&session); err != nil || res.StatusCode != 200 ||
				session.Subject != "jwt:ada" || !slices.Equal(session.Subscribe, []string{"users.ada.**"}) {
				t.Errorf("%s, %v, %+v", res.Status, err, session)
			}
		})
	}
}

// The guide's program follows a stream that is refused: it gets a new token and misses nothing.
func TestGuideFollowsAfterARefusal(t *testing.T) {
	t.Parallel()
	blocks := guideBlocks(t, "Browsers", "js")
	follow := blocks[len(blocks)-1]
	was, is := newMint(t), newMint(t)
	s := startSite(t, was.config)
	tb := newTab(t)
	tb.do(t, chromedp.Navigate(s.URL+"/healthz"))
	v := &visit{tab: tb}
	eval[chromedp.Void](t, tb, `void (window.got = [], window.asked = 0, window.token = %s, console.log = (x) => got.push(x),
		window.wasFetch = window.fetch, window.fetch = (url, init) => url === "/my-token" ? (asked++, Promise.resolve(new Response(token))) : wasFetch(url, init))`,
		js(was.token(t, "ada", time.Hour)))
	eval[chromedp.Void](t, tb, "void (() => {%s})()", follow)
	arrives := func(text string) {
		t.Helper()
		v.until(t, `got.at(-1) === %s`, js(text))
	}
	// The first stream has no session yet.
	v.until(t, "asked === 1")
	eventually(t, "the stream is open", func() bool {
		s.tell(t, "users.ada.inbox", "first")
		return eval[bool](t, tb, "got.length > 0")
	})
	eval[chromedp.Void](t, tb, `void (token = %s)`, js(is.token(t, "ada", time.Hour)))
	s.stop()
	is.config.Addr = s.config.Addr
	s = startSiteAgain(t, is.config)
	v.until(t, "asked === 2")
	s.tell(t, "users.ada.inbox", "second")
	arrives("second")
}
