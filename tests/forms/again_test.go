package forms_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

const (
	text   = "text=two%0D%0Alines&%C3%BC=%22%3E&b=2&b=1&send=now"
	target = "/order?kind=a%20b&to=%2Fx"
)

// ended posts a form as Ada, whose session has just ended.
func (s *shop) ended(t *testing.T) (*testsite.Browser, form) {
	t.Helper()
	b := s.Browser(t)
	b.SignIn(ada)
	s.end(b)
	return b, s.kept(t, s.post(b, target, text), 401, "sign-in-required")
}

// switchTo signs somebody in in another tab, whoever was before.
func switchTo(b *testsite.Browser, person string) {
	b.T.Helper()
	b.Site.As(person)
	b.Get("/auth/login?prompt=select_account")
}

// wantOn checks that an answer leads a post on to a path.
func wantOn(t *testing.T, res testsite.Seen, path string) {
	t.Helper()
	if res.StatusCode != http.StatusTemporaryRedirect || res.Header.Get("Location") != path || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "same-origin" || res.Text != "" {
		t.Fatalf("status %d to %q, %v; page %.300s", res.StatusCode, res.Header.Get("Location"), res.Header, res.Text)
	}
}

func TestSamePersonSendsAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b, f := s.ended(t)
	switchTo(b, ada)
	s.MS.ResetCalls()
	res := s.post(b, f.action, f.body())
	wantOn(t, res, target)
	if len(res.Header["Set-Cookie"]) != 0 {
		t.Errorf("it sets %q", res.Header["Set-Cookie"])
	}
	if res := b.Send(s.request(t, f.action, f.body())); res.Text != "ordered" { // and follow the redirect
		t.Errorf("status %d, %q", res.StatusCode, res.Text)
	}
	s.wantPosts(t, ada+" POST "+target+" "+text)
	s.WantNoCalls(t)
}

// The answer does not wait for the body.
func TestRedirectDoesNotReadTheBody(t *testing.T) {
	t.Parallel()
	s := inProcess(t)
	b, f := s.ended(t)
	switchTo(b, ada)
	r := s.request(t, f.action, text)
	r.Body = io.NopCloser(unread{t})
	wantOn(t, b.Still().Send(r), target)
}

type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) { u.t.Error("the body was read"); return 0, io.EOF }

func TestNobodySendsAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b, f := s.ended(t)
	for range 3 {
		again := s.kept(t, s.post(b, f.action, f.body()), 401, "sign-in-required")
		if again.body() != text || again.button != "Send again" {
			t.Fatalf("the form is %+v", again)
		}
		f = again
	}
	switchTo(b, ada)
	wantOn(t, s.post(b, f.action, f.body()), target)
	s.wantPosts(t)
}

// A session that has ended by itself still says whose form it is.
func TestSessionThatHasTimedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := inProcess(t)
		b := s.Browser(t)
		b.SignIn(ada)
		time.Sleep(25 * time.Hour)
		f := s.kept(t, s.post(b, target, text), 401, "sign-in-required")
		switchTo(b, ada)
		wantOn(t, s.post(b, f.action, f.body()), target)
	})
}

func TestAnotherPersonIsAsked(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b, f := s.ended(t)
	switchTo(b, bruno)
	for range 2 {
		res := s.post(b, f.action, f.body())
		asked := s.kept(t, res, 409, "other-account")
		if !strings.Contains(res.Text, "You filled this form in as "+ada+". You are signed in as "+bruno+".") || asked.button != "Send as "+bruno || asked.body() != text {
			t.Fatalf("page %s", res.Text)
		}
		if links := testsite.LinksOf(res); len(links) != 2 || !strings.Contains(links[0], "prompt=select_account") || links[1] != "/" || !strings.Contains(res.Text, `target="_blank" rel="noopener">Use another account`) {
			t.Errorf("links %q", links)
		}
	}
	s.wantPosts(t)
	asked := s.kept(t, s.post(b, f.action, f.body()), 409, "other-account")
	wantOn(t, s.post(b, asked.action, asked.body()), target)
	// Whoever goes back to the first account sends what is theirs.
	switchTo(b, ada)
	wantOn(t, s.post(b, asked.action, asked.body()), target)
	// That somebody agreed is nothing that a third person did.
	switchTo(b, msauthtest.Grace)
	res := s.post(b, asked.action, asked.body())
	if third := s.kept(t, res, 409, "other-account"); third.button != "Send as "+msauthtest.Grace || !strings.Contains(res.Text, "as "+ada) {
		t.Errorf("page %s", res.Text)
	}
	// After the end of that session too, the form is still Ada's or Bruno's.
	s.end(b)
	last := s.kept(t, s.post(b, asked.action, asked.body()), 401, "sign-in-required")
	switchTo(b, msauthtest.Grace)
	s.kept(t, s.post(b, last.action, last.body()), 409, "other-account")
}

func TestFormOfNobody(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b := s.Browser(t)
	f := s.kept(t, s.post(b, target, text), 401, "sign-in-required")
	switchTo(b, ada)
	res := s.post(b, f.action, f.body())
	asked := s.kept(t, res, 409, "other-account")
	if !strings.Contains(res.Text, "while you were not signed in. You are signed in as "+ada+".") {
		t.Errorf("page %s", res.Text)
	}
	if res := b.Send(s.request(t, asked.action, asked.body())); res.Text != "ordered" {
		t.Errorf("status %d, %q", res.StatusCode, res.Text)
	}
	s.wantPosts(t, ada+" POST "+target+" "+text)
}

// Only a form on a page of this site gets through, whoever is signed in.
func TestWhoMaySendAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b, f := s.ended(t)
	switchTo(b, ada)
	for name, header := range map[string][]string{
		"another site":     {"Sec-Fetch-Site", "cross-site"},
		"a sibling":        {"Sec-Fetch-Site", "same-site"},
		"nobody":           {"Sec-Fetch-Site", "none"},
		"an old browser":   {"Sec-Fetch-Site", "", "Sec-Fetch-Mode", "", "Sec-Fetch-Dest", ""},
		"fetch":            {"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"},
		"a service worker": {"Sec-Fetch-Dest", "empty"},
		"a frame":          {"Sec-Fetch-Dest", "iframe"},
		"two in a line":    {"Sec-Fetch-Site", "same-origin, same-origin"},
	} {
		r := s.request(t, f.action, f.body(), header...)
		res := b.Still().Send(r)
		if _, ok := formOn(t, res.Text); res.StatusCode != 403 || res.Kind() != "bad-request" || ok || len(res.Header["Set-Cookie"]) != 0 || res.Header.Get("Location") != "" || strings.Contains(res.Text, "lines") {
			t.Errorf("%s: status %d, page %q: %v", name, res.StatusCode, res.Text, res.Header)
		}
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
		if res := b.Still().Request(method, f.action, testsite.SameOrigin...); res.StatusCode != 405 || res.Header.Get("Allow") != "POST" || res.Header.Get("Location") != "" {
			t.Errorf("%s: status %d", method, res.StatusCode)
		}
	}
	s.wantPosts(t)
}

// What cannot be sent again any more can still be copied.
func TestAddressesThatDoNotOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := inProcess(t)
		b, f := s.ended(t)
		switchTo(b, ada)
		cut := func(from, to string) string { return strings.Replace(f.action, from, to, 1) }
		lost := func(name, action string) {
			t.Helper()
			res := s.post(b, action, text)
			if _, ok := formOn(t, res.Text); res.StatusCode != 400 || res.Kind() != "form-expired" || ok || res.Header.Get("Location") != "" {
				t.Errorf("%s: status %d, page %s", name, res.StatusCode, res.Text)
			}
			if !strings.Contains(res.Text, "<label>text<textarea readonly>\ntwo\r\nlines</textarea></label>") || !strings.Contains(res.Text, "<label>ü<textarea readonly>\n&#34;&gt;</textarea>") {
				t.Errorf("%s: nothing to copy: %s", name, res.Text)
			}
		}
		other := func(change func(*msauth.Config)) string {
			cfg := s.Cfg
			change(&cfg)
			elsewhere := &shop{Site: &testsite.Site{Server: s.Server, MS: s.MS, Log: s.Log, Mux: http.NewServeMux(), Cfg: cfg}}
			var err error
			if elsewhere.Auth, err = msauth.New(cfg); err != nil {
				t.Fatal(err)
			}
			elsewhere.open()
			elsewhere.Current.Store(elsewhere.Mux)
			elsewhere.Wire = testsite.Hosts{"app.test": elsewhere.Site}
			return elsewhere.kept(t, elsewhere.post(elsewhere.Browser(t), target, text), 401, "sign-in-required").action
		}
		lost("no query", "/auth/again")
		if res := s.post(b, "/auth/again", text, "Accept-Language", "de"); !strings.Contains(res.Text, "<summary>Ihre Eingaben</summary>") {
			t.Errorf("in German: %s", res.Text)
		}
		lost("empty", "/auth/again?form=")
		lost("another name", cut("form=", "f="))
		lost("a byte changed", cut("form=", "form=A"))
		lost("cut", f.action[:len(f.action)-4])
		lost("more", f.action+"&form=x")
		lost("very long", "/auth/again?form="+strings.Repeat("A", 7000))
		lost("a link of another kind", "/auth/again?form="+strings.TrimPrefix(s.Auth.LoginURL(msauth.LoginOptions{AppState: "x"}), "/auth/login?sealed="))
		lost("another registration", other(func(c *msauth.Config) { c.ClientID = "another" }))
		lost("another key", other(func(c *msauth.Config) { c.Keys = [][]byte{testsite.NewKey()} }))
		// Another server of the same app makes the same: its form is one of nobody.
		s.kept(t, s.post(b, other(func(*msauth.Config) {}), text), 409, "other-account")
	})
}

// It is good on the day it was made and on the next one (UTC). In a bubble it is midnight.
func TestAddressesOpenForADay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		after  time.Duration
		status int
	}{{"at once", 0, 307}, {"at the end of the next day", 48*time.Hour - time.Second, 307}, {"the day after", 48 * time.Hour, 400}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := inProcess(t, func(c *msauth.Config) { c.IdleTimeout = c.MaxAge })
				b, f := s.ended(t)
				time.Sleep(test.after)
				switchTo(b, ada)
				if res := s.post(b, f.action, text); res.StatusCode != test.status {
					t.Errorf("status %d, want %d: %s", res.StatusCode, test.status, res.Text)
				}
			})
		})
	}
}

// A Config.Page that knows nothing of fields must not have the handler get an empty form.
func TestFormWithoutItsFields(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	b, f := s.ended(t)
	switchTo(b, ada)
	if res := s.post(b, f.action, ""); res.StatusCode != 400 || res.Kind() != "form-expired" || len(s.Log.With("does Config.Page show Page.Fields?")) != 1 {
		t.Errorf("status %d, page %s", res.StatusCode, res.Text)
	}
	for _, body := range []string{"msauth_token=", "csrf=0123456789abcdef&msauth_token=", text[:len(text)-1]} { // what such a page may have in its form
		if res := s.post(b, f.action, body); res.StatusCode != 400 || res.Kind() != "form-expired" {
			t.Errorf("%s: status %d, page %s", body, res.StatusCode, res.Text)
		}
	}
	wantOn(t, s.post(b, f.action, "msauth_token=&"+text), target)
	s.end(b)
	short := s.kept(t, s.post(b, "/order", "id=5"), 401, "sign-in-required")
	switchTo(b, ada)
	if res := s.post(b, short.action, "msauth_token="); res.StatusCode != 400 {
		t.Errorf("a short form: status %d, page %s", res.StatusCode, res.Text)
	}
	wantOn(t, s.post(b, short.action, "id=5"), "/order")
	s.wantPosts(t)
	s.end(b)
	empty := s.kept(t, s.post(b, "/order", ""), 401, "sign-in-required")
	switchTo(b, ada)
	wantOn(t, s.post(b, empty.action, ""), "/order") // a button without fields
	wantOn(t, s.post(b, empty.action, "msauth_token="), "/order")
	// What grew too long meanwhile is not kept once more.
	s.end(b)
	if res := s.post(b, f.action, strings.Repeat("a=1&", 2000)+"a=1"); res.StatusCode != 401 || res.Kind() != "sign-in-required" || strings.Contains(res.Text, "<form") {
		t.Errorf("status %d, page %s", res.StatusCode, res.Text)
	}
}

// A handler that asks for more gets the form once that is there, and every answer until
// then has the form.
func TestStepUps(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		require func(*msauth.Middleware) func(http.Handler) http.Handler
		fails   func(*msauthtest.Behavior) // has sign-ins not meet it
		vain    string                     // the page then
	}{
		"scopes": {
			func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireScopes("Calendars.Read") },
			func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Calendars.Read"} }, "not-granted",
		},
		"a fresh sign-in": {
			func(m *msauth.Middleware) func(http.Handler) http.Handler { return m.RequireFreshSignIn(time.Minute) },
			testsite.Claim("auth_time", time.Now().Add(-time.Hour).Unix()), "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.Mux.Handle("/more", test.require(s.Auth)(http.HandlerFunc(s.order)))
			s.MS.Set(test.fails)
			b := s.Browser(t)
			b.SignIn(ada)
			res := s.post(b, "/more", text)
			f := s.kept(t, res, 401, "sign-in-required")
			login := testsite.LinksOf(res)[0]
			if !strings.Contains(res.Text, "needs your approval at Microsoft or a stronger sign-in") || !strings.Contains(login, "sealed=") {
				t.Fatalf("page %s", res.Text)
			}
			for range 2 { // too early: each click ends on the page
				wantOn(t, s.post(b, f.action, f.body()), "/more")
				f = s.kept(t, s.post(b, "/more", f.body()), 401, "sign-in-required")
			}
			if test.vain != "" {
				b.Get(login)
				f = s.kept(t, s.post(b, "/more", f.body()), 403, test.vain)
			}
			s.MS.Set(func(b *msauthtest.Behavior) { *b = msauthtest.Behavior{AutoSignIn: ada} })
			b.Get(login)
			if res := b.Send(s.request(t, f.action, f.body())); res.Text != "ordered" {
				t.Errorf("status %d, %q; log:\n%s", res.StatusCode, res.Text, s.Log)
			}
			s.wantPosts(t, ada+" POST /more "+text)
		})
	}
}

// Whether a form can be kept when the handler itself asks depends on its body.
func TestChallengeAfterTheBody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reads func(*http.Request)
		kept  bool
	}{
		"unread":    {func(*http.Request) {}, true},
		"parsed":    {func(r *http.Request) { r.ParseForm() }, false},
		"read":      {func(r *http.Request) { io.ReadAll(r.Body) }, false},
		"half read": {func(r *http.Request) { io.ReadFull(r.Body, make([]byte, 5)) }, false},
		"closed":    {func(r *http.Request) { r.Body.Close() }, false},
		"put back": {func(r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.Mux.Handle("/late", s.Auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				test.reads(r)
				if !s.Auth.Challenge(w, r, fmt.Errorf("the API: %w", msauth.ErrSignInRequired)) {
					t.Error("no challenge")
				}
			})))
			b := s.Browser(t)
			b.SignIn(ada)
			res := s.post(b, "/late", text)
			f, ok := formOn(t, res.Text)
			if res.StatusCode != 401 || res.Kind() != "sign-in-required" || ok != test.kept || ok && f.body() != text || !ok && !strings.Contains(res.Text, "your form was not sent") {
				t.Errorf("status %d, kept %t, want %t: %s", res.StatusCode, ok, test.kept, res.Text)
			}
		})
	}
}

// While it cannot be known whether somebody is signed in, the form waits in its page.
func TestStoreThatFails(t *testing.T) {
	t.Parallel()
	store := testsite.NewFiles(t)
	s := newShop(t, func(c *msauth.Config) { c.Store = store })
	b, f := s.ended(t)
	switchTo(b, ada)
	store.Breaks("New", 0, testsite.ErrStoreDown)
	again := s.kept(t, s.post(b, f.action, text), 503, "unavailable")
	direct := s.kept(t, s.post(b, target, text), 503, "unavailable")
	if again.body() != text || direct.body() != text {
		t.Errorf("forms %q, %q", again.body(), direct.body())
	}
	store.Works()
	s.kept(t, s.post(b, again.action, text), 409, "other-account") // the record of the session is gone
}

// The way home stays what it is, whatever its address begins with.
func TestHomeThatLooksLikeALogin(t *testing.T) {
	t.Parallel()
	s := newShop(t, func(c *msauth.Config) { c.Home = "/auth/login-help?x=1" })
	res := s.post(s.Browser(t), target, text)
	s.kept(t, res, 401, "sign-in-required")
	b, f := s.ended(t)
	switchTo(b, bruno)
	res = s.post(b, f.action, f.body())
	s.kept(t, res, 409, "other-account")
	if links := testsite.LinksOf(res); len(links) != 2 || links[1] != "/auth/login-help?x=1" {
		t.Errorf("links %q", links)
	}
}

// A page of the app's own gets what it needs, and prints no value.
func TestConfigPageGetsTheForm(t *testing.T) {
	t.Parallel()
	var last atomic.Pointer[msauth.Page]
	s := newShop(t, func(c *msauth.Config) {
		c.Page = func(w http.ResponseWriter, r *http.Request, p msauth.Page) {
			last.Store(&p)
			w.WriteHeader(p.Status)
			fmt.Fprint(w, p.Kind)
		}
	})
	b := s.Browser(t)
	b.SignIn(ada)
	s.end(b)
	s.post(b, target, text)
	p := last.Load()
	want := []msauth.Field{{Name: "text", Value: "two\r\nlines"}, {Name: "ü", Value: `">`}, {Name: "b", Value: "2"}, {Name: "b", Value: "1"}, {Name: "send", Value: "now"}}
	if p.Kind != "sign-in-required" || p.Status != 401 || !slices.Equal(p.Fields, want) || len(p.Links) != 2 || !p.Links[0].NewTab || p.Links[0].Post || !p.Links[1].Post || p.Links[1].NewTab || p.Links[1].Token != "" {
		t.Fatalf("page %+v", p)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, *p); strings.Contains(got, "lines") || strings.Contains(got, "6c696e6573") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	switchTo(b, bruno)
	s.post(b, p.Links[1].URL, text)
	if p := last.Load(); p.Kind != "other-account" || !slices.Equal(p.Fields, want) || len(p.Links) != 3 || !p.Links[0].Post || !p.Links[1].NewTab || p.Links[2].NewTab {
		t.Errorf("page %+v", p)
	}
	s.post(b, "/auth/again", text)
	if p := last.Load(); p.Kind != "form-expired" || !slices.Equal(p.Fields, want) || slices.ContainsFunc(p.Links, func(l msauth.Link) bool { return l.Post }) {
		t.Errorf("page %+v", p)
	}
	if strings.Contains(s.Log.String(), "lines") {
		t.Error("the log has what was written")
	}
}
