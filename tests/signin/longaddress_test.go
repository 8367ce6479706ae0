package signin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// onwards follows pages that go on by themselves.
func onwards(b *testsite.Browser, res testsite.Seen) testsite.Seen {
	b.T.Helper()
	for range 3 {
		if res.Kind() != "wait" {
			break
		}
		res = b.Get(testsite.LinksOf(res)[0])
	}
	return res
}

func TestLongAddressComesBackWhole(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Claims = []string{"filler"} })
	sizes := []int{100, 160, 161, 200, 300, 450, 600, 601, 620, 700, 900, 1200, 1500, 1800, 1999, 2000}
	direct, continued := 0, 0
	for _, filler := range []int{0, 100, 200, 300, 400, 500, 600} {
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.AutoSignIn = msauthtest.Ada
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				claims["filler"] = strings.ReplaceAll(testsite.LongAddress(filler + 11)[11:], "/", "|")
			}
		})
		for _, n := range sizes {
			address := testsite.LongAddress(n)
			b := s.Browser(t)
			largest := b.Measured()
			back := b.Still().Get(b.Attempt(address))
			if u, _ := url.Parse(back.Request.URL.String()); len(u.Query().Get("state")) > 1024 {
				t.Errorf("%d bytes: state of %d characters", n, len(u.Query().Get("state")))
			}
			if back.Header.Get("Location") == "/auth/continue" {
				continued++
			} else {
				direct++
			}
			if got := leads(b, back); got != address {
				t.Errorf("filler %d: %d bytes of %q come back as %d of %q", filler, n, address, len(got), got)
			}
			if largest.Load() > 4000 {
				t.Errorf("filler %d, %d bytes: an answer with headers of %d bytes", filler, n, largest.Load())
			}
			for _, c := range b.Cookies() {
				if strings.HasSuffix(c.Name, "-to") || strings.Contains(c.Name, "-login-") {
					t.Errorf("%d bytes: %s is left, with %d bytes", n, c.Name, len(c.Value))
				}
			}
			// And it is the page that the person sees.
			if got := b.Get(address); got.Text != testsite.HelloAda {
				t.Errorf("page %q", got.Text)
			}
		}
	}
	if direct < 10 || continued < 10 {
		t.Errorf("%d at once, %d by the short route: something was not put to the test", direct, continued)
	}
}

func TestTooLongAddressLosesItsQuery(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	if got := leads(b, b.Still().Get(b.Attempt(testsite.LongAddress(2001)))); got != "/orders" {
		t.Errorf("leads to %q", got)
	}
	if lines := s.Log.With("too long: its query is dropped"); len(lines) != 1 || !strings.Contains(lines[0], "bytes=2001") || !strings.Contains(lines[0], "path=/orders") {
		t.Errorf("log lines %q", lines)
	}
}

// Everything that can make the way to Microsoft long, and a long address.
func TestLongAddressBesideALongWay(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	var scopes []string
	for i := range 8 {
		scopes = append(scopes, fmt.Sprint(strings.Repeat("S", 48), i))
	}
	for _, n := range []int{10, 100, 300, 600, 900, 1500, 2000} {
		for _, path := range []string{testsite.LongAddress(n), "/" + testsite.LongAddress(n)[1:n/2] + "?x=" + testsite.LongAddress(n)[n/2+3:]} {
			path = strings.ReplaceAll(path, "'", "x") // the page's link is normalised
			b := s.Browser(t)
			largest := b.Measured()
			link := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: path, AppState: strings.Repeat("s:", 128), Scopes: scopes, UILocales: strings.Repeat("f", 100), DomainHint: strings.Repeat("d", 200)})
			still := b.Still()
			res := still.Get(link)
			to := res.Header.Get("Location")
			if res.Kind() == "wait" {
				to = leads(b, res)
			}
			if !strings.HasPrefix(to, s.MS.URL) {
				t.Fatalf("%d bytes: leads to %q", n, to)
			}
			if got := leads(b, still.Get(still.Get(to).Header.Get("Location"))); got != path {
				t.Errorf("%d bytes: %q comes back as %q", n, path, got)
			}
			if largest.Load() > 4000 {
				t.Errorf("%d bytes: an answer with headers of %d bytes", n, largest.Load())
			}
		}
	}
}

func TestOlderTabLosesItsLongQuery(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	medium, old, short, latest := testsite.LongAddress(500), testsite.LongAddress(1500), "/short?x=1", testsite.LongAddress(1700)
	tabs := map[string]string{}
	var order []string
	for _, address := range []string{medium, old, short, latest} {
		tabs[address] = b.Attempt(address)
		order = append(order, address)
	}
	want := map[string]string{medium: medium, old: "/orders", short: short, latest: latest}
	for _, address := range order {
		if got := leads(b, b.Still().Get(tabs[address])); got != want[address] {
			t.Errorf("%.30q leads to %.30q (%d bytes), want %d", address, got, len(got), len(want[address]))
		}
	}
	if lines := s.Log.With("has lost its query"); len(lines) != 1 {
		t.Errorf("log lines %q, want 1", lines)
	}
}

// A hostile page can have a person's browser open any number of sign-ins, also
// many at once, whose requests know nothing of each other's cookies.
func TestNobodyCanFillUpTheCookies(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	before := b.Cookies()
	largest := b.Measured()
	open := func(b *testsite.Browser) testsite.Seen {
		return b.Still().Get("/auth/login?prompt=login&return_to=" + url.QueryEscape(testsite.LongAddress(2000)))
	}
	size := func() (n int) {
		for _, c := range b.Cookies() {
			n += len(c.Name) + len("=; ") + len(c.Value)
		}
		return n
	}
	for range 100 {
		open(b)
	}
	if n := size(); n > 7000 {
		t.Errorf("%d bytes of cookies, one after the other", n)
	}
	// At once: each answer is to a request with the cookies of before.
	for range 3 {
		var together []*http.Cookie
		for range 30 {
			alone := s.Browser(t)
			for _, c := range before {
				alone.Keep(c.Name, c.Value)
			}
			together = append(together, open(alone).Cookies()...)
		}
		u, _ := url.Parse(s.URL)
		b.Jar.SetCookies(u, together)
	}
	if n := size(); n > 13_000 { // attempts of 66 bytes each
		t.Errorf("%d bytes of cookies, many at once", n)
	}
	for range 60 { // it gets better by itself
		open(b)
	}
	if n := size(); n > 7000 {
		t.Errorf("%d bytes of cookies, later", n)
	}
	if largest.Load() > 4000 {
		t.Errorf("an answer with headers of %d bytes", largest.Load())
	}
	b.WantGreeting(testsite.HelloAda)
}

// The short route leads where the sign-in of this browser's session wanted to
// go, and nowhere else.
func TestContinue(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.Home = "/home" })
	s.As(msauthtest.Ada)
	address := testsite.LongAddress(1900)
	arrive := func(b *testsite.Browser) {
		t.Helper()
		if got := b.Still().Get(b.Attempt(address)); got.Header.Get("Location") != "/auth/continue" {
			t.Fatalf("the callback leads to %q", got.Header.Get("Location"))
		}
	}
	kept := func(b *testsite.Browser) *http.Cookie {
		for _, c := range b.Cookies() {
			if strings.HasSuffix(c.Name, "-to") {
				return c
			}
		}
		return nil
	}
	want := func(name string, b *testsite.Browser, to string, stays bool) {
		t.Helper()
		if got := b.Still().Get("/auth/continue"); got.StatusCode != 303 || got.Header.Get("Location") != to || got.Header.Get("Cache-Control") != "no-store" && !strings.HasPrefix(got.Header.Get("Cache-Control"), "no-store") {
			t.Errorf("%s: %d to %q, want %q", name, got.StatusCode, got.Header.Get("Location"), to)
		}
		if (kept(b) != nil) != stays {
			t.Errorf("%s: the cookie is there: %t, want %t", name, kept(b) != nil, stays)
		}
	}
	b := s.Browser(t)
	arrive(b)
	cookie, session := kept(b), b.Session()
	if cookie == nil {
		t.Fatal("the address is not kept")
	}
	// Before: a prefetch, a form, another method.
	if got := b.Still().Get("/auth/continue", "Sec-Purpose", "prefetch", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"); got.StatusCode != 503 || kept(b) == nil {
		t.Errorf("prefetch: status %d", got.StatusCode)
	}
	if got := b.Still().Request("POST", "/auth/continue"); got.StatusCode != 405 || kept(b) == nil {
		t.Errorf("POST: status %d", got.StatusCode)
	}
	want("the browser that signed in", b, address, false)
	want("once more", b, "/home", false)

	nobody := s.Browser(t)
	want("nobody", nobody, "/home", false)
	nobody.Keep(cookie.Name, cookie.Value)
	want("a copy without the session", nobody, "/home", true)

	other := s.Browser(t)
	other.SignIn(msauthtest.Ada)
	other.Keep(cookie.Name, cookie.Value)
	want("in a session of another sign-in", other, "/home", true)

	pending := s.Browser(t)
	pending.SignIn(msauthtest.Ada)
	back := pending.Attempt("/auth/login?prompt=login&return_to=" + url.QueryEscape(address))
	want("while a sign-in is under way", pending, "/home", true)
	if got := leads(pending, pending.Still().Get(back)); got != address {
		t.Errorf("and then: %q", got)
	}

	forged := s.Browser(t)
	for _, c := range session {
		forged.Keep(c.Name, c.Value)
	}
	for i := 0; i < len(cookie.Value); i += 101 {
		forged.Keep(cookie.Name, testsite.Flip(cookie.Value, i))
		want(fmt.Sprint("changed at ", i), forged, "/home", true)
	}
	forged.Keep(cookie.Name, "https://evil.example/")
	want("made up", forged, "/home", true)
	// Nothing of the request counts.
	for _, query := range []string{"?to=//evil.example", "?https://evil.example", "?return_to=/x"} {
		if got := forged.Still().Get("/auth/continue" + query); got.Header.Get("Location") != "/home" {
			t.Errorf("%s leads to %q", query, got.Header.Get("Location"))
		}
	}
	// It is one of our routes: nobody is sent there.
	if got := s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: "/auth/continue"}); got != "/auth/login" {
		t.Errorf("a link leads back to it: %s", got)
	}
	// Signing out forgets it.
	leaving := s.Browser(t)
	arrive(leaving)
	leaving.Still().Get("/auth/logout", testsite.SameOrigin...)
	if kept(leaving) != nil {
		t.Error("the address is left after signing out")
	}
	// A second delivery of the answer leads on too.
	twice := s.Browser(t)
	back = twice.Attempt(address)
	twice.Still().Get(back)
	if got := leads(twice, twice.Still().Get(back)); got != address {
		t.Errorf("the second delivery leads to %.30q", got)
	}
	// A sign-in that fails forgets it, and its page knows it.
	failed := s.Browser(t)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{Status: 503}}
	})
	res := failed.Get(failed.Attempt(address))
	if kept(failed) != nil || len(testsite.LinksOf(res)) == 0 || testsite.LinksOf(res)[0] != s.Auth.LoginURL(msauth.LoginOptions{ReturnTo: address}) {
		t.Errorf("a sign-in that fails: the cookie is there %t, links %q", kept(failed) != nil, testsite.LinksOf(res))
	}
}

// What the app chooses in OnSignIn is not in the browser's cookie.
func TestLongAddressOfTheApp(t *testing.T) {
	t.Parallel()
	var address string
	s := testsite.NewInProcess(t, func(c *msauth.Config) {
		c.Claims = []string{"filler"}
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.ReturnTo = address
			return nil
		}
	})
	for filler, whole := range map[int]bool{0: true, 600: false} {
		s.MS.Set(func(b *msauthtest.Behavior) {
			b.AutoSignIn = msauthtest.Ada
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) {
				claims["filler"] = testsite.LongAddress(filler + 11)[11:]
			}
		})
		for _, n := range []int{100, 500, 2000} {
			address = strings.ReplaceAll(testsite.LongAddress(n), "'", "x")
			b := s.Browser(t)
			largest := b.Measured()
			got := leads(b, b.Still().Get(b.Attempt("/elsewhere?"+strings.Repeat("y", 1000))))
			if got != address && (whole || got != "/orders") {
				t.Errorf("filler %d: %d bytes lead to %.30q (%d)", filler, n, got, len(got))
			}
			if largest.Load() > 4000 {
				t.Errorf("filler %d, %d bytes: an answer with headers of %d bytes", filler, n, largest.Load())
			}
		}
	}
}

// Who has raised the budget for cookies has raised the limits in front.
func TestLongAddressBesideALargeBudget(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t, func(c *msauth.Config) { c.CookieBudget = 7168 })
	s.MS.Set(func(b *msauthtest.Behavior) { b.AutoSignIn, b.GroupClaims = msauthtest.Grace, true })
	for _, n := range []int{100, 2000} {
		address := testsite.LongAddress(n)
		b := s.Browser(t)
		if got := leads(b, b.Still().Get(b.Attempt(address))); got != address {
			t.Errorf("%d bytes lead to %.30q", n, got)
		}
	}
}

// htmx reads the way to sign in from a header line.
func TestLongAddressForHtmx(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	for n, want := range map[int]string{500: "", 2000: "/orders"} {
		for _, fill := range []string{testsite.LongAddress(n), "/orders?" + strings.Repeat("/", n-8)} {
			b := s.Browser(t)
			largest := b.Measured()
			res := b.Get("/part", append([]string{"HX-Request", "true", "HX-Current-URL", s.URL + fill}, testsite.Script...)...)
			link, err := url.Parse(res.Header.Get("HX-Redirect"))
			if err != nil || link.Path != "/auth/login" || largest.Load() > 4000 {
				t.Errorf("%d bytes: HX-Redirect %.50q, headers of %d bytes", n, res.Header.Get("HX-Redirect"), largest.Load())
			}
			if got := link.Query().Get("return_to"); got != fill && (want == "" || got != want) {
				t.Errorf("%d bytes: leads back to %.50q", n, got)
			}
		}
	}
}

func TestLongAddressOnTheWire(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	for _, n := range []int{400, 2000} {
		b := s.Browser(t)
		address := strings.ReplaceAll(testsite.LongAddress(n), "'", "x")
		res := onwards(b, b.Get(address))
		if res.Text != testsite.HelloAda || res.Request.URL.RequestURI() != address {
			t.Errorf("%d bytes: %d, %.60q at %s", n, res.StatusCode, res.Text, res.Request.URL)
		}
	}
}
