package signin_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestAttemptsExpire(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		start time.Duration // after midnight UTC
		after time.Duration
		want  string
	}{
		{"in time", time.Hour, 29*time.Minute + 59*time.Second, ""},
		{"in time, the next day", 24*time.Hour - 10*time.Minute, 29 * time.Minute, ""},
		{"too late", time.Hour, 30*time.Minute + time.Second, "took too long"},
		{"too late, the next day", 24*time.Hour - 10*time.Minute, 31 * time.Minute, "took too long"},
		{"two days later", time.Hour, 48 * time.Hour, "state is missing, altered"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(test.start)
				s := testsite.NewInProcess(t)
				s.As(msauthtest.Ada)
				b := s.Browser(t)
				to := b.Still().Get("/page").Header.Get("Location")
				cookie := b.Cookies()[0]
				time.Sleep(test.after) // at the provider's page
				b.Keep(cookie.Name, cookie.Value)
				good := b.Still().Get(to).Header.Get("Location")
				res := b.Get(good)
				if test.want == "" {
					if res.Text != testsite.HelloAda || res.Request.URL.Path != "/page" {
						t.Errorf("page %q, want %q; log:\n%s", res.Text, testsite.HelloAda, s.Log)
					}
					return
				}
				kind := "expired"
				if strings.Contains(test.want, "altered") {
					kind = "start-again"
				}
				b.WantRefused(res, 400, kind, test.want)
				s.WantCalls(t, msauthtest.TokenCode, 0)
				if kind == "expired" && (len(b.Cookies()) > 0 || !strings.Contains(res.Text, "return_to=%2Fpage")) {
					t.Errorf("the attempt's cookie is left, or no way to start again: %q", res.Text)
				}
			})
		})
	}
}

func TestAttemptCookieLastsAsLongAsItsAttempt(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	for _, c := range s.Browser(t).Still().Get("/").Cookies() {
		if c.MaxAge != 30*60 || !regexp.MustCompile(`^__Host-msauth-[A-Za-z0-9]{6}-login-[0-9a-f]{16}$`).MatchString(c.Name) || len(c.Value) != 22 {
			t.Errorf("cookie %v, want 30 minutes, an id and 16 random bytes", c)
		}
	}
}

func TestLoginLinkWithAppStateLastsUntilTheNextDay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got string
		s := testsite.NewInProcess(t, func(c *msauth.Config) {
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error { got = in.AppState; return nil }
		})
		s.As(msauthtest.Ada)
		link := s.Auth.LoginURL(msauth.LoginOptions{AppState: "invitation ü 7"})
		if strings.Contains(link, "invitation") {
			t.Errorf("link %q shows the app's state", link)
		}
		time.Sleep(47 * time.Hour)
		if s.Browser(t).Get(link); got != "invitation ü 7" {
			t.Errorf("AppState %q", got)
		}
		time.Sleep(time.Hour)
		s.WantPage(t, s.Browser(t).Get(link), 400, "bad-request", "sealed is damaged or too old")
	})
}

func TestSignInBegunUnderAnotherHostIsExplained(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	s.Wire.(testsite.Hosts)["other.test"] = s
	b := s.Browser(t)
	b.Keep("unrelated", "x") // at app.test
	res := b.Get("https://other.test/page")
	b.WantRefused(res, 400, "wrong-host", "sign-in began on https://other.test but BaseURL is https://app.test/auth")
	// Away from loopback the Host header may be a stranger's: the log says it,
	// the page does not.
	if strings.Contains(res.Text, "other.test") || !strings.Contains(res.Text, "https://app.test") {
		t.Errorf("the page names the wrong host, or not the right one: %s", res.Text)
	}
	s.WantCalls(t, msauthtest.TokenCode, 0)
	// The page's first link works, because it is on the right host.
	if got := b.Get("/auth/login?return_to=/page").Text; got != testsite.HelloAda {
		t.Errorf("page %q, want %q", got, testsite.HelloAda)
	}
}

func TestBrowserWithoutCookiesIsToldSoAfterOneRound(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"https://app.test/auth", "http://localhost/auth"} {
		s := testsite.NewInProcess(t, func(c *msauth.Config) { c.BaseURL = base })
		s.URL = strings.TrimSuffix(base, "/auth")
		s.Wire.(testsite.Hosts)["localhost"] = s
		s.As(msauthtest.Ada)
		b := s.Browser(t)
		b.Jar = nil
		// One round cannot tell that from a sign-in that began elsewhere.
		res := b.Get("/page?x=1")
		b.WantRefused(res, 400, "start-again", "no cookie of this attempt, nor any other: it was begun elsewhere, or cookies are blocked")
		s.WantCalls(t, msauthtest.Authorize, 1)
		if links := testsite.LinksOf(res); len(links) != 1 || !strings.Contains(res.Text, "Office") || !strings.Contains(res.Text, "be blocking cookies") {
			t.Errorf("links %q, want one, and both causes: %s", links, res.Text)
		}
		for range 2 { // as often as it is tried
			res = b.Get(testsite.LinksOf(res)[0])
			b.WantRefused(res, 400, "cookies-blocked", "no cookie of this attempt, nor any other, for the second time")
		}
		s.WantCalls(t, msauthtest.Authorize, 3)
	}
}

// A link that was opened from Office, or from another browser profile, comes
// back in a browser that never began to sign in. One click, and it is done.
func TestSignInBegunElsewhereGoesOnFromItsPage(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	for _, test := range []struct {
		name    string
		prepare func(b *testsite.Browser)
		links   int
	}{
		{"a browser that has no cookies yet", func(*testsite.Browser) {}, 1},
		{"one with cookies of the app's own", func(b *testsite.Browser) { b.Keep("theme", "dark") }, 2},
	} {
		elsewhere, b := s.Browser(t), s.Browser(t)
		test.prepare(b)
		back := elsewhere.Attempt("/page?x=1")
		res := b.Get(back)
		b.WantRefused(res, 400, "start-again", "no cookie of this attempt")
		if links := testsite.LinksOf(res); len(links) != test.links {
			t.Errorf("%s: links %q, want %d", test.name, links, test.links)
		}
		end := b.Get(testsite.LinksOf(res)[0])
		if end.Text != testsite.HelloAda || end.Request.URL.RequestURI() != "/page?x=1" {
			t.Errorf("%s: the page's button leads to %s, %.100q", test.name, end.Request.URL, end.Text)
		}
	}
	// Once more somewhere else: the page's link was copied to another browser.
	// That browser's cookies are not to blame where it sends some.
	elsewhere, b := s.Browser(t), s.Browser(t)
	again := testsite.LinksOf(s.Browser(t).Get(elsewhere.Attempt("/page")))[0]
	back := elsewhere.Attempt(again)
	b.SignIn(msauthtest.Ada)
	b.WantRefused(b.Get(back), 400, "start-again", "no cookie of this attempt")
	// And one that keeps the app's cookies, but never ours.
	blocked := s.Browser(t)
	blocked.Keep("theme", "dark")
	blocked.WantRefused(blocked.Get(elsewhere.Attempt(again)), 400, "cookies-blocked", "for the second time")
	// Nobody else can make such a link.
	u, _ := url.Parse(again)
	q := u.Query()
	q.Set("sealed", testsite.Flip(q.Get("sealed"), 10))
	s.WantPage(t, b.Get("/auth/login?"+q.Encode()), 400, "bad-request", "sealed is damaged")
}

func TestTabsDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	var callbacks []string
	for i := range 10 {
		callbacks = append(callbacks, b.Attempt(fmt.Sprintf("/tab/%d", i)))
	}
	for _, i := range []int{3, 9, 0, 1, 8, 2, 7, 5, 4, 6} {
		if got := b.Get(callbacks[i]); got.Text != testsite.HelloAda || got.Request.URL.Path != fmt.Sprintf("/tab/%d", i) {
			t.Errorf("tab %d: page %q at %s", i, got.Text, got.Request.URL)
		}
	}
	for _, c := range b.Cookies() {
		if strings.Contains(c.Name, "-login-") {
			t.Errorf("%s is left", c.Name)
		}
	}
	s.WantCalls(t, msauthtest.TokenCode, 10)
}

func TestUnfinishedAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.As(msauthtest.Ada)
		b := s.Browser(t)
		var last string
		for i := range 500 {
			last = b.Still().Get(fmt.Sprintf("/tab/%d", i)).Header.Get("Location")
			time.Sleep(time.Second)
		}
		size := 0
		for _, c := range b.Cookies() {
			size += len(c.Name) + len("=; ") + len(c.Value)
		}
		if n := len(b.Cookies()); n != 16 || size > 1200 {
			t.Errorf("%d cookies of %d bytes, want 16 of at most 1200", n, size)
		}
		if got := b.Get(last); got.Text != testsite.HelloAda || got.Request.URL.Path != "/tab/499" {
			t.Errorf("the last attempt leads to %q at %s", got.Text, got.Request.URL)
		}
		// The ones that are left are the newest.
		var started []string
		for _, c := range b.Cookies() {
			if _, id, ok := strings.Cut(c.Name, "-login-"); ok {
				started = append(started, id[:8])
			}
		}
		slices.Sort(started)
		newest := fmt.Sprintf("%08x", time.Now().Unix()-2)
		oldest := fmt.Sprintf("%08x", time.Now().Unix()-16)
		if len(started) != 15 || started[0] != oldest || started[14] != newest {
			t.Errorf("attempts left began at %v, want 15 from %s to %s", started, oldest, newest)
		}
	})
}
