package e2e

import (
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"example.com/msauth/msauthtest"
)

func TestExpiredTokenIsRenewedBetweenTwoClicks(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 2 * time.Second })
	a := newApp(t, ms)
	b := newPerson(t)
	b.open(a.url + "/session")
	b.pick(msauthtest.Ada)
	b.at(a.url + "/session")
	signedIn, renewed, expires := b.moment("signed-in"), b.moment("renewed"), b.moment("expires")
	if expires.Sub(signedIn) > 3*time.Second {
		t.Fatalf("the access token expires %v after signing in", expires.Sub(signedIn))
	}
	loads := len(b.loads())

	ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Hour })
	if eventually(t.Context(), func() bool { return time.Now().After(expires) }) != nil {
		t.Fatal("the token does not expire")
	}
	b.click("nav a[href='/files']") // needs a token for Graph
	b.shows("#files")
	b.click("nav a[href='/session']")
	b.at(a.url + "/session")
	if got := b.moment("renewed"); !got.After(renewed) {
		t.Errorf("renewed at %v, as before", got)
	}
	if got := b.moment("signed-in"); !got.Equal(signedIn) {
		t.Errorf("signed in at %v, want %v as before", got, signedIn)
	}
	if left := time.Until(b.moment("expires")); left < 50*time.Minute {
		t.Errorf("the new token expires in %v", left)
	}
	b.click("nav a[href='/profile']")
	b.until("location.pathname === '/profile' && document.querySelector('img.photo')?.naturalWidth > 0")

	if got := ms.Count(msauthtest.TokenRefresh); got != 1 {
		t.Errorf("%d renewals, want 1", got)
	}
	if got := ms.Count(msauthtest.Authorize); got != 1 {
		t.Errorf("%d authorize requests, want the first one only", got)
	}
	if got := len(b.loads()) - loads; got != 3 {
		t.Errorf("%d page loads for 3 clicks: nobody may be redirected", got)
	}
}

func TestRestartOfTheAppKeepsSessions(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.open(a.url + "/session")
	account := b.text("#account")
	a.stop()
	a.start()
	b.click("nav a[href='/files']")
	b.at(a.url + "/files")
	b.shows("#files")
	b.open(a.url + "/session")
	if got := b.text("#account"); got != account {
		t.Errorf("account %s, before the restart %s", got, account)
	}
	if got := ms.Count(msauthtest.Authorize); got != 1 {
		t.Errorf("%d authorize requests, want 1", got)
	}
}

func TestCookiesAsTheBrowserKeepsThem(t *testing.T) {
	parallel(t)
	ms := newMicrosoft(t)
	a := newApp(t, ms)
	b := newPerson(t)
	check := func(c *network.Cookie, lifetime time.Duration) {
		t.Helper()
		if len(c.Name) < len("msauth-123456") || c.Name[:7] != "msauth-" { // plain http: no __Host- prefix
			t.Errorf("cookie %q", c.Name)
		}
		if c.Secure || !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || c.Domain != "localhost" {
			t.Errorf("cookie %s: Secure %v, HttpOnly %v, SameSite %q, path %q, domain %q", c.Name, c.Secure, c.HTTPOnly, c.SameSite, c.Path, c.Domain)
		}
		left := time.Until(time.UnixMilli(int64(c.Expires * 1000)))
		if c.Session || left > lifetime+time.Minute || left < lifetime-time.Minute {
			t.Errorf("cookie %s expires in %v, want %v", c.Name, left, lifetime)
		}
		if size := len(c.Name) + len(c.Value); size > 4096 {
			t.Errorf("cookie %s has %d bytes", c.Name, size)
		}
	}

	b.open(a.url + "/profile")
	b.shows("button[name=user]")
	session, attempts, mark := b.appCookies()
	if len(session) != 0 || len(attempts) != 1 || len(mark) != 0 {
		t.Fatalf("signing in: %d cookies of a session, %d of attempts, %d marks", len(session), len(attempts), len(mark))
	}
	check(attempts[0], 30*time.Minute)

	b.pick(msauthtest.Ada)
	b.at(a.url + "/profile")
	b.until("document.querySelector('img.photo')?.naturalWidth > 0")
	session, attempts, mark = b.appCookies()
	if len(session) != 1 || len(attempts) != 0 || len(mark) != 0 {
		t.Fatalf("signed in: %d cookies of a session, %d of attempts, %d marks", len(session), len(attempts), len(mark))
	}
	check(session[0], 7*24*time.Hour)
	if got := eval[string](b, "document.cookie"); got != "" {
		t.Errorf("scripts can read %q", got)
	}

	b.click("#sign-out")
	b.at(a.url + "/auth/signed-out")
	session, attempts, mark = b.appCookies()
	if len(session)+len(attempts)+len(mark) != 0 {
		t.Errorf("signed out: %d cookies of a session, %d of attempts, %d marks", len(session), len(attempts), len(mark))
	}
}
