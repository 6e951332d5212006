package house

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A place says which packages of this module a package may import. A path that ends
// in "/..." means a package and those below it, as for the go command. Tests may
// import any package.
type place struct {
	path string
	may  []string
	std  bool // outside this module, imports only the standard library
}

// library has the packages that users import. Everything else builds on them.
var library = []string{"sse", "stream", "broadcast", "eventsource", "eventsource/publish", "topics", "eventlog/...", "hub/..."}

// places holds every package of the module, also those that are designed and not yet
// written. The arrows point one way:
//
//	cmd → internal/server → hub/httpapi → hub → internal/dispatch → internal/window →
//	eventlog → topics, sse
//
// internal/delivery imports nothing of this module.
//
// The hub does not know the logs in eventlog/...: cmd gives one to the hub.
var places = []place{
	{path: "sse", std: true},
	{path: "stream", may: []string{"sse"}, std: true},
	{path: "broadcast", may: []string{"sse"}, std: true},
	{path: "eventsource", may: []string{"internal/outgoing", "sse"}, std: true},
	{path: "eventsource/publish", may: []string{"internal/outgoing", "stream"}, std: true},
	{path: "topics", may: []string{"internal/quote"}, std: true},
	{path: "eventlog", may: []string{"internal/logclock", "internal/nameset", "internal/quote", "internal/ringbuf", "sse", "topics"}, std: true},
	{path: "eventlog/natslog", may: []string{"eventlog", "internal/nameset", "sse", "topics"}},
	{path: "eventlog/segmentlog", may: []string{"eventlog", "internal/logclock", "internal/yield", "sse", "topics"}},
	{path: "eventlog/logtest", may: []string{"eventlog", "sse", "topics"}},
	{path: "internal/logclock", std: true},
	{path: "internal/nameset", std: true},
	{path: "internal/outgoing", std: true},
	{path: "internal/ringbuf", std: true},
	{path: "internal/quote", std: true},
	{path: "internal/yield", std: true},
	{path: "internal/jsonscan", may: []string{"internal/yield"}, std: true},
	{path: "internal/grant", may: []string{"topics"}, std: true},
	{path: "internal/filewatch", std: true},
	{path: "internal/certs", may: []string{"internal/filewatch"}, std: true},
	{path: "internal/auth", may: []string{"internal/filewatch", "internal/grant", "topics"}},
	{path: "internal/delivery"},
	{path: "internal/window", may: []string{"eventlog", "internal/budget", "internal/delivery", "internal/ringbuf", "internal/yield", "sse", "topics"}, std: true},
	{path: "internal/budget", may: []string{"hub/stats", "internal/yield"}, std: true},
	{path: "internal/dispatch", may: []string{"eventlog", "internal/budget", "internal/delivery", "internal/window", "internal/yield", "sse", "topics"}, std: true},
	{path: "hub", may: []string{"eventlog", "hub/stats", "internal/budget", "internal/delivery", "internal/dispatch", "internal/quote", "internal/window", "sse", "topics"}, std: true},
	{path: "hub/stats", std: true},
	{path: "hub/httpapi", may: []string{"eventlog", "hub", "internal/budget", "internal/grant", "internal/idempotency", "internal/jsonscan", "internal/problem", "internal/quote", "internal/request", "internal/unpublished", "internal/yield", "sse", "topics"}, std: true},
	{path: "internal/idempotency", may: []string{"eventlog", "internal/problem"}, std: true},
	{path: "internal/problem", may: []string{"internal/quote"}, std: true},
	{path: "internal/unpublished", may: []string{"eventlog", "internal/problem", "internal/quote"}, std: true},
	{path: "internal/request", may: []string{"internal/budget", "internal/problem", "internal/quote", "internal/yield"}, std: true},
	{path: "internal/server", may: []string{"eventlog", "hub/httpapi", "hub", "hub/stats", "internal/auth", "internal/budget", "internal/certs", "internal/grant", "internal/idempotency", "internal/jsonscan", "internal/problem", "internal/quote", "internal/request", "internal/unpublished", "internal/yield", "sse", "topics"}},
	{path: "internal/bench"},
	{path: "internal/contract", may: []string{"eventsource", "sse"}, std: true},
	{path: "cmd/...", may: append([]string{"internal/auth", "internal/bench", "internal/certs", "internal/filewatch", "internal/outgoing", "internal/quote", "internal/server", "internal/yield"}, library...)},
	{path: "examples/...", may: append([]string{"examples/internal/..."}, library...)},
	// Only tests may import these.
	{path: "internal/certs/certstest", std: true},
	{path: "internal/e2e", std: true},
	{path: "internal/house", std: true},
	{path: "internal/jepsen", std: true},
	{path: "internal/leak", std: true},
	{path: "internal/memhttp", std: true},
	{path: "internal/natstest", std: true},
	{path: "internal/soak", std: true},
	{path: "internal/streamtest", std: true},
}

// natsPath is the prefix of the import paths of NATS.
const natsPath = "github.com/nats-io/"

// matches reports whether pattern includes path.
func matches(pattern, path string) bool {
	top, ok := strings.CutSuffix(pattern, "/...")
	return path == top || ok && strings.HasPrefix(path, top+"/")
}

// wrongArrows returns a sentence for each import that places does not allow, and for
// each package of the module that places does not contain.
func wrongArrows(all []listed) []string {
	standard := map[string]bool{}
	for _, p := range all {
		standard[p.ImportPath] = p.Standard
	}
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, p := range all {
		from, ours := relative(p.ImportPath)
		if !ours {
			continue
		}
		i := slices.IndexFunc(places, func(pl place) bool { return matches(pl.path, from) })
		if i < 0 {
			say("%s: places in internal/house does not list this package: add it there, with what it may import", from)
			continue
		}
		at := places[i]
		for _, path := range p.Imports {
			to, ours := relative(path)
			switch {
			case ours && !slices.ContainsFunc(at.may, func(pattern string) bool { return matches(pattern, to) }):
				say("%s → %s: of this module, %s may import only [%s]", from, to, at.path, strings.Join(at.may, " "))
			case ours || standard[path]:
			case at.std:
				say("%s → %s: from outside, %s may import only the standard library", from, path, at.path)
			case strings.HasPrefix(path, natsPath) && at.path != "eventlog/natslog":
				say("%s → %s: only eventlog/natslog may import NATS", from, path)
			}
		}
	}
	return wrong
}

func TestArrowsPointOneWay(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		all := packages(t, goos)
		for _, path := range []string{"sse", "stream", "broadcast"} {
			if !slices.ContainsFunc(all, func(p listed) bool { return p.ImportPath == modulePath+"/"+path }) {
				t.Errorf("%s: go list does not list %s: does this test still find the tree?", goos, path)
			}
		}
		for _, sentence := range wrongArrows(all) {
			t.Errorf("%s: %s", goos, sentence)
		}
	}
}

// Each row adds one package to a tree with io and golang.org/x/net.
func TestWrongArrowsAreNamed(t *testing.T) {
	const own = modulePath + "/"
	for _, tt := range []struct {
		rule  string
		from  string
		to    string
		wrong string // the beginning of the sentence; "" for none
	}{
		{"sse imports the standard library", own + "sse", "io", ""},
		{"sse imports nothing else from outside", own + "sse", "golang.org/x/net/http2", "sse → golang.org/x/net/http2: "},
		{"sse imports no C", own + "sse", "C", "sse → C: "},
		{"sse imports nothing of this module", own + "sse", own + "stream", "sse → stream: "},
		{"stream imports sse", own + "stream", own + "sse", ""},
		{"stream does not import broadcast", own + "stream", own + "broadcast", "stream → broadcast: "},
		{"broadcast does not import stream", own + "broadcast", own + "stream", "broadcast → stream: "},
		{"broadcast imports nothing else from outside", own + "broadcast", "golang.org/x/net/http2", "broadcast → golang.org/x/net/http2: "},
		{"eventsource does not import the server's half", own + "eventsource", own + "hub", "eventsource → hub: "},
		{"the library does not import its tests' house", own + "sse", own + "internal/house", "sse → internal/house: "},
		{"hub imports the log's interface", own + "hub", own + "eventlog", ""},
		{"hub does not import broadcast", own + "hub", own + "broadcast", "hub → broadcast: "},
		{"delivery knows no log", own + "internal/delivery", own + "eventlog", "internal/delivery → eventlog: "},
		{"the window does not import the hub", own + "internal/window", own + "hub", "internal/window → hub: "},
		{"a log does not import the hub", own + "eventlog/natslog", own + "hub", "eventlog/natslog → hub: "},
		{"topics imports the standard library alone", own + "topics", "golang.org/x/net/http2", "topics → golang.org/x/net/http2: "},
		{"hub does not import natslog", own + "hub", own + "eventlog/natslog", "hub → eventlog/natslog: "},
		{"hub does not import its HTTP API", own + "hub", own + "hub/httpapi", "hub → hub/httpapi: "},
		{"hub does not import NATS", own + "hub", natsPath + "nats.go", "hub → github.com/nats-io/nats.go: "},
		{"natslog imports NATS", own + "eventlog/natslog", natsPath + "nats.go", ""},
		{"no other log imports NATS", own + "eventlog/logtest", natsPath + "nats.go", "eventlog/logtest → github.com/nats-io/nats.go: "},
		{"the servers of the tests need no client", own + "internal/natstest", natsPath + "nats.go", "internal/natstest → github.com/nats-io/nats.go: "},
		{"natslog does not import its tests' servers", own + "eventlog/natslog", own + "internal/natstest", "eventlog/natslog → internal/natstest: "},
		{"cmd does not import NATS", own + "cmd/tidings", natsPath + "nats.go", "cmd/tidings → github.com/nats-io/nats.go: "},
		{"the HTTP API does not import our server", own + "hub/httpapi", own + "internal/server", "hub/httpapi → internal/server: "},
		{"the server imports the HTTP API", own + "internal/server", own + "hub/httpapi", ""},
		{"the server does not choose a log", own + "internal/server", own + "eventlog/natslog", "internal/server → eventlog/natslog: "},
		{"the server does not import cmd", own + "internal/server", own + "cmd/tidings", "internal/server → cmd/tidings: "},
		{"cmd imports the server", own + "cmd/tidings", own + "internal/server", ""},
		{"cmd imports any log", own + "cmd/tidings", own + "eventlog/natslog", ""},
		{"cmd does not import an example", own + "cmd/tidings", own + "examples/ticks", "cmd/tidings → examples/ticks: "},
		{"an example imports the library", own + "examples/ticks", own + "stream", ""},
		{"an example imports a helper of the examples", own + "examples/ticks", own + "examples/internal/listen", ""},
		{"an example may import another module", own + "examples/ticks", "golang.org/x/net/http2", ""},
		{"an example does not import the server", own + "examples/ticks", own + "internal/server", "examples/ticks → internal/server: "},
		{"a package beside cmd is not in cmd", own + "cmdline", "io", "cmdline: "},
		{"a package without a place is named", own + "util", "io", "util: "},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			got := wrongArrows([]listed{
				{ImportPath: "io", Standard: true, DepOnly: true},
				{ImportPath: "golang.org/x/net/http2", DepOnly: true, Imports: []string{"io"}},
				{ImportPath: tt.from, Imports: []string{"io", tt.to}},
			})
			switch {
			case tt.wrong == "" && len(got) == 0:
			case tt.wrong != "" && len(got) == 1 && strings.HasPrefix(got[0], tt.wrong):
			default:
				t.Errorf("got %q, want a sentence that begins with %q (none if that is empty)", got, tt.wrong)
			}
		})
	}
}
