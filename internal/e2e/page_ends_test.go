package e2e_test

import (
	"errors"
	"testing"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/sse"

	"github.com/chromedp/chromedp"
)

// While the server is stopping or takes no more streams, the page says so, and continues after
// the id of the last event when the server is back.
func TestPageSaysWhyItWaits(t *testing.T) {
	t.Parallel()
	src := newSource()
	tb := newTab(t)
	tb.do(t, chromedp.Navigate(pageOver(t, src)))
	v := &visit{tab: tb}
	// What the page says for a moment only is noted when it says it.
	eval[bool](t, tb, `(() => {
		const status = document.querySelector("#status")
		window.said = []
		new MutationObserver(() => said.push(status.innerText)).observe(status, {childList: true, characterData: true, subtree: true})
		return true
	})()`)
	says := func(want string) {
		t.Helper()
		v.until(t, `said.splice(0, said.indexOf(%s) + 1).length > 0`, js(want))
	}
	const waiting = 200 * time.Millisecond
	st := src.next(t)
	st.send(t, openAt("0w3k7zq4m8tc-1"), sse.Event{Type: hub.EndEventType, Retry: waiting, Data: `{"reason":"stopping"}`, ID: "0w3k7zq4m8tc-7"})
	st.end(t)
	says("The server is stopping. Reconnecting…")
	st = src.next(t)
	if got := st.lastEventID(); got != "0w3k7zq4m8tc-7" {
		t.Errorf("the page continues after %q", got)
	}
	st.send(t, sse.Event{Type: hub.UnavailableEventType, Retry: waiting, Data: "{}", ID: "0w3k7zq4m8tc-7"})
	st.end(t)
	says("The server takes no more streams now. Reconnecting…")
	st = src.next(t)
	if got := st.lastEventID(); got != "0w3k7zq4m8tc-7" {
		t.Errorf("the page continues after %q", got)
	}
	st.send(t, openAt("0w3k7zq4m8tc-7"))
	says("Live")
	st.fail(t, errors.New("the end"))
	says("Connection lost. Reconnecting…")
}
