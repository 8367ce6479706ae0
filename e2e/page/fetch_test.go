package page

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

const (
	dialog = "document.querySelector('dialog.msauth[open]')"
	login  = "dialog.msauth button:nth-of-type(1)"
	cancel = "dialog.msauth button:nth-of-type(2)"
)

// Ten requests that are refused make one window, and are all repeated. Microsoft's page
// cuts the window off from the page, and it closes all the same.
func TestOneWindowForTenRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	s.expire(b)
	chrome.Eval[any](b, `{ const open = window.open; window.open = (...a) => window.opened = open(...a) } 0`)
	s.ask(b, `for (let i = 0; i < 10; i++) ask("/api/" + i)`)
	w := s.window(b)
	w.Until("document.querySelector('" + ada + "')")
	if open := chrome.Eval[bool](w, "opener === null"); !open || !chrome.Eval[bool](b, "opened.closed") {
		t.Errorf("opener is null: %t; the page sees the window as closed: %t", open, chrome.Eval[bool](b, "opened.closed"))
	}
	b.Until(dialog + ".innerText.includes('You are not signed in')")
	s.pick(w, ada)
	b.Until("answers.length === 10")
	for i, answer := range answers(b) {
		if !strings.HasPrefix(answer, "200 GET /api/") || !strings.HasSuffix(answer, " by "+msauthtest.Ada) {
			t.Errorf("answer %d: %s", i, answer)
		}
	}
	s.windows(b, 1) // it has closed itself
	if n := s.ms.Count(msauthtest.Authorize); n != 2 {
		t.Errorf("%d times at Microsoft, want once before and once in the window", n)
	}
	if got := events(b); !slices.Equal(got, []string{"signin", "change", "Ada Lindqvist > nobody", "change", "nobody > Ada Lindqvist"}) {
		t.Errorf("events %q", got)
	}
	b.Until("!document.querySelector('dialog')")
}

// What may change something is sent again only if the page agrees to that request.
func TestPostIsRepeatedOnlyIfThePageAgrees(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		repeat, answer string
		handled        []string
	}{
		"no callback":      {"", "401 ", nil},
		"it does not":      {"session.repeat = () => false", "401 ", nil},
		"not quite":        {"session.repeat = () => 1", "401 ", nil},
		"it does":          {"session.repeat = async r => r.method === 'POST' && await r.text() === 'a=1'", "200 POST /api/order a=1 by", []string{"POST /api/order a=1 by " + msauthtest.Ada}},
		"another one, not": {"session.repeat = async r => r.url.endsWith('/other')", "401 ", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b := s.signedIn("/page")
			s.expire(b)
			s.ask(b, test.repeat+`; ask("/api/order", {method: "POST", body: "a=1"})`)
			s.pick(s.window(b), ada)
			b.Until("answers.length === 1")
			if got := answers(b)[0]; !strings.HasPrefix(got, test.answer) {
				t.Errorf("answer %q, want %q", got, test.answer)
			}
			if got := s.handled(); !slices.Equal(got, test.handled) {
				t.Errorf("handled %q, want %q", got, test.handled)
			}
		})
	}
}

func TestBodiesAreKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	s.expire(b)
	s.ask(b, `session.repeat = () => true;
		const form = new FormData(); form.append("file", new Blob(["content"]), "a.txt");
		ask("/api/form", {method: "PUT", body: form});
		ask(new Request("/api/request", {method: "POST", body: new Uint8Array([65, 66])}));`)
	s.pick(s.window(b), ada)
	b.Until("answers.length === 2")
	got := strings.Join(answers(b), "\n")
	if !strings.Contains(got, "200 PUT /api/form ------") || !strings.Contains(got, `filename="a.txt"`) || !strings.Contains(got, "200 POST /api/request AB by") || len(s.handled()) != 2 {
		t.Errorf("answers %s, handled %q", got, s.handled())
	}
}

// Somebody else's request is not sent in the name of whoever has signed in.
func TestNothingIsRepeatedForAnotherPerson(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	s.expire(b)
	s.ask(b, `session.repeat = () => true; ask("/api/mine"); ask("/api/order", {method: "POST", body: "a=1"})`)
	s.pick(s.window(b), mia)
	b.Until("answers.length === 2")
	for _, answer := range answers(b) {
		if !strings.HasPrefix(answer, "401 ") {
			t.Errorf("answer %s", answer)
		}
	}
	if got := s.handled(); got != nil {
		t.Errorf("handled %q", got)
	}
	if got := events(b); len(got) != 5 || got[2] != "Ada Lindqvist > nobody" || !strings.HasPrefix(got[4], "nobody > Mia") || !strings.HasSuffix(got[4], ", another person") {
		t.Errorf("events %q", got)
	}
	if chrome.Eval[bool](b, "!document.getElementById('private').hidden") {
		t.Error("the former person's data is shown")
	}
	// What is asked from now on is the new person's.
	s.ask(b, `ask("/api/next")`)
	b.Until("answers.length === 3")
	if got := answers(b)[2]; got != "200 GET /api/next  by "+msauthtest.Mia {
		t.Errorf("answer %q", got)
	}
}

// On a page that nobody has signed in to, whoever signs in is the one who asks.
func TestFirstSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.person()
	s.open(b, "/page")
	s.ask(b, `ask("/api/a")`)
	s.pick(s.window(b), mia)
	b.Until("answers.length === 1")
	if got := answers(b)[0]; got != "200 GET /api/a  by "+msauthtest.Mia {
		t.Errorf("answer %q", got)
	}
}

// A provider may never come back, and people close windows.
func TestCancel(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]func(s *site, b, w *chrome.Tab){
		"by the button":              func(s *site, b, w *chrome.Tab) { b.Click(cancel) },
		"by Escape":                  func(s *site, b, w *chrome.Tab) { b.Press(kb.Escape) },
		"after the window is closed": func(s *site, b, w *chrome.Tab) { w.Close(); s.windows(b, 1); b.Click(cancel) },
		"by signals": func(s *site, b, w *chrome.Tab) {
			chrome.Eval[any](b, "controller.abort(); 0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b := s.signedIn("/page")
			s.expire(b)
			s.ask(b, `window.controller = new AbortController(); ask("/api/a", {signal: controller.signal}); ask("/api/b", {signal: controller.signal})`)
			w := s.window(b)
			b.Until(dialog)
			how(s, b, w)
			b.Until("answers.length === 2 && !document.querySelector('dialog')")
			for _, got := range answers(b) {
				if want := map[bool]string{true: "AbortError", false: "401 "}[name == "by signals"]; !strings.HasPrefix(got, want) {
					t.Errorf("answer %q, want %q", got, want)
				}
			}
			if s.handled() != nil {
				t.Errorf("handled %q", s.handled())
			}
			looks := s.count("GET /auth/session")
			time.Sleep(3500 * time.Millisecond) // longer than it looks again while it waits
			if n := s.count("GET /auth/session"); n > looks+1 {
				t.Errorf("it has looked %d times after it was over", n-looks)
			}
			// The next request asks again.
			s.ask(b, `ask("/api/c")`)
			b.Until(dialog)
		})
	}
}

func TestWindowOpenedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	s.expire(b)
	s.ask(b, `ask("/api/a")`)
	s.window(b).Close()
	s.windows(b, 1)
	b.Click(login)
	s.pick(s.window(b), ada)
	b.Until("answers.length === 1")
	if got := answers(b)[0]; got != "200 GET /api/a  by "+msauthtest.Ada {
		t.Errorf("answer %q", got)
	}
}

// A request that nobody has clicked for opens a dialog and no window: browsers would block
// it. It can be used by keys alone.
func TestWithoutAClickThereIsADialogFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.person()
	s.open(b, "/page")
	chrome.Eval[any](b, `document.getElementById("act").focus(); ask("/api/a"); 0`)
	b.Until(dialog)
	if n := len(b.Pages()); n != 1 {
		t.Errorf("%d windows", n)
	}
	if got := chrome.Eval[string](b, `[document.activeElement.innerText, getComputedStyle(document.querySelector("dialog")).position,
		document.getElementById(document.querySelector("dialog").getAttribute("aria-labelledby")).innerText].join()`); got != "Sign in,fixed,You are not signed in" {
		t.Errorf("focus, position, name: %s", got)
	}
	b.Press(kb.Tab)
	b.Until("document.activeElement.innerText === 'Cancel'")
	b.Press(kb.Tab)
	b.Press(kb.Tab)
	b.Press(kb.Tab)
	if chrome.Eval[bool](b, "document.activeElement.id === 'act'") {
		t.Error("the focus leaves the dialog")
	}
	chrome.Eval[any](b, `document.querySelector("dialog button").focus(); 0`)
	b.Press(kb.Enter)
	s.pick(s.window(b), ada)
	b.Until("answers.length === 1 && document.activeElement.id === 'act'")
	if got := answers(b)[0]; got != "200 GET /api/a  by "+msauthtest.Ada {
		t.Errorf("answer %q", got)
	}
}

// Where no window can be opened, the page itself goes, and comes back to its place.
func TestBlockedWindow(t *testing.T) {
	t.Parallel()
	browser, stop, err := chrome.Launch("", chromedp.Flag("disable-popup-blocking", false))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for fragment, back := range map[string]string{"#/orders/7": "#/orders/7", "#access_token=secret": "", "": ""} {
		s := newSite(t)
		b := chrome.NewWindow(t, browser)
		s.watch(b)
		s.open(b, "/page?x=1"+fragment)
		b.Follow("session.signIn()") // without a click: Chromium blocks the window
		s.pick(b, ada)
		b.Until("window.ready && session.state.signed_in")
		if got, want := chrome.Eval[string](b, "location.href"), s.url+"/page?x=1"+back; got != want {
			t.Errorf("back at %s, want %s", got, want)
		}
		for _, call := range s.ms.Calls(msauthtest.Authorize) {
			if strings.Contains(fmt.Sprint(call.Query), "secret") {
				t.Error("Microsoft has the fragment")
			}
		}
	}
}

// Some sign-ins ask for more, each by a link of its own: one window suffices for those that
// ask for the same.
func TestStepUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	chrome.Eval[any](b, `{ const open = window.open; window.opens = 0; window.open = (...a) => (opens++, open(...a)) } 0`)
	s.ask(b, `for (let i = 0; i < 3; i++) ask("/api/scopes/" + i)`)
	w := s.window(b)
	w.Until("document.querySelector('#accept')")
	b.Until(dialog + ".innerText.includes('You need to sign in again')")
	w.Click("#accept")
	b.Until("answers.length === 3")
	for _, got := range answers(b) {
		if !strings.HasPrefix(got, "200 GET /api/scopes/") {
			t.Errorf("answer %s", got)
		}
	}
	if n := chrome.Eval[int](b, "opens"); n != 1 {
		t.Errorf("%d windows", n)
	}
	if got := events(b); !slices.Equal(got, []string{"signin"}) {
		t.Errorf("events %q", got)
	}
}

// A page can show something of its own.
func TestPageWithItsOwnDialog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	s.expire(b)
	chrome.Eval[any](b, `session.addEventListener("signin", e => { e.preventDefault(); window.detail = e.detail; detail.finished.then(x => window.finished = x); }); 0`)
	s.ask(b, `ask("/api/a")`)
	b.Until("window.detail")
	if got := chrome.Eval[string](b, `detail.problem.login_label + document.querySelectorAll("dialog").length`); got != "Sign in0" || len(b.Pages()) != 1 {
		t.Errorf("label and dialogs %s, windows %q", got, b.Pages())
	}
	s.ask(b, "detail.open()")
	s.pick(s.window(b), ada)
	b.Until("answers.length === 1 && finished")
	s.expire(b)
	s.ask(b, `ask("/api/b")`)
	b.Until("!detail.problem.done && events.filter(e => e === 'signin').length === 2")
	chrome.Eval[any](b, "detail.cancel(); 0")
	b.Until("answers.length === 2 && finished === false")
	if got := answers(b); !strings.HasPrefix(got[0], "200 ") || !strings.HasPrefix(got[1], "401 ") {
		t.Errorf("answers %q", got)
	}
}

// Only a problem document of this site that leads to its own sign-in is followed.
func TestOtherRefusalsAreReturned(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.person()
	s.open(b, "/page")
	type refusal struct {
		status      int
		typ, member string
	}
	refusals := map[string]refusal{
		"html":      {401, "text/html", `"/auth/login"`},
		"json":      {401, "application/json", `"/auth/login"`},
		"typo":      {401, "application/problem+jsonp", `"/auth/login"`},
		"404":       {404, "application/problem+json", `"/auth/login"`},
		"200":       {200, "application/problem+json", `"/auth/login"`},
		"none":      {401, "application/problem+json", `null`},
		"number":    {401, "application/problem+json", `7`},
		"elsewhere": {401, "application/problem+json", `"https://evil.example/auth/login"`},
		"host":      {401, "application/problem+json", `"//evil.example/auth/login"`},
		"script":    {401, "application/problem+json", `"javascript:alert(1)"`},
		"logout":    {401, "application/problem+json", `"/auth/logout"`},
		"dots":      {401, "application/problem+json", `"/auth/login/../logout"`},
		"below":     {401, "application/problem+json", `"/auth/login/x"`},
		"other":     {401, "application/problem+json", `"/other/login"`},
		"broken":    {401, "application/problem+json", `"`},
	}
	s.front(func(w http.ResponseWriter, r *http.Request) bool {
		f, ok := refusals[strings.TrimPrefix(r.URL.Path, "/api/")]
		if ok {
			w.Header().Set("Content-Type", f.typ)
			w.WriteHeader(f.status)
			fmt.Fprintf(w, `{"title":"T","login_url":%s}`, f.member)
		}
		return ok
	})
	for path := range refusals {
		chrome.Eval[any](b, `ask("/api/`+path+`"); 0`)
	}
	b.Until(fmt.Sprintf("answers.length === %d", len(refusals)))
	if got := events(b); len(got) != 0 || chrome.Eval[bool](b, "!!document.querySelector('dialog')") {
		t.Errorf("events %q", got)
	}
	// The control: a charset does no harm, and 403 counts too.
	refusals["good"] = refusal{403, "application/problem+json; charset=utf-8", `"/auth/login?return_to=%2Fx"`}
	chrome.Eval[any](b, `ask("/api/good"); 0`)
	b.Until(dialog)
}

// A body that can be read once cannot be sent twice.
func TestStreamIsNotRepeated(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	s.expire(b)
	// Chromium streams over HTTP/2 only: here it refuses to send, and that is the answer.
	s.ask(b, `session.repeat = () => true;
		ask("/api/stream", {method: "POST", duplex: "half", body: new Blob(["x"]).stream()})`)
	b.Until("answers.length === 1")
	if got := answers(b)[0]; got != "TypeError" {
		t.Errorf("answer %q", got)
	}
}

// A session whose renewal is refused has ended, though its cookie is still there and the
// server, asked who is signed in, renews nothing.
func TestSessionThatMicrosoftHasEnded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 2 * time.Second })
	b := s.signedIn("/page")
	s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 0 })
	s.ms.Revoke(msauthtest.Ada)
	time.Sleep(2500 * time.Millisecond)
	s.ask(b, `ask("/api/a")`)
	w := s.window(b)
	b.Until(dialog + " || answers.length")
	s.pick(w, ada)
	b.Until("answers.length === 1")
	if got := answers(b)[0]; got != "200 GET /api/a  by "+msauthtest.Ada {
		t.Errorf("answer %q", got)
	}
}

// A window that the page has opened, and that was closed by hand, keeps no request waiting
// without a word.
func TestWindowOfThePageClosedByHand(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	s.expire(b)
	s.ask(b, `session.signIn().then(x => window.signedIn = x)`)
	w := s.window(b)
	w.Close()
	s.windows(b, 1)
	chrome.Eval[any](b, `ask("/api/a"); 0`)
	b.Until(dialog)
	b.Click(cancel)
	b.Until("answers.length === 1 && window.signedIn === false")
	if got := answers(b)[0]; !strings.HasPrefix(got, "401 ") {
		t.Errorf("answer %q", got)
	}
}

// A page may take its time to agree: somebody else may have signed in meanwhile, on a page
// that tells nobody.
func TestAnotherPersonWhileThePageAgrees(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	other := s.person()
	other.Open(s.url + "/auth/login?return_to=/other")
	s.pick(other, mia)
	other.Until("window.ready")
	s.expire(b)
	s.ask(b, `session.repeat = () => new Promise(resolve => window.agree = () => resolve(true)); ask("/api/order", {method: "POST", body: "a=1"})`)
	s.pick(s.window(b), ada)
	b.Until("window.agree")
	s.windows(b, 1)
	for _, c := range other.Cookies() {
		if c.HTTPOnly && strings.HasPrefix(c.Name, "msauth-") {
			b.SetCookie(s.url, c)
		}
	}
	chrome.Eval[any](b, "agree(); 0")
	b.Until("answers.length === 1")
	if got := answers(b)[0]; !strings.HasPrefix(got, "401 ") || s.handled() != nil {
		t.Errorf("answer %q, handled %q", got, s.handled())
	}
}
