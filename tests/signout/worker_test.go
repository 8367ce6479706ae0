package signout_test

import (
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

// workers are what a form or a link becomes when a service worker passes it on,
// be it of this site or, but for the first, of another.
var workers = map[string][]string{
	"passed on":           {"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Upgrade-Insecure-Requests", "1", "Accept", "text/html,*/*;q=0.8", "Origin", "https://app.test", "Referer", "https://app.test/page"},
	"made anew":           {"Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Upgrade-Insecure-Requests", "1", "Accept", "text/html,*/*;q=0.8", "Origin", "https://app.test", "Referer", "https://app.test/sw.js"},
	"made anew, cors":     {"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Upgrade-Insecure-Requests", "1", "Accept", "text/html,*/*;q=0.8", "Origin", "https://app.test", "Referer", "https://app.test/sw.js"},
	"fetched by address":  {"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Accept", "*/*", "Origin", "https://app.test", "Referer", "https://app.test/sw.js"},
	"with Dest, some day": {"Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "same-origin", "Upgrade-Insecure-Requests", "1", "Accept", "text/html,*/*;q=0.8", "Origin", "https://app.test"},
}

// throughWorker are headers of workers, as of a site.
func throughWorker(name, siteURL string) (header []string) {
	for _, value := range workers[name] {
		header = append(header, strings.ReplaceAll(value, "https://app.test", siteURL))
	}
	return header
}

var tokenField = regexp.MustCompile(`<form method="post" action="([^"]*)"><input type="hidden" name="msauth_token" value="([^"]+)">`)

// agree presses the button of a page that asks.
func agree(b *testsite.Browser, page testsite.Seen, header ...string) testsite.Seen {
	b.T.Helper()
	form := tokenField.FindStringSubmatch(page.Text)
	if form == nil {
		b.T.Fatalf("no form with a token in %s", page.Text)
	}
	return PostForm(b, form[1], form[2], header...)
}

func PostForm(b *testsite.Browser, path, token string, header ...string) testsite.Seen {
	b.T.Helper()
	req, err := http.NewRequest(http.MethodPost, b.Site.URL+path, strings.NewReader(url.Values{"msauth_token": {token}}.Encode()))
	if err != nil {
		b.T.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.Still().Send(req)
}

func TestSignOutBehindAServiceWorkerIsConfirmed(t *testing.T) {
	t.Parallel()
	for name, header := range workers {
		for _, method := range []string{"GET", "POST"} {
			t.Run(name+" "+method, func(t *testing.T) {
				t.Parallel()
				s := testsite.NewInProcess(t)
				b := s.Browser(t)
				b.SignIn(msauthtest.Ada)
				want := http.StatusOK
				if method == "POST" && slices.Contains(header, "empty") {
					want = http.StatusForbidden // for scripts to see
				}
				page := b.Still().Request(method, "/auth/logout", header...)
				s.WantPage(t, page, want, "confirm-sign-out", "")
				b.WantGreeting(testsite.HelloAda)
				res := agree(b, page, header...)
				if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), s.MS.URL) {
					t.Errorf("status %d to %q, want 303 to the provider", res.StatusCode, res.Header.Get("Location"))
				}
				b.WantGreeting(testsite.HelloNobody)
			})
		}
	}
}

func TestTokensOfFormsAreForOnePersonAndOneAction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		made := workers["made anew"]
		mine := func(b *testsite.Browser) string {
			return tokenField.FindStringSubmatch(b.Get("/auth/logout", made...).Text)[2]
		}
		ada, bruno, nobody := s.Browser(t), s.Browser(t), s.Browser(t)
		ada.SignIn(msauthtest.Ada)
		bruno.SignIn(msauthtest.Bruno)
		token := mine(ada)
		cross := slices.Clone(made)
		cross[5] = "cross-site"
		for _, test := range []struct {
			name, token string
			header      []string
		}{
			{"none", "", made},
			{"of somebody else", mine(bruno), made},
			{"of nobody", mine(nobody), made},
			{"cut", token[:len(token)-1], made},
			{"altered", testsite.Flip(token, 0), made},
			{"of a link", strings.TrimPrefix(s.Auth.LoginURL(msauth.LoginOptions{AppState: "x"}), "/auth/login?sealed="), made},
			{"long", strings.Repeat("A", 100<<10), made},
			{"from another site", token, cross},
		} {
			if res := PostForm(ada, "/auth/logout", test.token, test.header...); res.Kind() != "confirm-sign-out" {
				t.Errorf("%s: status %d, page %q, want to be asked", test.name, res.StatusCode, res.Kind())
			}
			ada.WantGreeting(testsite.HelloAda)
		}
		if res := ada.Get("/auth/logout?msauth_token="+token, made...); res.Kind() != "confirm-sign-out" {
			t.Errorf("a token in a link: status %d, page %q, want to be asked", res.StatusCode, res.Kind())
		}
		time.Sleep(29 * time.Minute)
		fresh := mine(ada)
		time.Sleep(2 * time.Minute)
		if res := PostForm(ada, "/auth/logout", token, made...); res.Kind() != "confirm-sign-out" {
			t.Errorf("after 31 minutes: status %d, page %q, want to be asked", res.StatusCode, res.Kind())
		}
		if res := PostForm(ada, "/auth/logout", fresh, made...); res.StatusCode != http.StatusSeeOther {
			t.Errorf("after two minutes: status %d, want 303", res.StatusCode)
		}
		ada.WantGreeting(testsite.HelloNobody)
		// Whoever has no session can leave too.
		if res := PostForm(nobody, "/auth/logout", mine(nobody), made...); res.StatusCode != http.StatusSeeOther {
			t.Errorf("nobody: status %d, want 303", res.StatusCode)
		}
	})
}

func TestConnectBehindAServiceWorkerIsConfirmed(t *testing.T) {
	t.Parallel()
	for name := range workers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, kept := testsite.Account(t)
			s.Mux.Handle("/more", s.Auth.Connect("/public/settings", "Files.Read"))
			s.As(msauthtest.Ada)
			header := throughWorker(name, s.URL)
			zoe, eve := s.Browser(t), s.Browser(t)
			zoe.Keep("app", "zoe")
			eve.Keep("app", "eve")
			page := zoe.Still().Request("POST", "/connect", header...)
			if page.Kind() != "confirm-connect" || !strings.Contains(page.Header.Get("Content-Security-Policy"), "form-action 'self' "+s.MS.URL+";") {
				t.Fatalf("status %d, page %q, headers %v", page.StatusCode, page.Kind(), page.Header)
			}
			s.WantCalls(t, msauthtest.Authorize, 0)
			// A page that was made for somebody else, or for another handler, is
			// of no use.
			for what, other := range map[string]testsite.Seen{
				"of another user": eve.Still().Request("POST", "/connect", header...), "of another handler": zoe.Still().Request("POST", "/more", header...),
			} {
				if res := PostForm(zoe, "/connect", tokenField.FindStringSubmatch(other.Text)[2], header...); res.Kind() != "confirm-connect" {
					t.Errorf("a token %s: status %d, page %q, want to be asked", what, res.StatusCode, res.Kind())
				}
			}
			if res := PostForm(s.Browser(t), "/connect", tokenField.FindStringSubmatch(page.Text)[2], header...); res.StatusCode != http.StatusForbidden || res.Kind() != "not-allowed" {
				t.Errorf("signed out of the app: status %d, page %q", res.StatusCode, res.Kind())
			}
			res := agree(zoe, page, header...)
			back := zoe.Still().Get(res.Header.Get("Location")).Header.Get("Location")
			if got := zoe.Get(back); got.Request.URL.Path != "/public/settings" || !slices.Equal(kept.Users(), []string{"zoe"}) {
				t.Errorf("at %s, connected %q; log:\n%s", got.Request.URL, kept.Users(), s.Log)
			}
		})
	}
	t.Run("from another site", func(t *testing.T) {
		t.Parallel()
		s, _ := testsite.Account(t)
		b := s.Browser(t)
		b.Keep("app", "zoe")
		header := throughWorker("passed on", s.URL)
		header[5], header[11] = "cross-site", "https://evil.example"
		if res := b.Still().Request("POST", "/connect", header...); res.StatusCode != http.StatusForbidden || res.Kind() != "not-allowed" {
			t.Errorf("status %d, page %q", res.StatusCode, res.Kind())
		}
	})
}

// A page load that a service worker has passed on comes back to the page.
func TestSigningInBehindAServiceWorker(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"passed on", "made anew", "made anew, cors"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			s.Guard("/scopes", s.Auth.RequireScopes("Calendars.Read"))
			s.Guard("/fresh", s.Auth.RequireFreshSignIn(5*time.Minute))
			s.As(msauthtest.Ada)
			for _, path := range []string{"/page?x=1", "/scopes?x=1", "/fresh?x=1", "/auth/login?return_to=%2Fpage%3Fx%3D1"} {
				back := attemptWith(s.Browser(t), path, workers[name]...)
				if want := "/" + strings.TrimPrefix(strings.Split(path, "?")[0], "/") + "?x=1"; !strings.HasPrefix(path, "/auth") && back != want || strings.HasPrefix(path, "/auth") && back != "/page?x=1" {
					t.Errorf("%s leads back to %s", path, back)
				}
			}
			// With a session that lacks something too.
			b := s.Browser(t)
			b.SignIn(msauthtest.Bruno)
			if back := attemptWith(b, "/scopes?x=1", workers[name]...); back != "/scopes?x=1" {
				t.Errorf("the way to more scopes leads back to %s", back)
			}
		})
	}
}

// attemptWith makes a request that begins a sign-in, and says where that ends.
func attemptWith(b *testsite.Browser, path string, header ...string) string {
	b.T.Helper()
	return b.Still().Get(b.Attempt(path, header...), header...).Header.Get("Location")
}
