package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

const hidden = "document.getElementById('private').hidden"

// signingOut are the ways out of a page.
var signingOut = map[string]func(b *chrome.Tab){
	"a link": func(b *chrome.Tab) { b.Click("#out") },
	"a form": func(b *chrome.Tab) { b.Click("#outbutton") },
	"a link, by keys": func(b *chrome.Tab) {
		chrome.Eval[any](b, "document.getElementById('out').focus(); 0")
		b.Press(kb.Enter)
	},
}

// Who signs out in one tab sees nothing private in another, a second later, even while
// Microsoft's page has not been left.
func TestSignOutInAnotherTab(t *testing.T) {
	t.Parallel()
	for name, signOut := range signingOut {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b := s.signedIn("/page")
			other := b.Beside()
			s.open(other, "/page")
			var out atomic.Int64
			s.front(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/auth/logout" {
					return r.URL.Path == "/auth/signed-out" // and nobody else tells
				}
				s.auth.ServeHTTP(w, r)
				out.Store(time.Now().UnixMilli())
				return true
			})
			chrome.Eval[any](other, "session.addEventListener('change', () => window.at = Date.now()); 0")
			signOut(b)
			other.Until(hidden)
			if took := chrome.Eval[int64](other, "at") - out.Load(); took > 1000 {
				t.Errorf("it took %d ms", took)
			}
			if got := events(other); !slices.Equal(got, []string{"change", "Ada Lindqvist > nobody"}) {
				t.Errorf("events %q", got)
			}
		})
	}
}

// The pages signed-out and done tell the other tabs, whoever has led there.
func TestOwnPagesTellOtherTabs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	other := b.Beside()
	complaints := other.Complaints()
	other.Open(s.url + "/auth/logout")
	chrome.Eval[any](b, "window.onfocus = null; 0")
	other.Click("button") // this page has no script of ours
	b.Until(hidden)
	other.Until("document.querySelector('#msauth-signed-out, h1')")

	other.Open(s.url + "/auth/login?return_to=/auth/done")
	s.pick(other, ada)
	b.Until("session.state.signed_in")
	other.Until("document.querySelector('#msauth-done')") // nobody has opened it as a window: it stays
	if text := other.Text(); !strings.Contains(text, "You are signed in") || !strings.Contains(text, "close this window") {
		t.Errorf("the page says %q", text)
	}
	// They ask for nothing themselves, whatever others tell: their policy lets them not.
	chrome.Eval[any](b, `new BroadcastChannel("msauth /auth/").postMessage("changed"); 0`)
	time.Sleep(time.Second)
	if got := complaints(); len(got) > 0 {
		t.Errorf("the console says %q", got)
	}
}

// Both pages say what they have to without scripts.
func TestOwnPagesWithoutScripts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.person()
	b.WithoutScripts()
	b.Open(s.url + "/auth/login?return_to=/auth/done")
	b.Click(ada)
	b.Until("document.querySelector('#msauth-done a')")
	if text := b.Text(); !strings.Contains(text, "You are signed in") || !strings.Contains(text, "Home page") {
		t.Errorf("done says %q", text)
	}
	b.Open(s.url + "/auth/signed-out")
	if text := b.Text(); !strings.Contains(text, "You are signed out") {
		t.Errorf("signed-out says %q", text)
	}
}

// The back button shows a page from memory, which looks who is signed in.
func TestBackAfterSignOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	s.open(b, "/page") // the first answer after a sign-in sets a cookie, and may not be kept
	b.Click("#away")
	b.Until("location.pathname === '/elsewhere' && window.ready")
	chrome.Eval[any](b, "window.elsewhere = true; 0")
	other := b.Beside()
	s.open(other, "/page")
	other.Click("#out")
	b.Until("events.includes('Ada Lindqvist > nobody')")
	chrome.Eval[any](b, "history.back(); 0")
	b.Until("location.pathname === '/page'")
	b.Until("window.persisted !== undefined && !window.elsewhere")
	if !chrome.Eval[bool](b, "persisted") {
		t.Error("the page does not come from the back-forward cache")
	}
	b.Until(hidden)
	// And its channel is open again.
	looks := s.count("GET /auth/session")
	other.Open(s.url + "/auth/signed-out")
	wait(t, "a look", func() bool { return s.count("GET /auth/session") > looks })
}

// Messages only make it look, and not often; those of other origins do not arrive.
func TestForgedMessages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	forge := `{ const channel = new BroadcastChannel("msauth /auth/"); for (let i = 0; i < 200; i++) channel.postMessage(["leaving", null, {signed_in: false}, "changed", 0][i %% %d]) } 0`
	foreign := b.Beside()
	foreign.Open(strings.Replace(s.url, "localhost", "127.0.0.1", 1) + "/auth/not-found")
	time.Sleep(500 * time.Millisecond)
	looks := s.count("GET /auth/session")
	chrome.Eval[any](foreign, fmt.Sprintf(forge, 5))
	time.Sleep(time.Second)
	if n := s.count("GET /auth/session") - looks; n > 1 { // by a focus
		t.Errorf("messages of another origin make it look %d times", n)
	}
	same := b.Beside()
	same.Open(s.url + "/auth/not-found")
	time.Sleep(500 * time.Millisecond)
	looks = s.count("GET /auth/session")
	chrome.Eval[any](same, fmt.Sprintf(forge, 5))
	time.Sleep(2 * time.Second)
	if n := s.count("GET /auth/session") - looks; n < 1 || n > 8 {
		t.Errorf("200 messages make it look %d times in 2 s", n)
	}
	if got := events(b); len(got) != 0 {
		t.Errorf("events %q", got)
	}
}

// Servers may disagree about a session: one has ended it, and the others do not know. Tabs
// that get different answers do not keep each other asking.
func TestServersThatDisagree(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page")
	for range 5 {
		s.open(b.Beside(), "/page")
	}
	var looks atomic.Int64
	s.front(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/auth/session" || looks.Add(1)%3 == 2 {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"signed_in":false,"login_url":"/auth/login"}`)
		return true
	})
	chrome.Eval[any](b, "session.look(); 0")
	time.Sleep(5 * time.Second)
	if n := looks.Load(); n < 2 || n > 6 {
		t.Errorf("six tabs have looked %d times, want each once at most", n)
	}
}

// While /session does not say who is signed in, nothing is known: nobody is signed out, and
// nobody is asked often.
func TestUnknownIsNotSignedOut(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(w http.ResponseWriter, r *http.Request){
		"503": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, `{"signed_in":false}`, http.StatusServiceUnavailable)
		},
		"HTML":     func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<p>Welcome to this hotel") },
		"no state": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "{}") },
		"null":     func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "null") },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/page", http.StatusSeeOther) },
		"hangs": func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(20 * time.Second):
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			b := s.signedIn("/page")
			s.front(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/auth/session" {
					f(w, r)
					return true
				}
				return false
			})
			looks := s.count("GET /auth/session")
			if got := chrome.Eval[bool](b, "Promise.all([session.look(), session.stay()]).then(([a, b]) => a.signed_in && b.signed_in)"); !got {
				t.Error("the last state is forgotten")
			}
			if got := events(b); len(got) != 0 || chrome.Eval[bool](b, hidden) {
				t.Errorf("events %q", got)
			}
			time.Sleep(time.Second)
			if n := s.count("GET /auth/session") - looks; n > 2 {
				t.Errorf("it has looked %d times", n)
			}
			// On a page that does not know who is signed in, a sign-in is asked for, and
			// nothing repeated.
			s.expire(b)
			b.Open(s.url + "/page")
			b.Until("window.msauth")
			chrome.Eval[any](b, `ask("/api/a"); 0`)
			b.Until(dialog)
			b.Click(login)
			w := s.window(b)
			s.front(nil)
			s.pick(w, ada)
			b.Until("answers.length === 1")
			if got := answers(b)[0]; !strings.HasPrefix(got, "401 ") {
				t.Errorf("answer %q", got)
			}
		})
	}
}

// Without channels the page notices by looking, within a few seconds.
func TestWithoutBroadcastChannel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.person()
	b.First("delete window.BroadcastChannel")
	b.Open(s.url + "/auth/login?return_to=/page")
	s.pick(b, ada)
	b.Until("window.ready && session.state?.signed_in")
	s.expire(b)
	s.ask(b, `ask("/api/a")`)
	s.pick(s.window(b), ada)
	b.Until("answers.length === 1")
	if got := answers(b)[0]; got != "200 GET /api/a  by "+msauthtest.Ada {
		t.Errorf("answer %q", got)
	}
}

// The countdown comes before the end, and goes when the session is used. A session that
// other requests have used meanwhile is not announced as ending.
func TestCountdown(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) { c.IdleTimeout = time.Minute })
	b := s.signedIn("/page?before=45")
	chrome.Eval[any](b, "session.notice = 45; events.length = 0") // the usual 120 s are more than there are
	shown := "document.querySelector('msauth-countdown:not([hidden]) time')"
	if chrome.Eval[bool](b, "!!"+shown) {
		t.Error("the countdown is there from the start")
	}
	time.Sleep(2 * time.Second)
	other := b.Beside()
	s.open(other, "/page?before=0") // uses the session, as the server knows
	used := time.Now()
	b.Until(shown)
	if at := time.Since(used); at < 11*time.Second {
		t.Errorf("the countdown is there %v after the last use", at)
	}
	text := chrome.Eval[string](b, shown+".innerText + ' ' + "+shown+".dateTime + ' ' + document.querySelector('msauth-countdown').getAttribute('role')")
	var seconds int
	if n, err := fmt.Sscanf(text, "0:%d", &seconds); n != 1 || err != nil || seconds < 35 || seconds > 45 || text != fmt.Sprintf("0:%d PT0M%dS timer", seconds, seconds) {
		t.Errorf("the countdown says %q", text)
	}
	b.Until(shown + ".innerText !== '" + text[:4] + "'") // it counts
	b.Until("events.length > 0")
	if got := events(b); !slices.Equal(got, []string{"ending"}) {
		t.Errorf("events %q", got)
	}
	b.Click("[data-stay]")
	b.Until("!" + shown)
	if n := s.count("POST /auth/session"); n != 1 {
		t.Errorf("%d requests to stay", n)
	}
	other.Until("session.end - Date.now() > 54000") // it has heard of it
}

// At the end of a session the page looks again, and says so once.
func TestEndOfASession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn("/page?before=300")
	ends := time.Now().Add(5 * time.Second).UTC()
	s.front(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/auth/session" {
			return false
		}
		rec := httptest.NewRecorder()
		s.auth.ServeHTTP(rec, r)
		var answer map[string]any
		_ = json.Unmarshal(rec.Body.Bytes(), &answer)
		if answer["signed_in"] = answer["signed_in"] == true && time.Now().Before(ends); answer["signed_in"] == true {
			answer["ends"] = ends
		} else {
			delete(answer, "person")
			delete(answer, "name")
		}
		var b bytes.Buffer
		_ = json.NewEncoder(&b).Encode(answer)
		w.Write(b.Bytes())
		return true
	})
	chrome.Eval[any](b, "session.look().then(() => 0)")
	b.Until("events.length === 3")
	if got := events(b); !slices.Equal(got, []string{"ending", "change", "Ada Lindqvist > nobody"}) {
		t.Errorf("events %q", got)
	}
	if now := time.Now(); now.Before(ends) || now.After(ends.Add(3*time.Second)) {
		t.Errorf("noticed %v after the end", now.Sub(ends))
	}
	b.Until("document.querySelector('msauth-countdown').hidden")
}

// If nobody knows whether the session goes on, the page waits, and says nothing.
func TestEndWhileNothingIsKnown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.person()
	b.First(`window.timers = 0; { const set = setTimeout; window.setTimeout = (...a) => (timers++, set(...a)); }`)
	ends := time.Now().Add(6 * time.Second).UTC()
	s.front(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/auth/session" && time.Now().After(ends) {
			http.Error(w, "the store fails", http.StatusServiceUnavailable)
		} else if r.URL.Path == "/auth/session" {
			json.NewEncoder(w).Encode(map[string]any{"signed_in": true, "name": "Ada", "person": 1, "sign_in": 2, "ends": ends, "login_url": "/auth/login"})
		}
		return r.URL.Path == "/auth/session"
	})
	s.open(b, "/page?before=300")
	b.Until("session.end < Date.now()")
	looks, timers := s.count("GET /auth/session"), chrome.Eval[int](b, "timers")
	time.Sleep(4 * time.Second)
	if n := s.count("GET /auth/session") - looks; n > 2 {
		t.Errorf("it looks %d times in 4 s", n)
	}
	if n := chrome.Eval[int](b, "timers") - timers; n > 20 {
		t.Errorf("%d timers in 4 s", n)
	}
	if got := events(b); !slices.Equal(got, []string{"ending"}) || chrome.Eval[string](b, "document.querySelector('time').innerText") != "0:00" {
		t.Errorf("events %q", got)
	}
}

// Plain http beyond localhost has no Fetch Metadata, and all of this works.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	browser, stop, err := chrome.Launch("", chromedp.Flag("host-resolver-rules", "MAP app.test 127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	s := newSite(t, func(c *msauth.Config) {
		c.BaseURL, c.InsecureCookies = strings.Replace(c.BaseURL, "localhost", "app.test", 1), true
	})
	s.url = strings.Replace(s.url, "localhost", "app.test", 1)
	s.ms.Set(func(b *msauthtest.Behavior) { b.RedirectURIs = []string{s.url + "/auth/callback"} })
	s.front(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Sec-Fetch-Site") != "" {
			t.Errorf("%s has Fetch Metadata", r.URL.Path)
		}
		return false
	})
	b := chrome.NewWindow(t, browser)
	s.watch(b)
	b.Open(s.url + "/auth/login?return_to=/page")
	s.pick(b, ada)
	b.Until("window.ready && session.state?.signed_in")
	if chrome.Eval[bool](b, "isSecureContext") {
		t.Error("the context is secure")
	}
	s.expire(b)
	s.ask(b, `ask("/api/a")`)
	s.pick(s.window(b), ada)
	b.Until("answers.length === 1")
	if got := answers(b)[0]; got != "200 GET /api/a  by "+msauthtest.Ada {
		t.Errorf("answer %q", got)
	}
	if !chrome.Eval[bool](b, "session.stay().then(state => state.signed_in)") {
		t.Error("nobody stays")
	}
}

// A laptop that wakes up looks at once, and times far away do no harm.
func TestClock(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *msauth.Config) { c.MaxAge, c.IdleTimeout = 90*24*time.Hour, 90*24*time.Hour })
	b := s.person()
	b.First(`window.slept = 0; { const now = Date.now.bind(Date); Date.now = () => now() + slept; }
		window.timers = []; { const set = setTimeout; window.setTimeout = (f, ms, ...a) => (timers.push(ms), set(f, Math.min(ms, 200), ...a)); }`)
	b.Open(s.url + "/auth/login?return_to=/page%3Fbefore=300")
	s.pick(b, ada)
	b.Until("window.ready && session.state?.signed_in && timers.length > 10")
	if most := chrome.Eval[float64](b, "Math.max(...timers)"); most > 1<<31-1 {
		t.Errorf("a timer of %.0f ms", most)
	}
	looks := s.count("GET /auth/session")
	time.Sleep(time.Second)
	if n := s.count("GET /auth/session") - looks; n > 1 {
		t.Errorf("it looks %d times in a second", n)
	}
	s.expire(b)
	chrome.Eval[any](b, "slept = 3600e3; 0")
	b.Until(hidden)
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(25 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
