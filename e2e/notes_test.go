package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"

	"example.com/msauth/msauthtest"
)

// notebook is a window in which Ada has opened the page of notes.
func notebook(t testing.TB) (*msauthtest.Server, *app, *tab) {
	t.Helper()
	ms := newMicrosoft(t)
	a := newApp(t, ms)
	b := newPerson(t).newWindow()
	b.open(a.url + "/notes")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/notes")
	return ms, a, b
}

// write types a note.
func (b *tab) write(text string) {
	b.t.Helper()
	b.shows("#text")
	eval[any](b, fmt.Sprintf(`document.getElementById("text").value = %s; 0`, quote(text)))
}

// save saves a note, waits until it is shown, and returns its ID.
func (b *tab) save(text string) string {
	b.t.Helper()
	b.write(text)
	b.click("#save")
	b.reads(text)
	return eval[string](b, `location.hash.slice("#note/".length)`)
}

// reads waits until the page shows a note, which its address has.
func (b *tab) reads(text string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`location.hash.startsWith("#note/") && document.querySelector("#note .text")?.textContent === %s`, quote(text)))
}

// end ends the session of a browser, which keeps its cookie: a copy of it signs out.
// Microsoft asks anew who it is.
func (b *tab) end(a *app, ms *msauthtest.Server) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, a.url+"/auth/logout", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.cookies() {
		if strings.HasPrefix(c.Name, "msauthtest-") {
			call(b, network.DeleteCookies, network.DeleteCookiesParams{Name: c.Name, URL: ms.URL})
		} else {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	for name, value := range map[string]string{"Site": "same-origin", "Mode": "navigate", "Dest": "document"} {
		r.Header.Set("Sec-Fetch-"+name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("signing out: status %d", res.StatusCode)
	}
}

// unaware keeps the page from asking who is signed in: it does not notice, and hides nothing.
func (b *tab) unaware(a *app) {
	b.t.Helper()
	call(b, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: []*network.BlockPattern{{URLPattern: a.url + "/auth/session", Block: true}}})
}

// The fragment of the address is the note that is shown.
func TestNotes(t *testing.T) {
	parallel(t)
	_, a, b := notebook(t)
	b.look("notes-empty")
	first := b.save("Ask Bruno about the beams\nand about lunch")
	second := b.save("1/2: <b>Grüße</b>\n\n\tindented")
	b.look("notes")
	if got := eval[string](b, "document.activeElement.innerText"); got != "1 2 b Grüße b" {
		t.Errorf("the focus is on %q, want the note's title", got)
	}
	if got := b.text(`#notes a[aria-current="true"]`); got != "1 2 b Grüße b" {
		t.Errorf("the list says that this note is shown: %q", got)
	}
	b.click(fmt.Sprintf(`[data-note="%s"]`, first))
	b.reads("Ask Bruno about the beams\nand about lunch")
	b.at(a.url + "/notes#note/" + first)
	b.back()
	b.reads("1/2: <b>Grüße</b>\n\n\tindented")
	b.at(a.url + "/notes#note/" + second)
	b.reload()
	b.reads("1/2: <b>Grüße</b>\n\n\tindented")
	b.open(a.url + "/notes#note/nowhere")
	b.until(`document.querySelector("#note .bad")?.textContent === "Not found"`)
}

// Without scripts, notes can be written and downloaded.
func TestNotesWithoutScripts(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newApp(t, ms)
	b := newPerson(t)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(a.url + "/notes")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/notes")
	b.write("Paper")
	b.click("#save")
	b.shows("#notes a")
	if id, link := eval[string](b, "location.hash.slice(6)"), eval[string](b, "document.querySelector('#notes a').getAttribute('href')"); link != "/files/"+id+"/content" {
		t.Errorf("the note is at %q", link)
	}
	b.look("notes-without-scripts")
	for _, hidden := range []string{"msauth-countdown", "#ended", "#other"} {
		if eval[bool](b, fmt.Sprintf("document.querySelector(%q).checkVisibility()", hidden)) {
			t.Errorf("%s is shown", hidden)
		}
	}
}

// What somebody writes while the session ends is not lost, and is sent once.
func TestNoteThatOutlivesTheSession(t *testing.T) {
	for name, end := range map[string]func(b *tab, a *app, ms *msauthtest.Server){
		"ended by the server":      (*tab).end,
		"forgotten by the browser": func(b *tab, _ *app, _ *msauthtest.Server) { b.forget() },
	} {
		t.Run(name, func(t *testing.T) {
			parallel(t)
			ms, a, b := notebook(t)
			const text = "Written while\n the session ended"
			b.write(text)
			end(b, a, ms)
			b.click("#save")
			b.shows("#msauth-sign-in-required")
			if eval[bool](b, `document.getElementById("msauth-signed-in-again").checkVisibility()`) {
				t.Error("nobody has signed in, but the page says so")
			}
			b.look("note-kept")
			w := b.opens("a[target=_blank]")
			w.pick(msauthtest.Ada)
			w.isDone()
			b.until(`document.getElementById("msauth-signed-in-again")?.checkVisibility()`) // by itself
			if got := b.text("#msauth-signed-in-again"); !strings.Contains(got, "You are signed in again") {
				t.Errorf("the page says %q", got)
			}
			b.look("note-kept-signed-in-again")
			b.click("form button")
			if name == "forgotten by the browser" { // nobody knows whose form it was
				b.shows("#msauth-other-account")
				b.click("form button")
			}
			b.reads(text)
			if n := eval[int](b, `document.querySelectorAll("#notes li").length`); n != 1 {
				t.Errorf("there are %d notes", n)
			}
		})
	}
}

func TestLinkToANoteWhileSignedOut(t *testing.T) {
	parallel(t)
	ms, a, b := notebook(t)
	id := b.save("Read me")
	b.end(a, ms)
	other := b.newTab()
	other.open(a.url + "/notes#note/" + id)
	other.pick(msauthtest.Ada)
	other.reads("Read me")
	other.at(a.url + "/notes#note/" + id)
}

// A script that reads a note has somebody sign in, in a window.
func TestReadingANoteSignsInInAWindow(t *testing.T) {
	parallel(t)
	ms, a, b := notebook(t)
	first := b.save("The first")
	b.save("The second")
	b.write("A third, not yet finished")
	b.end(a, ms)
	w := b.opens(fmt.Sprintf(`[data-note="%s"]`, first)) // the click has it open its window at once
	b.shows("dialog.msauth[open]")
	b.look("note-dialog")
	w.pick(msauthtest.Ada)
	w.isDone()
	b.reads("The first")
	b.until("!document.querySelector('dialog')")
	if got := eval[string](b, `document.getElementById("text").value`); got != "A third, not yet finished" {
		t.Errorf("what was being written is now %q", got)
	}
}

// Who signs out in one tab leaves nothing private in another.
func TestSignOutHidesOtherTabs(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	f := newFront(t, false)
	a := newApp(t, ms, "MSAUTH_BASE_URL="+f.url+"/auth")
	f.start(a)
	b := newPerson(t).newWindow()
	b.open(f.url + "/notes")
	b.pick(msauthtest.Ada)
	b.save("Private")
	b.write("Unfinished")
	eval[any](b, `import(document.getElementById("msauth").href).then(({session}) => session.addEventListener("change", () => window.changed = Date.now())).then(() => 0)`)
	visible := func(selector string) string {
		return fmt.Sprintf("document.querySelector(%q).checkVisibility()", selector)
	}

	other := b.newTab()
	signOut := func() {
		t.Helper()
		other.open(f.url + "/session")
		other.click("#sign-out")
		other.at(f.url + "/auth/signed-out")
		b.until(visible("#ended") + " && !" + visible("main") + " && !" + visible(".account"))
	}
	signOut()
	var out time.Time
	for _, p := range f.passed() {
		if p.r.URL.Path == "/auth/logout" {
			out = p.answered
		}
	}
	t.Logf("hidden %v after the sign-out", time.UnixMilli(eval[int64](b, "changed")).Sub(out))
	if got := b.body(); strings.Contains(got, "Private") || strings.Contains(got, "Ada") {
		t.Errorf("the page still shows %q", got)
	}
	b.look("signed-out-elsewhere")

	// The same person signs in again, elsewhere or from here.
	other.open(f.url + "/session")
	other.pick(msauthtest.Ada)
	other.at(f.url + "/session")
	b.until(visible("main") + " && !" + visible("#ended"))
	signOut()
	w := b.opens("#ended a")
	w.pick(msauthtest.Ada)
	w.isDone()
	b.until(visible("main") + " && !" + visible("#ended") + " && " + visible("#note .text"))
	if got := eval[string](b, `document.getElementById("text").value`); got != "Unfinished" {
		t.Errorf("what was being written is now %q", got)
	}

	// Another person does.
	signOut()
	other.open(f.url + "/session")
	other.pick(msauthtest.Bruno)
	other.at(f.url + "/session")
	b.until(visible("#other") + " && !" + visible("main") + " && !" + visible("#ended"))
	b.look("another-person")
	b.click("#other a")
	b.click("#accept")
	b.until(`document.getElementById("who")?.innerText === "Bruno Okafor" && ` + visible("main"))
	if got := b.body(); strings.Contains(got, "Private") {
		t.Errorf("Bruno reads %q", got)
	}
}

// A page whose session ends before its script first asks hides the same.
func TestSignOutWhileAPageLoads(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	f := newFront(t, false)
	a := newApp(t, ms, "MSAUTH_BASE_URL="+f.url+"/auth")
	var slow atomic.Bool
	over := make(chan struct{})
	f.ask = func(r *http.Request) {
		if r.URL.Path == "/auth/session" && slow.Load() {
			select {
			case <-over:
			case <-r.Context().Done():
			}
		}
	}
	f.start(a)
	b := newPerson(t)
	b.open(f.url + "/notes")
	b.pick(msauthtest.Ada)
	b.at(f.url + "/notes")
	slow.Store(true)
	b.reload()
	b.shows("#who")
	b.end(a, ms)
	close(over)
	b.until(`document.getElementById("ended").checkVisibility() && !document.querySelector("main").checkVisibility()`)
}

func TestCountdown(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	f := newFront(t, false)
	a := newApp(t, ms, "MSAUTH_BASE_URL="+f.url+"/auth")
	ends := time.Now().Add(100 * time.Second).UTC()
	var stays atomic.Bool
	f.answer = func(res *http.Response) { // a session that is near its end, until it is used
		if res.Request.URL.Path != "/auth/session" || stays.Load() {
			return
		}
		if res.Request.Method == http.MethodPost {
			stays.Store(true)
			return
		}
		var state map[string]any
		if err := json.NewDecoder(res.Body).Decode(&state); err != nil {
			t.Error(err)
		}
		state["idle_ends"] = ends
		body, _ := json.Marshal(state)
		res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		res.Header.Del("Content-Length")
	}
	f.start(a)
	b := newPerson(t)
	b.open(f.url + "/notes")
	b.pick(msauthtest.Ada)
	b.until(`document.querySelector("msauth-countdown")?.checkVisibility()`)
	b.until(`document.getElementById("ending").textContent`)
	if got := b.text("msauth-countdown"); !regexp.MustCompile(`^Your session ends in [01]:[0-5]\d\.\s+Stay signed in$`).MatchString(got) {
		t.Errorf("it says %q", got)
	}
	b.look("countdown")
	b.click("[data-stay]")
	b.until(`!document.querySelector("msauth-countdown").checkVisibility()`)
	if !stays.Load() {
		t.Error("the countdown went without a request")
	}
}

func TestLanguageChooser(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.open(a.url + "/session?a=b&c")
	b.at(a.url + "/session?a=b&c")
	eval[any](b, `document.getElementById("language").value = "de"; 0`)
	b.click(".language button")
	b.until(`document.querySelector("#language [selected]")?.value === "de"`)
	b.at(a.url + "/session?a=b&c")
	b.click("#sign-out")
	b.at(a.url + "/auth/signed-out")
	if got := eval[string](b, "document.documentElement.lang + ' ' + document.title"); got != "de Sie sind abgemeldet" {
		t.Errorf("the page is %q", got)
	}
	b.look("signed-out-german")
	b.open(a.url + "/session")
	b.shows("button[name=user]")
	if calls := ms.Calls(msauthtest.Authorize); calls[len(calls)-1].Query.Get("ui_locales") != "de" {
		t.Errorf("Microsoft is asked %v", calls[len(calls)-1].Query)
	}
}
