package e2e_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"example.com/tidings/sse"

	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
)

// perHost is how many HTTP/1.1 connections Chromium opens to one host, for all tabs
// together. An open EventSource uses one of them.
const perHost = 6

// Six tabs with a stream over HTTP/1.1 all receive events. The stream of a seventh tab
// waits without an error, as would any other request to the host. It opens when one of
// the six closes.
func TestSeventhTabWaitsOverHTTP1(t *testing.T) {
	t.Parallel()
	src := newSource()
	srv := serve(t, withPage(src.handler(nil)))

	// Load the pages first: later, the seventh page would not load.
	first := newTab(t)
	tabs := []*tab{first}
	for range perHost {
		tabs = append(tabs, first.another(t))
	}
	for _, tb := range tabs {
		tb.do(t, chromedp.Navigate(srv.URL))
	}
	var streams []*stream
	for _, tb := range tabs[:perHost] {
		tb.follow(t, "es", "/events")
		tb.wantLog(t, "es", opened)
		streams = append(streams, src.next(t))
	}
	seventh := tabs[perHost]
	seventh.follow(t, "es", "/events")

	for i := range 10 {
		data := fmt.Sprint(i)
		for _, st := range streams {
			st.send(t, sse.Event{Data: data})
		}
		for _, tb := range tabs[:perHost] {
			tb.until(t, "es.log.at(-1).data === %s", js(data))
		}
	}
	if got := eval[int](t, seventh, "es.readyState"); got != stateConnecting {
		t.Errorf("readyState of the seventh is %d, want %d", got, stateConnecting)
	}
	if got := eval[[]dispatched](t, seventh, "es.log"); len(got) > 0 {
		t.Errorf("the seventh has dispatched %s, want nothing", js(got))
	}
	if got := len(src.opened); got > 0 {
		t.Errorf("%d more streams than %d have been opened", got, perHost)
	}

	eval[chromedp.Void](t, tabs[0], "es.close()")
	streams[0].wait(t)
	st := src.next(t)
	st.send(t, sse.Event{Data: "at last"})
	seventh.wantLog(t, "es", opened, dispatched{Type: "message", Data: "at last"})
}

// Over HTTP/2, streams share a connection: more than six are open and receive events at
// once. Browsers speak HTTP/2 only with TLS.
func TestManyStreamsOverHTTP2(t *testing.T) {
	t.Parallel()
	const many = 3 * perHost
	src := newSource()
	srv := httptest.NewUnstartedServer(withPage(src.handler(nil)))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})

	tb := newTab(t)
	ignore := security.SetIgnoreCertificateErrorsParams{Ignore: true}
	if _, err := chromedp.Call(tb.ctx, security.SetIgnoreCertificateErrors, ignore); err != nil {
		t.Fatal(err)
	}
	tb.do(t, chromedp.Navigate(srv.URL))
	var streams []*stream
	for i := range many {
		tb.follow(t, fmt.Sprintf("es%d", i), "/events")
		st := src.next(t)
		if st.request.ProtoMajor != 2 {
			t.Fatalf("a stream is over %s, want HTTP/2", st.request.Proto)
		}
		streams = append(streams, st)
	}
	for i, st := range streams {
		st.send(t, sse.Event{Data: fmt.Sprint(i)})
	}
	for i := range streams {
		tb.wantLog(t, fmt.Sprintf("es%d", i), opened, dispatched{Type: "message", Data: fmt.Sprint(i)})
	}
}
