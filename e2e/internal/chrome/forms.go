package chrome

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// Opens runs a script, such as a click, as what the person does, and returns the tab that
// the browser opens for it. Only windows open tabs: see [NewWindow].
func (b *Tab) Opens(script string) *Tab {
	b.t.Helper()
	before := map[target.ID]bool{}
	for _, page := range b.pages() {
		before[page.TargetID] = true
	}
	yes := true
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[any]("(() => {"+script+"})()", func(p *runtime.EvaluateParams) { p.UserGesture = &yes })); err != nil {
		b.t.Fatalf("%.200s: %v", script, err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(25 * time.Millisecond) {
		for _, page := range b.pages() {
			if !before[page.TargetID] {
				opened := b.attach(page)
				opened.Until(`document.readyState === "complete" && location.href !== "about:blank"`)
				return opened
			}
		}
	}
	b.t.Fatalf("%.200s opens no tab", script)
	return nil
}

// NoScripts keeps pages from running scripts; those of the test still run.
func (b *Tab) NoScripts() {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		b.t.Fatal("turning off scripts: ", err)
	}
}

// Complaints returns what the console says from now on about pages that do what they may
// not, or whose scripts fail. An answer of status 4xx is none.
func (b *Tab) Complaints() func() []string {
	b.t.Helper()
	var mu sync.Mutex
	var texts []string
	err := chromedp.Listen(b.ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Source == log.EntrySourceSecurity || e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
				texts = append(texts, e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			texts = append(texts, e.ExceptionDetails.Text)
		}
	})
	if err != nil {
		b.t.Fatal("listening to the console: ", err)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(texts)
	}
}

// Alone waits until the person's other tabs are closed.
func (b *Tab) Alone() {
	b.t.Helper()
	for end := time.Now().Add(patience); len(b.pages()) > 1; time.Sleep(25 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("waited in vain for other tabs to close: %q", b.Pages())
		}
	}
}

// Picture leaves a picture of the page in the folder screenshots, if pictures are asked
// for, as on a phone or as on a desk.
func (b *Tab) Picture(name string, phone bool) {
	b.t.Helper()
	if !Pictures {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	size := emulation.SetDeviceMetricsOverrideParams{Width: 1280, Height: 800, DeviceScaleFactor: 1}
	if phone {
		size.Width, size.Height, size.Mobile = 390, 844, true
	}
	if _, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, size); err != nil {
		b.t.Fatal("giving a tab its size: ", err)
	}
	if _, err := chromedp.Call(ctx, page.BringToFront, cdp.Empty{}); err != nil { // else it is not drawn
		b.t.Fatal("showing a tab: ", err)
	}
	shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{})
	if err != nil {
		b.t.Fatal("taking a picture: ", err)
	}
	if err := os.MkdirAll("screenshots", 0o777); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("screenshots", name+".png"), shot.Data, 0o666); err != nil {
		b.t.Fatal(err)
	}
}
