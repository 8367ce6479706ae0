package e2e

import (
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// c1 has Graph demand a stronger sign-in.
var c1 = msauthtest.Challenge{ACRS: "c1"}

func TestChallengeThatANewTokenMeetsIsNotNoticed(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.click("nav a[href='/files']")
	b.shows("#files")
	loads := len(b.loads())
	ms.Challenge(msauthtest.Challenge{})
	b.reload()
	b.at(a.url + "/files")
	b.shows("#files")
	b.click("nav a[href='/profile']")
	b.until("location.pathname === '/profile' && document.querySelector('img.photo')?.naturalWidth > 0")
	b.wantFetch("/api/me", 200)
	if got := len(b.loads()) - loads; got != 2 {
		t.Errorf("%d page loads for 2 pages: nobody may be redirected", got)
	}
	if got := ms.Count(msauthtest.TokenRefresh); got != 1 {
		t.Errorf("%d renewals, want 1", got)
	}
	wantAsked(t, ms, 1)
}

// As after a new password: neither the access token nor a renewal will do.
func TestChallengeAfterTheSessionWasRevoked(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	ms.Revoke(msauthtest.Ada)
	ms.Challenge(msauthtest.Challenge{SignInName: msauthtest.Ada})
	b.open(a.url + "/session") // nothing is known of it here
	b.shows("#who")
	refused := b.wantFetch("/api/me", 401)
	b.follow(refused.LoginURL)
	b.pick(msauthtest.Ada)
	b.at(a.url + "/session")
	b.click("nav a[href='/files']")
	b.at(a.url + "/files")
	b.shows("#files")
	wantAsked(t, ms, 2)
}

func TestChallengeLeadsToAStrongerSignInAndBack(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	ms.Challenge(c1)
	b.open(a.url + "/files?x=1&y=%2F")
	if got := b.text("#verify"); !strings.Contains(got, "c1") {
		t.Errorf("asked for %q, want c1", got)
	}
	b.look("verify")
	b.click("button#accept")
	b.at(a.url + "/files?x=1&y=%2F")
	b.shows("#files")
	wantAsked(t, ms, 2)
	b.click("nav a[href='/profile']")
	b.until("location.pathname === '/profile' && document.querySelector('img.photo')?.naturalWidth > 0")
	b.click("nav a[href='/calendar']") // the next question is of another kind
	b.consent("Calendars.Read")
	b.at(a.url + "/calendar")
	b.shows(".appointments")
	b.click("nav a[href='/files']")
	b.shows("#files")
	wantAsked(t, ms, 3)
}

func TestChallengeOfAScript(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.open(a.url + "/session")
	ms.Challenge(c1)
	b.click("#call-api")
	b.shows("#api-result .bad")
	if got := b.text("#api-result"); !strings.Contains(got, "Status 401") {
		t.Errorf("the button shows %q", got)
	}
	wantAsked(t, ms, 1)
	b.click("#api-sign-in")
	b.shows("#verify")
	b.click("button#accept")
	b.at(a.url + "/session")
	b.click("#call-api")
	b.shows("#api-result .good")
	wantAsked(t, ms, 2)
}

// A download is a page load too.
func TestChallengeOfADownload(t *testing.T) {
	parallel(t)
	ms, a, b := signedIn(t)
	b.open(a.url + "/files")
	b.shows("#files")
	ms.Challenge(c1)
	b.click("#files a.file")
	b.shows("#verify")
	b.click("button#cancel")
	b.onPage("declined", 403)
	b.stillSignedIn(a)
	wantAsked(t, ms, 2)
}

func TestChallengeThatIsNeverMetEndsOnAPage(t *testing.T) {
	parallel(t)
	for name, tt := range map[string]struct {
		demand msauthtest.Challenge
		deaf   bool
		verify bool // there is a page at Microsoft
	}{
		"Graph is never content":  {msauthtest.Challenge{ACRS: "c1", Forever: true}, false, true},
		"Microsoft takes no note": {c1, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			ms, a, b := signedIn(t)
			ms.Set(func(b *msauthtest.Behavior) { b.IgnoreClaims = tt.deaf })
			withdraw := ms.Challenge(tt.demand)
			b.open(a.url + "/files?x=1")
			if tt.verify {
				b.click("button#accept")
			}
			b.onPage("not-enough", 403)
			b.look("not-enough")
			wantAsked(t, ms, 2)
			b.reload()
			b.onPage("not-enough", 403)
			wantAsked(t, ms, 2)

			// What does not call Graph goes on.
			b.stillSignedIn(a)
			b.wantFetch("/api/me", 403)
			b.click("nav a[href='/']")
			b.at(a.url + "/")
			b.shows("#who")
			b.open(a.url + "/security")
			b.at(a.url + "/security")
			b.shows("#account")
			wantAsked(t, ms, 2)

			// Each click is one more round, no more.
			b.open(a.url + "/files?x=1")
			b.onPage("not-enough", 403)
			b.click("main a[href^='/auth/login']:not([href*='select_account'])")
			if eventually(t.Context(), func() bool { return ms.Count(msauthtest.TokenCode) == 3 }) != nil {
				t.Errorf("%d codes redeemed, want 3", ms.Count(msauthtest.TokenCode))
			}
			b.onPage("not-enough", 403)
			wantAsked(t, ms, 3)

			withdraw()
			b.click("main a[href^='/auth/login']:not([href*='select_account'])")
			b.at(a.url + "/files?x=1")
			b.shows("#files")
		})
	}
}

func TestChallengeRefusedByThePerson(t *testing.T) {
	parallel(t)
	for name, refuse := range map[string]func(*msauthtest.Server, *tab){
		"cancel": func(_ *msauthtest.Server, b *tab) { b.click("button#cancel") },
		"deny":   func(_ *msauthtest.Server, b *tab) { b.click("button#refuse-mfa") },
		"fail": func(ms *msauthtest.Server, b *tab) {
			ms.Set(func(b *msauthtest.Behavior) { b.RefuseMFA = true })
			b.click("button#accept")
		},
	} {
		t.Run(name, func(t *testing.T) {
			ms, a, b := signedIn(t)
			ms.Challenge(c1)
			b.open(a.url + "/files?x=1")
			b.shows("#verify")
			refuse(ms, b)
			b.onPage("declined", 403)
			b.look("declined-verification-" + name)
			wantAsked(t, ms, 2)
			b.stillSignedIn(a)
			b.click("nav a[href='/']")
			b.at(a.url + "/")
			b.shows("#who")
			wantAsked(t, ms, 2)

			b.open(a.url + "/files?x=1")
			b.shows("#verify")
			refuse(ms, b)
			b.onPage("declined", 403)
			ms.Set(func(b *msauthtest.Behavior) { b.RefuseMFA = false })
			b.click("main a[href='/files?x=1']") // Ask me again
			b.click("button#accept")
			b.at(a.url + "/files?x=1")
			b.shows("#files")
			wantAsked(t, ms, 4)
		})
	}
}
