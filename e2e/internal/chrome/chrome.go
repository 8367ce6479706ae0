// Package chrome starts Chromium for tests that need a few pages of it.
package chrome

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// patience is how long anything may take.
const patience = 30 * time.Second

// Start starts a process with an empty profile. It believes every certificate.
func Start(t testing.TB) context.Context {
	t.Helper()
	var path string
	var err error
	for _, name := range []string{"google-chrome", "chromium-browser", "chromium"} {
		if found, lookErr := exec.LookPath(name); lookErr == nil {
			path = found
		} else {
			err = lookErr
		}
	}
	if path == "" {
		t.Fatalf("%v: run scripts/setup, or install it with: apt-get install chromium", err)
	}
	profile, err := os.MkdirTemp("", "msauth-chrome-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stopAllocator := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors,
		chromedp.UserDataDir(profile), chromedp.Flag("no-proxy-server", true), chromedp.Flag("lang", "en-US"),
	)...)
	ctx, stop := chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(func() {
		stop()
		stopAllocator()
		for range 50 { // its processes may still be writing
			if os.RemoveAll(profile) == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("%s does not start: %v", path, err)
	}
	return ctx
}

// shared is one process for all tests of a package.
var shared struct {
	once sync.Once
	ctx  context.Context
	cleanups
}

// Shared is the one process of a package whose TestMain calls [Main]: each tab
// has a person with cookies of their own.
func Shared(t testing.TB) context.Context {
	t.Helper()
	shared.once.Do(func() { shared.ctx = Start(&shared.cleanups) })
	return shared.ctx
}

// Main runs the tests of a package and ends the browser that they share.
func Main(m *testing.M) {
	code := m.Run()
	for _, f := range slices.Backward(shared.funcs) {
		f()
	}
	os.Exit(code)
}

// cleanups is what Start needs of a test, until the program ends.
type cleanups struct {
	testing.TB
	funcs []func()
}

func (c *cleanups) Helper()                        {}
func (c *cleanups) Cleanup(f func())               { c.funcs = append(c.funcs, f) }
func (c *cleanups) Fatal(args ...any)              { panic(fmt.Sprint(args...)) }
func (c *cleanups) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// A Tab is a page of one person, who shares cookies with nobody.
type Tab struct {
	t   testing.TB
	ctx context.Context
}

// NewTab opens a tab of a new person in a browser that Start has started.
func NewTab(t testing.TB, browser context.Context) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal("opening a tab: ", err)
	}
	return &Tab{t, ctx}
}

// Open goes to an address and waits until the page is loaded.
func (b *Tab) Open(address string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Navigate(address)); err != nil {
		b.t.Fatalf("opening %s: %v", address, err)
	}
}

// Text is that of the page.
func (b *Tab) Text() string {
	b.t.Helper()
	return Eval[string](b, "document.body.innerText")
}

// Until waits for a JavaScript condition, across page loads.
func (b *Tab) Until(condition string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+condition+")"))
		if err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			shown, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 500)`))
			b.t.Fatalf("waited in vain for %s (%v); the tab shows %s", condition, err, shown)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// Follow makes a script leave the page, and waits for the next one to load.
func (b *Tab) Follow(script string) {
	b.t.Helper()
	mark := fmt.Sprintf("mark%d", time.Now().UnixNano())
	Eval[any](b, "(() => { window."+mark+" = true; "+script+" })()")
	b.Until("!window." + mark + " && document.readyState === 'complete' && location.href !== 'about:blank'")
}

// Eval evaluates JavaScript in the page, and waits for a promise.
func Eval[T any](b *Tab, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.200s: %v", script, err)
	}
	return v
}

// Cookies are all that the person's browser keeps.
func (b *Tab) Cookies() []*network.Cookie {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	r, err := chromedp.CallBrowser(ctx, storage.GetCookies, storage.GetCookiesParams{
		BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
	})
	if err != nil {
		b.t.Fatal("reading cookies: ", err)
	}
	return r.Cookies
}
