package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/tidings/internal/server"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The keyboard alone reaches and operates every control, in the order of the page. The
// focused element shows that it has the focus.
func TestPageByKeyboard(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)

	const focused = `document.activeElement.closest("[id]")?.id ?? "body"`
	var order []string
	for range 20 {
		v.do(t, chromedp.KeyEvent(kb.Tab))
		at := eval[string](t, v.tab, focused)
		if at == "body" || slices.Contains(order, at) {
			break // back at the beginning
		}
		order = append(order, at)
		if !eval[bool](t, v.tab, `document.activeElement.matches(":focus-visible") &&
			getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
			t.Errorf("%s does not show that it has the focus", at)
		}
	}
	if want := []string{"filter", "show", "feed", "topic", "user", "text", "send", "hint", "topics"}; !slices.Equal(order, want) {
		t.Fatalf("Tab goes to %q, want %q", order, want)
	}

	v.do(t, chromedp.Reload())
	v.untilState(t, "open")
	for range slices.Index(order, "user") + 1 {
		v.do(t, chromedp.KeyEvent(kb.Tab))
	}
	v.do(t,
		chromedp.KeyEvent("Ada"),
		chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("with Enter"), chromedp.KeyEvent(kb.Enter),
	)
	v.untilShown(t, "Ada", "with Enter")
	v.until(t, `document.querySelector("#text").value === ""`)
	v.do(t,
		chromedp.KeyEvent("with the button"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(" "),
	)
	v.untilShown(t, "Ada", "with the button")

	// The user selects another topic by typing or from the list.
	publishTo(t, s.URL, "orders.1", "shipped")
	v.do(t, chromedp.Reload())
	v.untilState(t, "open")
	v.do(t, chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("orders.*"), chromedp.KeyEvent(kb.Enter))
	v.untilFilter(t, "orders.*")
	v.until(t, `document.querySelector("#messages .text")?.textContent === "shipped"`)
	eval[chromedp.Void](t, v.tab, `void document.querySelector("#topics button").focus()`)
	v.do(t, chromedp.KeyEvent(kb.Enter))
	v.untilFilter(t, "**")
	if got := eval[string](t, v.tab, focused); got != "topics" {
		t.Errorf("after a choice the focus is at %s, want it unchanged", got)
	}
}

// A seenNode is an element in the accessibility tree.
type seenNode struct {
	role, name string
	parent     string // the role of the parent
	properties map[string]string
}

// accessibilityTree returns the elements that Chromium reports to a screen reader.
func accessibilityTree(t *testing.T, tb *tab) []seenNode {
	t.Helper()
	tree, err := chromedp.Call(tb.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		t.Fatal(err)
	}
	text := func(v *accessibility.Value) string {
		if v == nil {
			return ""
		}
		var x any
		if err := json.Unmarshal(v.Value, &x); err != nil {
			return ""
		}
		return fmt.Sprint(x)
	}
	byID := map[accessibility.NodeID]*accessibility.Node{}
	for _, n := range tree.Nodes {
		byID[n.NodeID] = n
	}
	var nodes []seenNode
	for _, n := range tree.Nodes {
		if n.Ignored {
			continue
		}
		node := seenNode{role: text(n.Role), name: text(n.Name), properties: map[string]string{}}
		for p := byID[n.ParentID]; p != nil; p = byID[p.ParentID] {
			if !p.Ignored && text(p.Role) != "generic" {
				node.parent = text(p.Role)
				break
			}
		}
		for _, p := range n.Properties {
			node.properties[string(p.Name)] = text(p.Value)
		}
		nodes = append(nodes, node)
	}
	return nodes
}

// A screen reader gets the role and name of every element. It announces a new state of
// the connection, a message or an error without moving there.
func TestPageForAScreenReader(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	s.publish(t, "Ada", "hello")
	v.untilShown(t, "Ada", "hello")
	v.untilRate(t, "messages", "1/min")

	if got := eval[string](t, v.tab, "document.documentElement.lang"); got != "en" {
		t.Errorf("the page's language is %q, want en", got)
	}
	nodes := accessibilityTree(t, v.tab)
	find := func(role, name string) *seenNode {
		for i := range nodes {
			if nodes[i].role == role && nodes[i].name == name {
				return &nodes[i]
			}
		}
		return nil
	}
	for _, want := range []struct {
		role, name string
		properties map[string]string
	}{
		{"RootWebArea", "Tidings", nil},
		{"banner", "", nil},
		{"main", "", nil},
		{"heading", "Tidings", map[string]string{"level": "1"}},
		{"heading", "Messages", map[string]string{"level": "2"}},
		{"heading", "Topics seen lately", map[string]string{"level": "2"}},
		{"form", "Choose what to read", nil},
		{"combobox", "Read", map[string]string{"required": "true", "focusable": "true"}},
		{"button", "Show", map[string]string{"focusable": "true"}},
		{"region", "Topics seen lately", nil},
		{"button", "All topics", map[string]string{"focusable": "true"}},
		{"button", "messages 1/min", map[string]string{"focusable": "true"}},
		{"status", "", map[string]string{"live": "polite"}},
		{"log", "Messages", map[string]string{"live": "polite", "focusable": "true"}},
		{"list", "", nil},
		{"listitem", "", nil},
		{"form", "Post a message", nil},
		{"combobox", "Topic", map[string]string{"required": "true", "focusable": "true"}},
		{"textbox", "Name", map[string]string{"required": "true", "focusable": "true"}},
		{"textbox", "Message", map[string]string{"required": "true", "focusable": "true"}},
		{"button", "Send", map[string]string{"focusable": "true"}},
	} {
		node := find(want.role, want.name)
		if node == nil {
			t.Errorf("there is no %s named %q", want.role, want.name)
			continue
		}
		for key, value := range want.properties {
			if got := node.properties[key]; got != value {
				t.Errorf("%s %q: %s is %q, want %q", want.role, want.name, key, got, value)
			}
		}
	}
	for _, parent := range []string{"log", "region"} { // the list of messages and the list of topics
		if !slices.ContainsFunc(nodes, func(n seenNode) bool { return n.role == "list" && n.parent == parent }) {
			t.Errorf("there is no list in the %s", parent)
		}
	}
	for _, n := range nodes {
		if slices.Contains([]string{"button", "textbox", "link", "image", "form", "log", "region"}, n.role) && n.name == "" {
			t.Errorf("a %s has no name", n.role)
		}
	}

	// An error is an alert, which a screen reader reads at once.
	s.stop()
	v.untilState(t, "reconnecting")
	v.do(t,
		chromedp.SendKeys(chromedp.CSS("#user"), "Ada"),
		chromedp.SendKeys(chromedp.CSS("#text"), "hello"+kb.Enter),
	)
	v.until(t, `document.querySelector("#error").innerText !== ""`)
	nodes = accessibilityTree(t, v.tab)
	i := slices.IndexFunc(nodes, func(n seenNode) bool { return n.role == "alert" })
	if i < 0 || nodes[i].properties["live"] != "assertive" {
		t.Error("the error is not an alert")
	}
}

// The page uses the system's choice of a dark or light scheme.
func TestPageDarkAndLight(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	s.publish(t, "Ada", "hello")
	v.untilShown(t, "Ada", "hello")
	// brightness returns the brightness of the page, the feed, a field and a text,
	// from 0 to 255.
	brightness := func(scheme string) (page, feed, field, text int) {
		_, err := chromedp.Call(v.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		if err != nil {
			t.Fatal(err)
		}
		v.until(t, `matchMedia("(prefers-color-scheme: %s)").matches`, scheme)
		of := func(selector, property string) int {
			return eval[int](t, v.tab, `Math.round(getComputedStyle(document.querySelector(%s))[%s]
				.match(/\d+/g).slice(0, 3).reduce((sum, x) => sum + Number(x), 0) / 3)`, js(selector), js(property))
		}
		return of("body", "backgroundColor"), of("#feed", "backgroundColor"), of("#text", "backgroundColor"), of("#messages .text", "color")
	}
	for _, scheme := range []string{"light", "dark", "light"} {
		page, feed, field, text := brightness(scheme)
		light := page > 200 && feed > 200 && field > 200 && text < 80
		dark := page < 60 && feed < 60 && field < 60 && text > 180
		if scheme == "light" && !light || scheme == "dark" && !dark {
			t.Errorf("%s: the brightness of page, feed, field and text is %d, %d, %d and %d", scheme, page, feed, field, text)
		}
	}
}

// On a narrow screen the page never scrolls sideways, with any message, and shows the
// whole form.
func TestPageOnAPhone(t *testing.T) {
	t.Parallel()
	s := startSite(t, server.Config{})
	v := visitPage(t, newTab(t), s.URL)
	v.do(t, chromedp.EmulateViewport(360, 640, chromedp.EmulateMobile, chromedp.EmulateScale(2)), chromedp.Reload())
	v.untilState(t, "open")
	for _, text := range []string{
		strings.Repeat("word ", 100),
		strings.Repeat("x", 500),
		"https://example.org/" + strings.Repeat("path/", 60),
		strings.Repeat("\u00a0", 200) + "lines\nand\nmore",
	} {
		s.publish(t, strings.Repeat("N", 80), text)
		v.untilShown(t, strings.Repeat("N", 80), text)
	}
	// When the feed gets smaller while messages arrive, for example because of an
	// on-screen keyboard, it must stay at its end. A scroll by one pixel and the new
	// size come in one frame here, as can happen with many messages.
	eval[chromedp.Void](t, v.tab, `void (document.querySelector("#feed").scrollTop -= 1, document.querySelector("#hint").open = true)`)
	type box struct{ Selector, Wide string }
	for _, b := range eval[[]box](t, v.tab, `["html", "#feed"].map(s => document.querySelector(s))
		.filter(e => e.scrollWidth > e.clientWidth)
		.map(e => ({Selector: e.id || e.localName, Wide: e.scrollWidth + " in " + e.clientWidth}))`) {
		t.Errorf("%s scrolls sideways: %s pixels", b.Selector, b.Wide)
	}
	if got := eval[int](t, v.tab, "innerWidth"); got != 360 {
		t.Errorf("the page is laid out %d pixels wide, want 360", got)
	}
	for _, selector := range []string{"#status", "#filter", "#show", "#topics button", "#feed", "#topic", "#user", "#text", "#send"} {
		if !eval[bool](t, v.tab, `(r => r.width >= 24 && r.height >= 16 && r.left >= 0 && r.right <= innerWidth)(document.querySelector(%s).getBoundingClientRect())`, js(selector)) {
			t.Errorf("%s is not on the screen", selector)
		}
	}
	for _, selector := range []string{"#filter", "#show", "#topics button", "#topic", "#user", "#text", "#send"} { // WCAG 2.2, 2.5.8
		if got := eval[float64](t, v.tab, `document.querySelector(%s).getBoundingClientRect().height`, js(selector)); got < 44 {
			t.Errorf("%s is %g pixels high, too small for a finger", selector, got)
		}
	}
	v.do(t,
		chromedp.SendKeys(chromedp.CSS("#user"), "Ada"),
		chromedp.SendKeys(chromedp.CSS("#text"), "on the road"),
		chromedp.Click(chromedp.CSS("#send")),
	)
	v.untilShown(t, "Ada", "on the road")
	// The newest message is visible.
	v.until(t, `(f => f.scrollHeight - f.scrollTop - f.clientHeight < 2)(document.querySelector("#feed"))`)
}
