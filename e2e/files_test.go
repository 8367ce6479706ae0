package e2e

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"example.com/msauth/msauthtest"
)

// writer is an app, its provider, and a tab in which somebody has signed in,
// allowed changes, and looks at their files.
func writer(t testing.TB, who string) (*msauthtest.Server, *app, *tab) {
	t.Helper()
	ms := newMicrosoft(t)
	ms.Consent(who, "Files.ReadWrite")
	a := newApp(t, ms)
	b := newPerson(t)
	b.open(a.url + "/files")
	b.pick(who)
	b.at(a.url + "/files")
	return ms, a, b
}

// act opens the menu of an item and clicks an entry.
func (b *tab) act(name, entry string) {
	b.t.Helper()
	b.until("[...document.querySelectorAll('#files > li')].some(li => li.querySelector('.name').innerText === " + quote(name) + " && (li.id = 'wanted'))")
	b.click("#wanted summary")
	b.until("[...document.querySelectorAll('#wanted .menu :is(a, button)')].some(e => e.innerText === " + quote(entry) + " && (e.id = 'entry'))")
	b.click("#entry")
}

// fill sets the text of a field.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.shows(selector)
	eval[bool](b, "document.querySelector("+quote(selector)+").value = "+quote(text)+", true")
}

// notice waits for what a form says that it has done.
func (b *tab) notice(text string) {
	b.t.Helper()
	b.until("document.querySelector('#notice')?.innerText.startsWith(" + quote(text) + ")")
}

// names are those of the items in the list.
func (b *tab) names() []string {
	b.t.Helper()
	return eval[[]string](b, "[...document.querySelectorAll('#files .name')].map(e => e.innerText)")
}

// narrow checks the page on a small phone.
func (b *tab) narrow(name string) {
	b.t.Helper()
	b.size(360, 740, true)
	b.checkWidth(name + " on a small phone")
	b.size(1280, 800, false)
}

func TestChangesAreAskedForOnTheFirstVisit(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.click("nav a[href='/files']")
	b.click("#new-folder")
	b.consent("Files.ReadWrite")
	b.at(a.url + "/files/new-folder?in=")
	b.shows("#name[autofocus]")
	b.look("new-folder")
	wantAsked(t, ms, 2)

	b.fill("#name", "a/b")
	b.click("#submit")
	b.shows("#problem")
	b.look("new-folder-refused")
	b.fill("#name", "Süß")
	b.click("#submit")
	b.at(a.url + "/files")
	b.notice("Created the folder “Süß”.")
	if !slices.Contains(b.names(), "Süß") {
		t.Errorf("items %q", b.names())
	}
	b.look("files-notice")
	b.narrow("files")
	wantAsked(t, ms, 2)
	b.open(strings.Replace(eval[string](b, "document.querySelector('#files > li form').action"), "/delete", "/delete?", 1))
	b.shows("#submit")
	b.look("delete")
}

// All that can be done with a mouse and without scripts.
func TestFileManagerWithoutScripts(t *testing.T) {
	for _, who := range []string{msauthtest.Ada, msauthtest.Mia} {
		t.Run(who, func(t *testing.T) {
			parallel(t)
			_, a, b := writer(t, who)
			call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			b.reload()

			b.act("Shopping list.txt", "Rename")
			b.fill("#name", "Groceries.txt")
			b.click("#submit")
			b.notice("The new name is “Groceries.txt”.")

			b.act("Groceries.txt", "Move")
			b.shows("#folders")
			b.click("#folders li:nth-child(2) a") // Documents
			b.until("document.querySelector('[aria-current=true]:not(nav.sections a)')?.innerText === 'Documents'")
			b.click("#move-here")
			b.notice("Moved “Groceries.txt” here.")

			b.fill("#q", "Groceries")
			b.click(".search button")
			b.until("location.pathname === '/files/search'")
			b.until("document.querySelector('.place')?.innerText === 'OneDrive / Documents'")

			b.act("Groceries.txt", "Share")
			b.click("#make-link")
			b.until("document.querySelector('#link-0')?.value.startsWith('https://')")
			b.click(".actions a")
			b.until("document.querySelector('h1')?.innerText === 'Documents'")

			b.act("Groceries.txt", "Delete")
			b.notice("Deleted “Groceries.txt”.")
			if slices.Contains(b.names(), "Groceries.txt") {
				t.Error("the file is still there")
			}
			if who == msauthtest.Mia {
				b.click("#undo")
				b.notice("“Groceries.txt” is back.")
				if !slices.Contains(b.names(), "Groceries.txt") {
					t.Error("the file is not back")
				}
			} else {
				b.shows("#bin")
			}

			file := b.file("Picture.txt", strings.Repeat("x", 6<<20))
			b.open(a.url + "/files")
			b.click("#upload")
			b.choose("#file", file)
			b.click("#submit")
			b.notice("Uploaded “Picture.txt”.")
			if got := download(b, "Picture.txt"); len(got.content) != 6<<20 {
				t.Errorf("%d bytes", len(got.content))
			}
			b.click("#upload")
			b.choose("#file", file)
			b.click("#submit")
			b.until("document.querySelector('#problem')?.innerText.includes('already')")
			b.choose("#file", file)
			b.click("#submit")
			b.notice("Uploaded “Picture 1.txt”.")
		})
	}
}

func TestMenuWithAKeyboard(t *testing.T) {
	parallel(t)
	_, _, b := writer(t, msauthtest.Ada)
	press := func(key string) {
		if _, err := do(b, chromedp.KeyEvent(key)); err != nil {
			t.Fatal(err)
		}
	}
	eval[bool](b, "document.querySelector('#files > li:nth-child(2) summary').focus(), true")
	press(kb.Enter)
	b.until("document.querySelector('#files > li:nth-child(2) details').open")
	press(kb.Tab)
	b.until("document.activeElement.innerText === 'Rename'")
	press(kb.Enter)
	b.until("location.pathname.endsWith('/rename') && document.querySelector('#name')?.value === 'Documents'")
}

func TestPagesOfTheFileManager(t *testing.T) {
	parallel(t)
	_, a, b := writer(t, msauthtest.Ada)
	b.click("#files li:nth-child(2) summary")
	b.shows("details[open]")
	b.look("files-menu")
	b.click("#files li:nth-child(2) .menu a[href$='/move']")
	b.shows("#folders")
	b.look("move")
	b.narrow("move")
	b.open(a.url + "/files/search?q=Budget")
	b.shows(".place")
	b.look("search")
	b.narrow("search")
	b.act("Budget 2026.csv", "Share")
	b.shows("#make-link")
	b.look("share")
	b.click("#make-link")
	b.shows("#link-0")
	b.look("share-link")
	b.narrow("share")
	b.open(a.url + "/files/upload")
	b.look("upload")
	b.narrow("upload")

	b.open(a.url + "/files")
	b.click("#files > li:nth-child(4) a.folder")
	b.until("document.querySelector('h1')?.innerText === 'Pictures'")
	eval[bool](b, "document.querySelectorAll('.thumb').forEach(i => i.loading = 'eager'), true") // tabs without a window draw nothing
	b.until("[...document.querySelectorAll('.thumb')].every(i => i.complete && i.naturalWidth > 0)")
	b.look("pictures")
	b.act("Harbour.png", "Preview")
	b.until("document.querySelector('#picture')?.complete && document.querySelector('#picture').naturalWidth > 96")
	b.look("preview")
	b.narrow("preview")
}

// A download that was cut goes on where it was, as download managers do it.
func TestDownloadGoesOn(t *testing.T) {
	parallel(t)
	_, a, b := writer(t, msauthtest.Ada)
	whole := download(b, "Measurements.csv")
	link := eval[string](b, "[...document.querySelectorAll('#files a.file')].find(a => a.querySelector('.name').innerText === 'Measurements.csv').href")
	get := func(headers ...string) (int, string, http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		for _, c := range b.cookies() {
			if strings.Contains(c.Name, "msauth-") {
				req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
			}
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body), res.Header
	}
	status, head, header := get("Range", "bytes=0-999")
	if status != http.StatusPartialContent || len(head) != 1000 {
		t.Fatalf("status %d, %d bytes", status, len(head))
	}
	status, rest, _ := get("Range", "bytes=1000-", "If-Range", header.Get("ETag"))
	if status != http.StatusPartialContent || head+rest != string(whole.content) {
		t.Errorf("status %d: %d bytes, want %d", status, len(head+rest), len(whole.content))
	}
	b.at(a.url + "/files")
}
