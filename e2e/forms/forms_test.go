package forms

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/e2e/internal/chrome"
	"example.com/msauth/msauthtest"
)

func TestMain(m *testing.M) { chrome.Main(m) }

// page has a form with every name and value that could get lost on the way. The texts are
// typed by the script of the test, not of the page.
const page = `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,"><title>form</title>
<form method="post" action="/order?kind=a%20b&amp;to=%2Fx" id="f">
<textarea name="text"></textarea>
<input name="line" dirname="line.dir">
<input name="ü&lt;&quot;&amp;+ %=;">
<input type="hidden" name="_charset_">
<input type="hidden" name="msauth_token" value="not ours">
<input name="isindex" value="1"><input name="action" value="/evil"><input name="method" value="get"><input name="submit" value="x">
<input name="target" value="_top"><input name="elements" value="y"><input name="enctype" value="text/plain">
<input type="checkbox" name="box" value="1" checked><input type="checkbox" name="box" value="2" checked><input type="checkbox" name="box" value="3">
<select name="many" multiple><option selected>one<option>two<option selected>three</select>
<input name="empty" value="">
<button name="send" value="now &amp; &quot;here&quot;">Order</button>
<button name="send" value="later">Later</button>
</form>`

// type_ types into the page's form.
const type_ = `
const form = document.getElementById("f"), text = form.querySelector("textarea");
text.value = "\n first line\nsecond \"quoted\" 'too'\r\n\r\n<b>&amp; </textarea></form>\"><script>alert(1)</scr" + "ipt> &#13; ~*-._+%20 \t\u000b\f\u0001\u007f\u0085\u2028\ufeff end \n";
form.querySelector("[name=line]").value = "Grüße, 😀 שלום \u202e abc 日本";
form.querySelector("[name^=ü]").value = "\ud800 lone";
`

// A site is an app with a form, and a provider that asks who signs in.
type site struct {
	ms   *msauthtest.Server
	auth *msauth.Middleware
	url  string

	mu    sync.Mutex
	posts []string // what the handler of the form got
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{ms: msauthtest.NewServer()}
	t.Cleanup(s.ms.Close)
	server := httptest.NewServer(nil)
	t.Cleanup(server.Close)
	s.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1) // another site than the provider's
	var err error
	if s.auth, err = msauth.New(msauth.Config{
		ClientID: s.ms.ClientID, ClientSecret: s.ms.ClientSecret, Authority: s.ms.URL, BaseURL: s.url + "/auth", Keys: [][]byte{{31: 1, 0: 7}},
	}); err != nil {
		t.Fatal(err)
	}
	order := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		session, _ := msauth.FromContext(r.Context())
		s.mu.Lock()
		defer s.mu.Unlock()
		s.posts = append(s.posts, fmt.Sprintf("%s %s as %s, origin %s, site %s, type %s\n%s", r.Method, r.RequestURI, session.User.Username,
			r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Content-Type"), body))
		fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><title>done</title><link rel="icon" href="data:,"><p id="done">ordered by %s`, session.User.Username)
	})
	html := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, text)
		})
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", s.auth)
	mux.Handle("/{$}", html(`<!DOCTYPE html><html lang="en"><title>home</title><link rel="icon" href="data:,"><p id="home">home`))
	mux.Handle("/form", s.auth.Require(html(page)))
	mux.Handle("/fresh-form", s.auth.Require(html(strings.Replace(page, "/order?", "/fresh?", 1))))
	mux.Handle("/order", http.NewCrossOriginProtection().Handler(s.auth.Require(order)))
	mux.Handle("/fresh", http.NewCrossOriginProtection().Handler(s.auth.RequireFreshSignIn(time.Minute)(order)))
	server.Config.Handler = mux
	return s
}

// ordered are the posts that the handler got since the last call.
func (s *site) ordered() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	posts := s.posts
	s.posts = nil
	return posts
}

// pick clicks a person's button at the stand-in.
func pick(b *chrome.Tab, name string) {
	button := fmt.Sprintf(`[...document.querySelectorAll("button")].find(b => b.innerText.includes(%q))`, name)
	b.Until(button)
	b.Follow(button + ".click()")
}

// forget removes the cookies of the provider.
func forget(s *site, b *chrome.Tab) {
	for _, c := range b.Cookies() {
		if strings.HasPrefix(c.Name, "msauthtest-") {
			b.DeleteCookie(s.ms.URL, c.Name)
		}
	}
}

// end ends the session of a browser, which keeps its cookies: a copy of it signs out.
// Microsoft asks anew who signs in.
func (s *site) end(t *testing.T, b *chrome.Tab) {
	t.Helper()
	forget(s, b)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/auth/logout", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.Cookies() {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	for name, value := range map[string]string{"Site": "same-origin", "Mode": "navigate", "Dest": "document"} {
		r.Header.Set("Sec-Fetch-"+name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("signing out: status %d", res.StatusCode)
	}
}

// signedIn is a window on a page with the form, after Ada's sign-in there. The console must
// have nothing to say until the end of the test.
func (s *site) signedIn(t *testing.T, path string) *chrome.Tab {
	t.Helper()
	b := chrome.NewWindow(t, chrome.Shared(t))
	complaints := b.Complaints()
	t.Cleanup(func() {
		if got := complaints(); len(got) != 0 {
			t.Errorf("the console says %q", got)
		}
	})
	b.Open(s.url + path)
	pick(b, "Ada")
	b.Until(`document.getElementById("f")`)
	return b
}

// signInBeside signs a person in by the page of a kept form: in another tab, which closes
// when that is done. With scripts the page says so by itself.
func signInBeside(b *chrome.Tab, name string, scripts bool) {
	other := b.Opens(`document.querySelector("a[target=_blank]").click()`)
	button := fmt.Sprintf(`[...document.querySelectorAll("button")].find(b => b.innerText.includes(%q))`, name)
	other.Until(button)
	chrome.Eval[any](other, "setTimeout(() => "+button+".click()), 0") // the tab may be closed before it answers
	b.Alone()
	if scripts {
		b.Until(`!document.getElementById("msauth-signed-in-again").hidden`)
		b.Until(`document.activeElement === document.querySelector("form button")`)
		b.Until(`!document.querySelector("h1").checkVisibility()`) // it says that nobody is signed in
	}
}

const order = `document.querySelector("button[value^=now]").click()`

func TestFormSurvivesTheEndOfASession(t *testing.T) {
	t.Parallel()
	for _, scripts := range []bool{true, false} {
		s := newSite(t)
		b := chrome.NewWindow(t, chrome.Shared(t))
		complaints := b.Complaints()
		if !scripts {
			b.NoScripts()
		}
		b.Follow(fmt.Sprintf("location.href = %q", s.url+"/form"))
		pick(b, "Ada")
		b.Until(`document.getElementById("f")`)
		b.Follow(type_ + order)
		direct := s.ordered()
		if len(direct) != 1 || !strings.Contains(direct[0], "as "+msauthtest.Ada) {
			t.Fatalf("sent at once: %q", direct)
		}
		b.Open(s.url + "/form")
		s.end(t, b)
		b.Follow(type_ + order)
		b.Until(`document.getElementById("msauth-sign-in-required")`)
		if got := s.ordered(); len(got) != 0 {
			t.Fatalf("after the end of the session the handler got %q", got)
		}
		b.Picture("kept", false)
		b.Picture("kept-phone", true)
		if text := b.Text(); !strings.Contains(text, "what you wrote is still here") || strings.Contains(text, "first line") {
			t.Errorf("the page says %q", text)
		}
		// Nobody is signed in yet: the form stays.
		b.Follow(`document.querySelector("form button").click()`)
		if text := b.Text(); !strings.Contains(text, "what you wrote is still here") {
			t.Errorf("sent again by nobody: %q", text)
		}
		signInBeside(b, "Ada", scripts)
		b.Follow(`document.querySelector("form button").click()`)
		b.Until(`document.getElementById("done")`)
		if got := s.ordered(); len(got) != 1 || got[0] != direct[0] {
			t.Errorf("scripts %t: sent again\n%q, want\n%q", scripts, got, direct)
		}
		if got := complaints(); len(got) != 0 {
			t.Errorf("the console says %q", got)
		}
	}
}

// again says whether the page says that somebody has signed in again.
const again = `document.getElementById("msauth-signed-in-again").checkVisibility()`

// The page of a kept form says by itself that it can be sent, when it can.
func TestFormSaysWhenItCanBeSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		form string
		end  func(s *site, b *chrome.Tab)
	}{
		"after a sign-in": {"/form", func(s *site, b *chrome.Tab) { s.end(t, b) }},
		"after a step-up": {"/fresh-form", func(*site, *chrome.Tab) {}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
					claims["auth_time"] = time.Now().Add(-time.Hour).Unix()
				}
			})
			b := s.signedIn(t, c.form)
			c.end(s, b)
			b.Follow(type_ + order)
			b.Until(`document.getElementById("msauth-sign-in-required")`)
			// It asks who is signed in, once more when it is looked at, and that is not it.
			chrome.Eval[any](b, `dispatchEvent(new Event("focus")); new Promise(done => setTimeout(done, 1500))`)
			if chrome.Eval[bool](b, again) {
				t.Error("the page says that somebody has signed in, too early")
			}
			s.ms.Set(func(b *msauthtest.Behavior) { b.IDToken = nil })
			signInBeside(b, "Ada", true)
			b.Until(again)
			if focused := chrome.Eval[string](b, "document.activeElement.innerText"); focused != "Send again" {
				t.Errorf("the focus is on %q", focused)
			}
			b.Picture("again", false)
			b.Picture("again-phone", true)
			b.Follow("document.activeElement.click()")
			b.Until(`document.getElementById("done")`)
			if got := s.ordered(); len(got) != 1 || !strings.Contains(got[0], "as "+msauthtest.Ada) || !strings.Contains(got[0], "first+line") {
				t.Errorf("the handler got %q", got)
			}
		})
	}
}

func TestFormOfAnotherAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn(t, "/form")
	s.end(t, b)
	b.Follow(type_ + order)
	signInBeside(b, "Bruno", true)
	b.Follow(`document.querySelector("form button").click()`)
	b.Until(`document.getElementById("msauth-other-account")`)
	text := b.Text()
	if !strings.Contains(text, "as "+msauthtest.Ada) || !strings.Contains(text, "signed in as "+msauthtest.Bruno) {
		t.Errorf("the page says %q", text)
	}
	b.Picture("other", false)
	b.Picture("other-phone", true)
	if got := s.ordered(); len(got) != 0 {
		t.Fatalf("the handler got %q", got)
	}
	b.Follow(`document.querySelector("form button").click()`)
	b.Until(`document.getElementById("done")`)
	if got := s.ordered(); len(got) != 1 || !strings.Contains(got[0], "as "+msauthtest.Bruno) || !strings.Contains(got[0], "first+line") {
		t.Errorf("the handler got %q", got)
	}
}

// A handler that asks for more gets the form after the step-up.
func TestFormThatNeedsAStepUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
			claims["auth_time"] = time.Now().Add(-time.Hour).Unix()
		}
	})
	b := s.signedIn(t, "/fresh-form")
	b.Follow(type_ + order)
	if text := b.Text(); !strings.Contains(text, "sign in again for this") || !strings.Contains(text, "what you wrote is still here") {
		t.Fatalf("the page says %q", text)
	}
	b.Follow(`document.querySelector("form button").click()`) // too early: the same page
	if text := b.Text(); !strings.Contains(text, "sign in again for this") || !strings.Contains(text, "what you wrote is still here") {
		t.Fatalf("too early the page says %q", text)
	}
	s.ms.Set(func(b *msauthtest.Behavior) { b.IDToken = nil })
	signInBeside(b, "Ada", true)
	b.Follow(`document.querySelector("form button").click()`)
	b.Until(`document.getElementById("done")`)
	if got := s.ordered(); len(got) != 1 || !strings.Contains(got[0], "POST /fresh?kind=a%20b&to=%2Fx as "+msauthtest.Ada) || !strings.Contains(got[0], "first+line") {
		t.Errorf("the handler got %q", got)
	}
}

// What cannot be sent any more is shown, to be copied.
func TestFormOfADamagedAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.signedIn(t, "/form")
	s.end(t, b)
	b.Follow(type_ + order)
	b.Follow(`document.querySelector("form").setAttribute("action", "/auth/again?form=x"); document.querySelector("form button").click()`)
	b.Until(`document.getElementById("msauth-form-expired")`)
	if text := b.Text(); strings.Contains(text, "first line") || !strings.Contains(text, "What you wrote") {
		t.Errorf("before a click the page shows %q", text)
	}
	chrome.Eval[any](b, `document.querySelector("summary").click()`)
	b.Picture("expired", false)
	b.Picture("expired-phone", true)
	got := chrome.Eval[string](b, `document.querySelector("textarea").value`)
	if !strings.HasPrefix(got, "\n first line\nsecond \"quoted\" 'too'\n\n<b>&amp; </textarea></form>") || !strings.HasSuffix(got, "end \n") {
		t.Errorf("to copy: %q", got)
	}
}
