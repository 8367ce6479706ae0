package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"example.com/msauth/e2e/internal/chrome"
)

// chromium is the process that most tests share.
var chromium = sync.OnceValues(func() (context.Context, error) {
	ctx, stop, err := chrome.Launch("", chrome.SharedProcesses)
	if err == nil {
		later(stop)
	}
	return ctx, err
})

// A tab is a page in the browser of one person.
type tab struct {
	t       testing.TB
	browser context.Context
	person  cdp.BrowserContextID
	ctx     context.Context
	*watched
}

// watched is what a tab has seen since it was opened.
type watched struct {
	mu        sync.Mutex
	documents []document // answers to page loads, redirects among them
	problems  []string   // violated policies and errors of scripts
}

type document struct {
	url    string
	status int64
}

// newPerson opens a tab of a browser that has no cookies yet.
func newPerson(t testing.TB) *tab {
	t.Helper()
	browser, err := chromium()
	if err != nil {
		t.Fatal(err)
	}
	b := openTab(t, browser, chrome.Person(t, browser))
	t.Cleanup(b.expectNoProblems)
	return b
}

// newTab opens another tab of the same person.
func (b *tab) newTab() *tab {
	b.t.Helper()
	return openTab(b.t, b.browser, b.person)
}

// newWindow opens a tab of the same person whose links can open others.
func (b *tab) newWindow() *tab {
	b.t.Helper()
	w := openWith(b.t, b.browser, b.person, true)
	b.t.Cleanup(w.expectNoProblems)
	return w
}

func openTab(t testing.TB, browser context.Context, person cdp.BrowserContextID) *tab {
	t.Helper()
	return openWith(t, browser, person, chrome.Pictures)
}

func openWith(t testing.TB, browser context.Context, person cdp.BrowserContextID, window bool) *tab {
	t.Helper()
	b := &tab{t: t, browser: browser, person: person, watched: &watched{}}
	b.ctx = chrome.Attach(t, browser, person, window, chromedp.WithListener(b.event))
	b.size(1280, 800, false)
	b.prefer("light")
	return b
}

// opens clicks at an element of a tab with a window, and follows the one that it opens.
func (b *tab) opens(selector string) *tab {
	b.t.Helper()
	before := b.pages()
	b.click(selector)
	w := &tab{t: b.t, browser: b.browser, person: b.person, watched: &watched{}}
	var id target.ID
	err := eventually(b.ctx, func() bool {
		for _, one := range b.pages() {
			if !slices.Contains(before, one) {
				id = one
			}
		}
		return id != ""
	})
	if err != nil {
		b.fatal(selector + " opens no window")
	}
	var cancel context.CancelFunc
	w.ctx, cancel = chromedp.NewContext(b.browser, chromedp.WithTargetID(id), chromedp.WithListener(w.event))
	b.t.Cleanup(cancel)
	if err := chromedp.Do(w.ctx); err != nil {
		b.t.Fatal("following a window: ", err)
	}
	b.t.Cleanup(w.expectNoProblems)
	return w
}

// pages are the person's tabs.
func (b *tab) pages() (ids []target.ID) {
	b.t.Helper()
	infos, err := chromedp.Targets(b.browser)
	if err != nil {
		b.t.Fatal("listing the tabs: ", err)
	}
	for _, info := range infos {
		if info.Type == "page" && info.BrowserContextID == b.person {
			ids = append(ids, info.TargetID)
		}
	}
	return ids
}

// isDone waits until a window that was opened to sign in has closed itself, or says that it
// can be closed: pages may not always do the former.
func (b *tab) isDone() {
	b.t.Helper()
	id := chromedp.FromContext(b.ctx).Target.TargetID
	err := eventually(b.browser, func() bool {
		if !slices.Contains(b.pages(), id) {
			return true
		}
		ok, err := do(b, chromedp.Evaluate[bool](`!!document.getElementById("msauth-done")`))
		return err == nil && ok
	})
	if err != nil {
		b.fatal("the window is not done")
	}
}

func (w *watched) event(ev any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		if ev.Type == network.ResourceTypeDocument && ev.RedirectResponse != nil {
			w.documents = append(w.documents, document{ev.RedirectResponse.URL, ev.RedirectResponse.Status})
		}
	case *network.EventResponseReceived:
		if ev.Type == network.ResourceTypeDocument {
			w.documents = append(w.documents, document{ev.Response.URL, ev.Response.Status})
		}
	case *log.EventEntryAdded:
		// A 4xx page is an entry too, from the network.
		if ev.Entry.Level == log.EntryLevelError && ev.Entry.Source != log.EntrySourceNetwork || ev.Entry.Source == log.EntrySourceSecurity {
			w.problems = append(w.problems, ev.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		w.problems = append(w.problems, ev.ExceptionDetails.Text)
	}
}

// loads lists the answers to page loads so far.
func (b *tab) loads() []document {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.documents)
}

// status is that of the page that is shown.
func (b *tab) status() int64 {
	loads := b.loads()
	if len(loads) == 0 {
		return 0
	}
	return loads[len(loads)-1].status
}

func (b *tab) expectNoProblems() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Errorf("the browser's console says: %s", p)
	}
}

func (b *tab) forgetProblems() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = nil
}

// do runs an action, for no longer than anything may take.
func do[T any](b *tab, a chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, a)
}

// call sends a command of the DevTools protocol to the tab.
func call[P, R any](b *tab, cmd cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, cmd, params)
	if err != nil {
		b.t.Fatalf("%s: %v", cmd.Method, err)
	}
	return r
}

// eval evaluates JavaScript in the page.
func eval[T any](b *tab, js string) T {
	b.t.Helper()
	v, err := do(b, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// open goes to an address as if it had been typed, and waits for the page.
func (b *tab) open(url string) {
	b.t.Helper()
	if err := b.navigate(url); err != nil {
		b.t.Fatalf("opening %s: %v", url, err)
	}
}

func (b *tab) navigate(url string) error {
	_, err := do(b, chromedp.Navigate(url))
	return err
}

// until waits for a JavaScript condition, across page loads.
func (b *tab) until(condition string) {
	b.t.Helper()
	err := eventually(b.ctx, func() bool {
		ok, err := do(b, chromedp.Evaluate[bool]("!!("+condition+")"))
		return err == nil && ok
	})
	if err != nil {
		b.fatal("waited in vain for " + condition)
	}
}

// fatal ends the test with what the tab shows.
func (b *tab) fatal(why string) {
	b.t.Helper()
	shown, _ := do(b, chromedp.Evaluate[string](`location.href + "\n" + document.title + "\n" + document.body.innerText.slice(0, 800)`))
	loads := ""
	for _, d := range b.loads() {
		loads += fmt.Sprintf("\n  %d %.120s", d.status, d.url)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.t.Fatalf("%s\nThe tab shows: %s\nPage loads:%s\nConsole: %q", why, shown, loads, b.problems)
}

// at waits until the tab shows the page with exactly this address, loaded.
func (b *tab) at(url string) {
	b.t.Helper()
	b.until(fmt.Sprintf("location.href === %s && document.readyState === 'complete'", quote(url)))
}

// shows waits for an element, in a page that is loaded.
func (b *tab) shows(selector string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.readyState === 'complete' && document.querySelector(%s)", quote(selector)))
}

// text is the text of an element, as shown.
func (b *tab) text(selector string) string {
	b.t.Helper()
	b.shows(selector)
	return eval[string](b, fmt.Sprintf("document.querySelector(%s).innerText", quote(selector)))
}

// body is all the text of the page.
func (b *tab) body() string {
	b.t.Helper()
	return eval[string](b, "document.body.innerText")
}

// click moves the mouse to an element and clicks, provided that nothing lies
// over it.
func (b *tab) click(selector string) {
	b.t.Helper()
	locate := fmt.Sprintf(`(() => {
		const e = document.readyState === 'complete' && document.querySelector(%s);
		if (!e) return null;
		e.scrollIntoView({block: 'center', behavior: 'instant'});
		const r = e.getClientRects()[0];
		if (!r) return null;
		const x = r.left + r.width / 2, y = r.top + r.height / 2;
		return e.contains(document.elementFromPoint(x, y)) && !e.disabled ? [x, y] : null;
	})()`, quote(selector))
	var point []float64
	err := eventually(b.ctx, func() bool {
		var err error
		point, err = do(b, chromedp.Evaluate[[]float64](locate))
		return err == nil && len(point) == 2
	})
	if err != nil {
		b.fatal("nothing to click at " + selector)
	}
	if _, err := do(b, chromedp.MouseClickXY(point[0], point[1])); err != nil {
		b.t.Fatalf("clicking %s: %v", selector, err)
	}
}

// pick chooses a person on the provider's page.
func (b *tab) pick(signInName string) {
	b.t.Helper()
	b.click(fmt.Sprintf("button[name=user][value=%q]", signInName))
}

// cookies are all in the person's browser, of whatever site.
func (b *tab) cookies() []*network.Cookie {
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

// appCookies are those of the package, by what they are for: session, attempts
// and the mark that a sign-in has just succeeded.
func (b *tab) appCookies() (session, attempts, mark []*network.Cookie) {
	b.t.Helper()
	for _, c := range b.cookies() {
		switch {
		case !strings.Contains(c.Name, "msauth-"):
		case strings.Contains(c.Name, "-login-"):
			attempts = append(attempts, c)
		case strings.HasSuffix(c.Name, "-ok"):
			mark = append(mark, c)
		default:
			session = append(session, c)
		}
	}
	return session, attempts, mark
}

// forget removes all cookies of the person: sessions end, and Microsoft asks who it is.
func (b *tab) forget() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.CallBrowser(ctx, storage.ClearCookies, storage.ClearCookiesParams{BrowserContextID: b.person}); err != nil {
		b.t.Fatal("removing cookies: ", err)
	}
}

func (b *tab) size(width, height int64, phone bool) {
	b.t.Helper()
	scale := 1.0
	if phone {
		scale = 2
	}
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: scale, Mobile: phone,
	})
}

func (b *tab) prefer(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme},
			{Name: "prefers-reduced-motion", Value: "reduce"}, // no colours half way
		},
	})
}

// look checks that the page suits everybody, and can take its picture on a
// desktop, in the dark, and on a phone.
func (b *tab) look(name string) {
	b.t.Helper()
	b.checkPage(name)
	b.screenshot(name+"-desktop", true)
	b.prefer("dark")
	b.checkContrast(name + " in the dark")
	b.screenshot(name+"-dark", false)
	b.prefer("light")
	b.size(390, 844, true)
	b.checkWidth(name + " on a phone")
	b.screenshot(name+"-phone", false)
	b.size(1280, 800, false)
}

// screenshot leaves a picture of the page, whole or as much as the window
// shows, in a folder that git ignores, if pictures are asked for: see
// chrome.Pictures.
func (b *tab) screenshot(name string, whole bool) {
	b.t.Helper()
	if !chrome.Pictures {
		return
	}
	yes := true
	params := page.CaptureScreenshotParams{OptimizeForSpeed: &yes}
	if whole {
		box := eval[[]float64](b, "[document.documentElement.clientWidth, Math.max(innerHeight, document.documentElement.scrollHeight)]")
		params.CaptureBeyondViewport = &yes
		params.Clip = &page.Viewport{Width: box[0], Height: box[1], Scale: 1}
	}
	shot := call(b, page.CaptureScreenshot, params)
	if err := os.MkdirAll("screenshots", 0o777); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("screenshots", name+".png"), shot.Data, 0o666); err != nil {
		b.t.Fatal(err)
	}
}

// checkPage is what every page owes to the people who cannot see it well, and
// to those who may not run scripts in it.
func (b *tab) checkPage(name string) {
	b.t.Helper()
	complaints := eval[[]string](b, `(() => {
		const bad = [], all = s => [...document.querySelectorAll(s)];
		if (!document.documentElement.lang) bad.push("no lang");
		if (!document.title.trim()) bad.push("no title");
		if (all("h1").length !== 1) bad.push(all("h1").length + " h1 elements");
		if (all("main").length !== 1) bad.push(all("main").length + " main elements");
		if (!document.querySelector("meta[name=viewport]")) bad.push("no viewport");
		if (document.compatMode !== "CSS1Compat") bad.push("quirks mode");
		for (const s of all("script:not([src])")) if (s.type !== "speculationrules") bad.push("inline script");
		for (const e of all("*")) for (const a of e.attributes) if (/^on/.test(a.name) || a.name === "style") bad.push("attribute " + a.name);
		for (const e of all("[src], link[href]")) {
			const url = new URL(e.src || e.href, location.href);
			if (url.origin !== location.origin && url.protocol !== "data:") bad.push("third party " + url);
		}
		for (const i of all("img")) if (!i.hasAttribute("alt")) bad.push("img without alt");
		for (const e of all("[tabindex]")) if (e.tabIndex > 0) bad.push("positive tabindex");
		const ids = all("[id]").map(e => e.id);
		for (const id of new Set(ids)) if (ids.indexOf(id) !== ids.lastIndexOf(id)) bad.push("id " + id + " twice");
		let level = 0;
		for (const h of all("h1, h2, h3, h4, h5, h6")) {
			if (+h.tagName[1] > level + 1) bad.push("heading " + h.tagName + " skips a level");
			level = +h.tagName[1];
		}
		if (getComputedStyle(document.body).fontFamily === "") bad.push("no style");
		return bad;
	})()`)
	for _, c := range complaints {
		b.t.Errorf("%s: %s", name, c)
	}
	b.checkNames(name)
	b.checkContrast(name)
	b.checkWidth(name)
}

// checkNames asks the browser's accessibility tree for things to press or see
// that have no name.
func (b *tab) checkNames(name string) {
	b.t.Helper()
	tree := call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	for _, node := range tree.Nodes {
		if node.Ignored || node.Role == nil {
			continue
		}
		switch role := axText(node.Role); role {
		case "link", "button", "image", "img", "textbox", "meter", "navigation", "heading":
			if strings.TrimSpace(axText(node.Name)) == "" {
				b.t.Errorf("%s: a %s without a name", name, role)
			}
		}
	}
}

func axText(v *accessibility.Value) (s string) {
	if v != nil {
		_ = json.Unmarshal(v.Value, &s)
	}
	return s
}

// checkContrast measures text against what is behind it: WCAG 2.2, 1.4.3.
func (b *tab) checkContrast(name string) {
	b.t.Helper()
	complaints := eval[[]string](b, `(() => {
		const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
		const rgb = (...colors) => {
			canvas.clearRect(0, 0, 1, 1);
			for (const c of colors) { canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); }
			return canvas.getImageData(0, 0, 1, 1).data;
		};
		const light = c => [0, 1, 2].reduce((sum, i) => {
			const v = c[i] / 255;
			return sum + [.2126, .7152, .0722][i] * (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
		}, 0);
		const bad = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		while (walker.nextNode()) {
			const e = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
			if (!text || !e.checkVisibility({opacityProperty: true, visibilityProperty: true}) || e.closest("svg, meter, script, [aria-hidden=true]")) continue;
			const style = getComputedStyle(e), behind = [];
			for (let p = e; p; p = p.parentElement) behind.unshift(getComputedStyle(p).backgroundColor);
			behind.unshift(matchMedia("(prefers-color-scheme: dark)").matches ? "#121212" : "#fff");
			const a = light(rgb(...behind, style.color)), b = light(rgb(...behind));
			const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05), size = parseFloat(style.fontSize);
			const large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
			if (ratio < (large ? 3 : 4.5)) bad.push("contrast " + ratio.toFixed(2) + " of " + JSON.stringify(text.slice(0, 40)));
		}
		return bad;
	})()`)
	for _, c := range complaints {
		b.t.Errorf("%s: %s", name, c)
	}
}

// checkWidth finds pages that one has to scroll sideways.
func (b *tab) checkWidth(name string) {
	b.t.Helper()
	if over := eval[float64](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
		b.t.Errorf("%s: %v pixels too wide", name, over)
	}
}

// reload loads the page again and waits for it.
func (b *tab) reload() {
	b.t.Helper()
	if _, err := do(b, chromedp.Reload()); err != nil {
		b.t.Fatal("reloading: ", err)
	}
}

// back is the back button.
func (b *tab) back() {
	b.t.Helper()
	// Pages out of the back/forward cache fire no load event to wait for.
	history := call(b, page.GetNavigationHistory, cdp.Empty{})
	if history.CurrentIndex == 0 {
		b.t.Fatal("nothing to go back to")
	}
	entry := history.Entries[history.CurrentIndex-1]
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: entry.ID}); err != nil && !errors.Is(err, context.Canceled) {
		b.t.Fatal("going back: ", err)
	}
}

func quote(s string) string {
	q, _ := json.Marshal(s)
	return string(q)
}
