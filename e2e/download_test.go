package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
)

// downloaded is a file that the browser has saved.
type downloaded struct {
	name    string // as the server says
	content []byte
}

// download clicks a file of the files page and waits for it.
func download(b *tab, name string) downloaded {
	b.t.Helper()
	dir := b.t.TempDir()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	yes := true
	if _, err := chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllowAndName, DownloadPath: dir, EventsEnabled: &yes,
		BrowserContextID: b.person,
	}); err != nil {
		b.t.Fatal(err)
	}
	begun := chromedp.BrowserEvents(ctx, browser.DownloadWillBegin)
	going := chromedp.BrowserEvents(ctx, browser.DownloadProgress)
	b.until("[...document.querySelectorAll('#files a.file')].some(a => a.querySelector('.name').innerText === " + quote(name) + " && (a.id = 'wanted'))")
	origin := eval[string](b, "location.origin")
	b.click("#wanted")
	var d downloaded
	var guid string
	for ev, err := range begun {
		if err != nil {
			b.t.Fatal("no download: ", err)
		}
		if !strings.HasPrefix(ev.URL, origin+"/") { // of another test
			continue
		}
		d.name, guid = ev.SuggestedFilename, ev.GUID
		break
	}
	for ev, err := range going {
		if err == nil && ev.GUID != guid {
			continue
		}
		if err != nil || ev.State == browser.DownloadProgressStateCanceled {
			b.t.Fatal("the download broke off: ", err)
		}
		if ev.State == browser.DownloadProgressStateCompleted {
			content, err := os.ReadFile(filepath.Join(dir, ev.GUID))
			if err != nil {
				b.t.Fatal(err)
			}
			d.content = content
			break
		}
	}
	return d
}
