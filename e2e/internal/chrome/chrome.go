// Package chrome starts Chromium for tests that need a few pages of it.
package chrome

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// patience is how long anything may take.
const patience = 30 * time.Second

// noReserve keeps no process for the next page: each costs as much as a page.
const noReserve = "Translate,BlinkGenPropertyTrees,SpareRendererForSitePerProcess"

// SharedProcesses lets pages of different sites share a few processes, which
// makes visits twice as fast. It is for tests of pages, not of what sites can do
// to each other.
func SharedProcesses(a *chromedp.ExecAllocator) {
	for _, option := range []chromedp.ExecAllocatorOption{
		chromedp.Flag("renderer-process-limit", "4"),
		chromedp.Flag("disable-site-isolation-trials", true),
		chromedp.Flag("disable-features", noReserve+",SitePerProcess,IsolateOrigins"),
	} {
		option(a)
	}
}

// Launch starts a process. preferences, if any, are those of its profile, as
// JSON. It believes every certificate.
func Launch(preferences string, options ...chromedp.ExecAllocatorOption) (_ context.Context, stop func(), err error) {
	path, err := find()
	if err != nil {
		return nil, nil, err
	}
	profile, err := os.MkdirTemp("", "msauth-chrome-")
	if err != nil {
		return nil, nil, err
	}
	if preferences != "" {
		if err := os.MkdirAll(filepath.Join(profile, "Default"), 0o700); err != nil {
			return nil, nil, err
		}
		if err := os.WriteFile(filepath.Join(profile, "Default", "Preferences"), []byte(preferences), 0o600); err != nil {
			return nil, nil, err
		}
	}
	remove := func() {
		for range 50 { // its processes may still be writing
			if os.RemoveAll(profile) == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	ctx, end, err := run(path, profile, append([]chromedp.ExecAllocatorOption{chromedp.IgnoreCertErrors}, options...))
	if err != nil {
		remove()
		return nil, nil, err
	}
	return ctx, func() { end(); remove() }, nil
}

// run starts a process with a profile. end kills it.
func run(path, profile string, options []chromedp.ExecAllocatorOption) (_ context.Context, end func(), err error) {
	// The defaults run the new headless mode and do without /dev/shm.
	ctx, stopAllocator := chromedp.NewExecAllocator(context.Background(), append(append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(profile), chromedp.WindowSize(1280, 800),
		// No proxy of the environment, and English pages.
		chromedp.Flag("no-proxy-server", true), chromedp.Flag("lang", "en-US"),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("disable-features", noReserve),
		// Else a click on a page that has only just been drawn may be lost.
		chromedp.Flag("allow-pre-commit-input", true),
	), options...)...)
	ctx, cancel := chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	end = func() { cancel(); stopAllocator() }
	if err := chromedp.Do(ctx); err != nil {
		end()
		return nil, nil, fmt.Errorf("%s does not start: %w", path, err)
	}
	return ctx, end, nil
}

// Trusting starts a process that checks certificates, and trusts those of a CA,
// which is PEM. All that it keeps is below home: one that is started there later
// goes on with it. stop closes it as a person does; so does the end of the test.
func Trusting(t testing.TB, home string, ca []byte, options ...chromedp.ExecAllocatorOption) (_ context.Context, stop func()) {
	t.Helper()
	path, err := find()
	if err != nil {
		t.Fatal(err)
	}
	if err := trust(home, ca); err != nil {
		t.Fatal(err)
	}
	ctx, end, err := run(path, filepath.Join(home, "profile"), append([]chromedp.ExecAllocatorOption{chromedp.Env("HOME=" + home)}, options...))
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_ = chromedp.Cancel(ctx)
		end()
	})
	t.Cleanup(stop)
	return ctx, stop
}

// trust adds a CA to those that a Chromium of this home directory trusts.
func trust(home string, ca []byte) error {
	database := filepath.Join(home, ".pki", "nssdb")
	if _, err := os.Stat(database); err == nil {
		return nil
	}
	if err := os.MkdirAll(database, 0o700); err != nil {
		return err
	}
	file := filepath.Join(home, "ca.pem")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{{"-N", "--empty-password"}, {"-A", "-n", "test", "-t", "C,,", "-i", file}} {
		out, err := exec.Command("certutil", append(args, "-d", "sql:"+database)...).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("%w: run scripts/setup, or install it with: apt-get install libnss3-tools", err)
		}
		if err != nil {
			return fmt.Errorf("certutil %v: %w\n%s", args, err, out)
		}
	}
	return nil
}

// find returns the path of the browser, or says how to get it.
func find() (string, error) {
	var first error
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
		first = cmp.Or(first, err)
	}
	return "", fmt.Errorf("%w: run scripts/setup, or install it with: apt-get install chromium", first)
}

// Start starts a process for one test.
func Start(t testing.TB) context.Context {
	t.Helper()
	ctx, stop, err := Launch("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return ctx
}

// Person adds a person, who shares cookies with nobody, to the browser that ctx
// belongs to, until the test ends.
func Person(t testing.TB, ctx context.Context) cdp.BrowserContextID {
	t.Helper()
	r, err := chromedp.CallBrowser(ctx, target.CreateBrowserContext, target.CreateBrowserContextParams{})
	if err != nil {
		t.Fatal("adding a person to the browser: ", err)
	}
	t.Cleanup(func() {
		_, _ = chromedp.CallBrowser(ctx, target.DisposeBrowserContext, target.DisposeBrowserContextParams(r))
	})
	return r.BrowserContextID
}

// Pictures says whether the tests take pictures of the pages. Only then does
// each tab need a window: to draw its tab strip and toolbar takes Chromium
// longer than most pages.
var Pictures = os.Getenv("MSAUTH_SCREENSHOTS") != ""

// Attach opens a tab of a person, "" for whom the browser's own profile is,
// until the test ends. Without a window its page says that it is visible, but
// is never drawn: it gets no animation frames.
func Attach(t testing.TB, browser context.Context, person cdp.BrowserContextID, window bool, options ...chromedp.ContextOption) context.Context {
	t.Helper()
	yes := true
	params := target.CreateTargetParams{URL: "about:blank", BrowserContextID: person}
	if window {
		params.NewWindow = &yes
	} else {
		params.Hidden, params.Background = &yes, &yes
	}
	r, err := chromedp.CallBrowser(browser, target.CreateTarget, params)
	if err != nil {
		t.Fatal("opening a tab: ", err)
	}
	ctx, cancel := chromedp.NewContext(browser, append(options, chromedp.WithTargetID(r.TargetID))...)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal("opening a tab: ", err)
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
	t      testing.TB
	ctx    context.Context
	person cdp.BrowserContextID
}

// NewTab opens a tab of a new person in a browser that Start has started.
func NewTab(t testing.TB, browser context.Context) *Tab {
	t.Helper()
	return newTab(t, browser, Pictures)
}

// NewWindow is like NewTab, for pages that wait for animation frames.
func NewWindow(t testing.TB, browser context.Context) *Tab {
	t.Helper()
	return newTab(t, browser, true)
}

// OwnTab opens a tab of the person whom the browser's own profile belongs to.
func OwnTab(t testing.TB, browser context.Context) *Tab {
	t.Helper()
	return openTab(t, browser, "", Pictures)
}

func newTab(t testing.TB, browser context.Context, window bool) *Tab {
	t.Helper()
	return openTab(t, browser, Person(t, browser), window)
}

func openTab(t testing.TB, browser context.Context, person cdp.BrowserContextID, window bool) *Tab {
	t.Helper()
	b := &Tab{t, Attach(t, browser, person, window), person}
	if _, err := chromedp.Call(b.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: 1280, Height: 800, DeviceScaleFactor: 1,
	}); err != nil {
		t.Fatal("giving a tab its size: ", err)
	}
	return b
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

// Beside opens another window of the same person.
func (b *Tab) Beside() *Tab {
	b.t.Helper()
	return openTab(b.t, b.ctx, b.person, true)
}

// Pages are the addresses of the person's tabs and windows.
func (b *Tab) Pages() (addresses []string) {
	b.t.Helper()
	for _, page := range b.pages() {
		addresses = append(addresses, page.URL)
	}
	return addresses
}

func (b *Tab) pages() []*target.Info {
	b.t.Helper()
	infos, err := chromedp.Targets(b.ctx)
	if err != nil {
		b.t.Fatal("listing the tabs: ", err)
	}
	return slices.DeleteFunc(infos, func(info *target.Info) bool {
		return info.Type != "page" || info.BrowserContextID != b.person
	})
}

// Window waits for a window that a page of the person has opened, and whose address begins
// like this.
func (b *Tab) Window(address string) *Tab {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(25 * time.Millisecond) {
		for _, page := range b.pages() {
			if page.Attached || !strings.HasPrefix(page.URL, address) {
				continue
			}
			return b.attach(page)
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("waited in vain for a window with %s; there are %q", address, b.Pages())
		}
	}
}

// attach follows a page of the person.
func (b *Tab) attach(page *target.Info) *Tab {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(page.TargetID))
	b.t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		b.t.Fatal("attaching to a window: ", err)
	}
	return &Tab{b.t, ctx, b.person}
}

// Close closes the tab or window, as a person does.
func (b *Tab) Close() {
	b.t.Helper()
	if err := chromedp.Cancel(b.ctx); err != nil {
		b.t.Fatal("closing a tab: ", err)
	}
}

// Click clicks at an element with the mouse, which counts as an act of the person.
func (b *Tab) Click(selector string) {
	b.t.Helper()
	b.do("clicking at "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Press presses a key, such as one of package kb.
func (b *Tab) Press(key string) {
	b.t.Helper()
	b.do("pressing a key", chromedp.KeyEvent(key))
}

func (b *Tab) do(what string, action chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Run(ctx, action); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// Requests calls f for the address of each request that the page makes.
func (b *Tab) Requests(f func(address string)) {
	b.t.Helper()
	err := chromedp.Listen(b.ctx, func(event any) {
		if e, ok := event.(*network.EventRequestWillBeSent); ok {
			f(e.Request.URL)
		}
	})
	if err == nil {
		_, err = chromedp.Call(b.ctx, network.Enable, network.EnableParams{})
	}
	if err != nil {
		b.t.Fatal("listening to requests: ", err)
	}
}

// First has each page that the tab loads begin with a script.
func (b *Tab) First(script string) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
		b.t.Fatal("adding a script to pages: ", err)
	}
}

// WithoutScripts turns JavaScript off for the pages of the tab.
func (b *Tab) WithoutScripts() {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		b.t.Fatal("turning scripts off: ", err)
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
		BrowserContextID: b.person,
	})
	if err != nil {
		b.t.Fatal("reading cookies: ", err)
	}
	return r.Cookies
}

// SetCookie puts a cookie into the browser, for an address.
func (b *Tab) SetCookie(address string, c *network.Cookie) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, network.SetCookie, network.SetCookieParams{
		Name: c.Name, Value: c.Value, URL: address, Path: c.Path, Secure: &c.Secure, HTTPOnly: &c.HTTPOnly, SameSite: c.SameSite,
	}); err != nil {
		b.t.Fatalf("setting cookie %s: %v", c.Name, err)
	}
}

// DeleteCookie removes a cookie of an address from the browser.
func (b *Tab) DeleteCookie(address, name string) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: name, URL: address}); err != nil {
		b.t.Fatalf("deleting cookie %s: %v", name, err)
	}
}

// DeviceSessions calls f for what becomes of the page's Device Bound Session Credentials.
func (b *Tab) DeviceSessions(f func(*network.EventDeviceBoundSessionEventOccurred)) {
	b.t.Helper()
	err := chromedp.Listen(b.ctx, func(event any) {
		if e, ok := event.(*network.EventDeviceBoundSessionEventOccurred); ok {
			f(e)
		}
	})
	if err == nil {
		_, err = chromedp.Call(b.ctx, network.EnableDeviceBoundSessions, network.EnableDeviceBoundSessionsParams{Enable: true})
	}
	if err != nil {
		b.t.Fatal("listening to device bound sessions: ", err)
	}
}

// ForgetDeviceSession has the browser forget one of its Device Bound Session
// Credentials, and the key.
func (b *Tab) ForgetDeviceSession(site, identifier string) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, network.DeleteDeviceBoundSession, network.DeleteDeviceBoundSessionParams{
		Key: &network.DeviceBoundSessionKey{Site: site, ID: identifier},
	}); err != nil {
		b.t.Fatal("deleting a device bound session: ", err)
	}
}
