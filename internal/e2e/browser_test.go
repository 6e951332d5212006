package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// All tests share one Chromium. Each test has its own browser context, which shares no
// connection, cache or storage with others.
var chromium struct {
	once sync.Once
	ctx  context.Context
	stop func()
	err  error
}

func startChromium(path string) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.Flag("headless", "new"),
		chromedp.NoSandbox, // a container seldom allows the sandbox
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-proxy-server", true),
		chromedp.WindowSize(1000, 800),
	)
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stopBrowser := chromedp.NewContext(allocator)
	chromium.stop = func() {
		stopBrowser()
		stopAllocator() // waits for the process and removes its folder
	}
	chromium.ctx, chromium.err = ctx, chromedp.Do(ctx)
}

func stopChromium() {
	if chromium.stop != nil {
		chromium.stop()
	}
}

// A tab is a page in its own window, so that it is never in the background.
type tab struct{ ctx context.Context }

// newTab opens an empty tab in a new browser context, which ends with the test.
func newTab(t *testing.T) *tab {
	t.Helper()
	path := program(t, "chromium", "chromium-browser", "google-chrome")
	chromium.once.Do(func() { startChromium(path) })
	if chromium.err != nil {
		t.Fatalf("start %s: %v", path, chromium.err)
	}
	return open(t, chromium.ctx, chromedp.WithNewBrowserContext())
}

// another opens an empty tab in the same browser context.
func (tb *tab) another(t *testing.T) *tab {
	t.Helper()
	return open(t, tb.ctx)
}

func open(t *testing.T, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, options...)
	tb := &tab{ctx}
	t.Cleanup(func() {
		if t.Failed() {
			tb.photograph(t)
		}
		cancel()
	})
	// The first call binds the tab to its context, so it must not have a deadline.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return tb
}

// photograph saves a picture of the tab in the folder named by TIDINGS_E2E_PICTURES, if
// that is set.
func (tb *tab) photograph(t *testing.T) {
	folder := os.Getenv("TIDINGS_E2E_PICTURES")
	if folder == "" {
		return
	}
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		name := filepath.Join(folder, strings.ReplaceAll(t.Name(), "/", "_")+".png")
		err = os.WriteFile(name, picture, 0o600)
	}
	if err != nil {
		t.Logf("no picture: %v", err)
	}
}

// do runs the actions.
func (tb *tab) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// run runs an action and returns its result.
func run[T any](t *testing.T, tb *tab, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// eval evaluates an expression. If the result is a promise, it waits for it.
func eval[T any](t *testing.T, tb *tab, format string, args ...any) T {
	t.Helper()
	return run(t, tb, chromedp.Evaluate[T](fmt.Sprintf(format, args...), chromedp.EvalAwaitPromise))
}

// until waits until a condition is true. The tab may go from one page to another
// meanwhile.
func (tb *tab) until(t *testing.T, format string, args ...any) {
	t.Helper()
	condition := fmt.Sprintf(format, args...)
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](condition))
		if ok && err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("this has not come true (%v): %s", err, condition)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// offline cuts the tab off from the network, or connects it again.
func offline(t *testing.T, tb *tab, off bool) {
	t.Helper()
	conditions := network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: off, DownloadThroughput: -1, UploadThroughput: -1}},
	}
	if _, err := chromedp.Call(tb.ctx, network.EmulateNetworkConditionsByRule, conditions); err != nil {
		t.Fatal(err)
	}
}
