package msauth_test

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
func (b *browser) agree(page seen, header ...string) seen {
	b.t.Helper()
	form := tokenField.FindStringSubmatch(page.body)
	if form == nil {
		b.t.Fatalf("no form with a token in %s", page.body)
	}
	return b.post(form[1], form[2], header...)
}

func (b *browser) post(path, token string, header ...string) seen {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodPost, b.site.URL+path, strings.NewReader(url.Values{"msauth_token": {token}}.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.still().send(req)
}

func TestSignOutBehindAServiceWorkerIsConfirmed(t *testing.T) {
	t.Parallel()
	for name, header := range workers {
		for _, method := range []string{"GET", "POST"} {
			t.Run(name+" "+method, func(t *testing.T) {
				t.Parallel()
				s := newSiteInProcess(t)
				b := s.browser(t)
				b.signIn(msauthtest.Ada)
				want := http.StatusOK
				if method == "POST" && slices.Contains(header, "empty") {
					want = http.StatusForbidden // for scripts to see
				}
				page := b.still().do(method, "/auth/logout", header...)
				s.wantPage(t, page, want, "confirm-sign-out", "")
				b.wantGreeting(helloAda)
				res := b.agree(page, header...)
				if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), s.ms.URL) {
					t.Errorf("status %d to %q, want 303 to the provider", res.StatusCode, res.Header.Get("Location"))
				}
				b.wantGreeting(helloNobody)
			})
		}
	}
}

func TestTokensOfFormsAreForOnePersonAndOneAction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		made := workers["made anew"]
		mine := func(b *browser) string {
			return tokenField.FindStringSubmatch(b.get("/auth/logout", made...).body)[2]
		}
		ada, bruno, nobody := s.browser(t), s.browser(t), s.browser(t)
		ada.signIn(msauthtest.Ada)
		bruno.signIn(msauthtest.Bruno)
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
			{"altered", "A" + token[1:], made},
			{"of a link", strings.TrimPrefix(s.auth.LoginURL(msauth.LoginOptions{AppState: "x"}), "/auth/login?sealed="), made},
			{"long", strings.Repeat("A", 100<<10), made},
			{"from another site", token, cross},
		} {
			if res := ada.post("/auth/logout", test.token, test.header...); res.kind() != "confirm-sign-out" {
				t.Errorf("%s: status %d, page %q, want to be asked", test.name, res.StatusCode, res.kind())
			}
			ada.wantGreeting(helloAda)
		}
		if res := ada.get("/auth/logout?msauth_token="+token, made...); res.kind() != "confirm-sign-out" {
			t.Errorf("a token in a link: status %d, page %q, want to be asked", res.StatusCode, res.kind())
		}
		time.Sleep(29 * time.Minute)
		fresh := mine(ada)
		time.Sleep(2 * time.Minute)
		if res := ada.post("/auth/logout", token, made...); res.kind() != "confirm-sign-out" {
			t.Errorf("after 31 minutes: status %d, page %q, want to be asked", res.StatusCode, res.kind())
		}
		if res := ada.post("/auth/logout", fresh, made...); res.StatusCode != http.StatusSeeOther {
			t.Errorf("after two minutes: status %d, want 303", res.StatusCode)
		}
		ada.wantGreeting(helloNobody)
		// Whoever has no session can leave too.
		if res := nobody.post("/auth/logout", mine(nobody), made...); res.StatusCode != http.StatusSeeOther {
			t.Errorf("nobody: status %d, want 303", res.StatusCode)
		}
	})
}

func TestConnectBehindAServiceWorkerIsConfirmed(t *testing.T) {
	t.Parallel()
	for name := range workers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, kept := account(t)
			s.mux.Handle("/more", s.auth.Connect("/public/settings", "Files.Read"))
			s.as(msauthtest.Ada)
			header := throughWorker(name, s.URL)
			zoe, eve := s.browser(t), s.browser(t)
			zoe.keep("app", "zoe")
			eve.keep("app", "eve")
			page := zoe.still().do("POST", "/connect", header...)
			if page.kind() != "confirm-connect" || !strings.Contains(page.Header.Get("Content-Security-Policy"), "form-action 'self' "+s.ms.URL+";") {
				t.Fatalf("status %d, page %q, headers %v", page.StatusCode, page.kind(), page.Header)
			}
			s.wantCalls(t, msauthtest.Authorize, 0)
			// A page that was made for somebody else, or for another handler, is
			// of no use.
			for what, other := range map[string]seen{
				"of another user": eve.still().do("POST", "/connect", header...), "of another handler": zoe.still().do("POST", "/more", header...),
			} {
				if res := zoe.post("/connect", tokenField.FindStringSubmatch(other.body)[2], header...); res.kind() != "confirm-connect" {
					t.Errorf("a token %s: status %d, page %q, want to be asked", what, res.StatusCode, res.kind())
				}
			}
			if res := s.browser(t).post("/connect", tokenField.FindStringSubmatch(page.body)[2], header...); res.StatusCode != http.StatusForbidden || res.kind() != "not-allowed" {
				t.Errorf("signed out of the app: status %d, page %q", res.StatusCode, res.kind())
			}
			res := zoe.agree(page, header...)
			back := zoe.still().get(res.Header.Get("Location")).Header.Get("Location")
			if got := zoe.get(back); got.Request.URL.Path != "/public/settings" || !slices.Equal(kept.users(), []string{"zoe"}) {
				t.Errorf("at %s, connected %q; log:\n%s", got.Request.URL, kept.users(), s.log)
			}
		})
	}
	t.Run("from another site", func(t *testing.T) {
		t.Parallel()
		s, _ := account(t)
		b := s.browser(t)
		b.keep("app", "zoe")
		header := throughWorker("passed on", s.URL)
		header[5], header[11] = "cross-site", "https://evil.example"
		if res := b.still().do("POST", "/connect", header...); res.StatusCode != http.StatusForbidden || res.kind() != "not-allowed" {
			t.Errorf("status %d, page %q", res.StatusCode, res.kind())
		}
	})
}

// A page load that a service worker has passed on comes back to the page.
func TestSigningInBehindAServiceWorker(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"passed on", "made anew", "made anew, cors"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t)
			s.guard("/scopes", s.auth.RequireScopes("Calendars.Read"))
			s.guard("/fresh", s.auth.RequireFreshSignIn(5*time.Minute))
			s.as(msauthtest.Ada)
			for _, path := range []string{"/page?x=1", "/scopes?x=1", "/fresh?x=1", "/auth/login?return_to=%2Fpage%3Fx%3D1"} {
				back := s.browser(t).attemptWith(path, workers[name]...)
				if want := "/" + strings.TrimPrefix(strings.Split(path, "?")[0], "/") + "?x=1"; !strings.HasPrefix(path, "/auth") && back != want || strings.HasPrefix(path, "/auth") && back != "/page?x=1" {
					t.Errorf("%s leads back to %s", path, back)
				}
			}
			// With a session that lacks something too.
			b := s.browser(t)
			b.signIn(msauthtest.Bruno)
			if back := b.attemptWith("/scopes?x=1", workers[name]...); back != "/scopes?x=1" {
				t.Errorf("the way to more scopes leads back to %s", back)
			}
		})
	}
}

// attemptWith makes a request that begins a sign-in, and says where that ends.
func (b *browser) attemptWith(path string, header ...string) string {
	b.t.Helper()
	return b.still().get(b.attempt(path, header...), header...).Header.Get("Location")
}
