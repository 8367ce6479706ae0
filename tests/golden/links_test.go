package golden_test

import (
	"net/http"
	"strings"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// readGoldenLink opens a login link, and goes all the way.
func readGoldenLink(a *goldenApp, v *goldenValue) goldenFound {
	got := a.get(v.URL)
	found := &goldenReturn{Asked: a.told(got)}
	if got.status != http.StatusSeeOther {
		return found
	}
	a.finish(got.location, found)
	found.Verifier = "" // of an attempt of today
	return found
}

// goldenLinks are login links with something sealed.
func goldenLinks() []*goldenCase {
	told := func(page string, signedIn bool) func(*goldenApp, *goldenValue) {
		return func(a *goldenApp, v *goldenValue) {
			if signedIn {
				a.signInAt("/")
			}
			v.URL = a.loginURL(page)
		}
	}
	cases := []*goldenCase{
		{name: "link-app-state", make: func(a *goldenApp, v *goldenValue) {
			v.URL = a.auth.LoginURL(msauth.LoginOptions{
				ReturnTo: "/inbox?x=1", AppState: "invitation 42 für Zoë", Scopes: []string{"Mail.Send", "api://orders/Orders.Read"},
				LoginHint: msauthtest.Ada, Prompt: "login",
			})
			v.expect = []string{"invitation 42 für Zoë", "Mail.Send", "/inbox?x=1", "prompt=login"}
		}},
		{name: "link-scopes", make: told("/scopes", false), probes: []string{"/scopes"}},
		{name: "link-fresh", make: told("/fresh", false), probes: []string{"/fresh"}},
		{name: "link-context", make: told("/context", false), probes: []string{"/context"}},
		{name: "link-challenge", make: told("/challenge", true), partly: []string{"cookie"}},
		{name: "link-again", make: told("/again", true), probes: []string{"/again"}, partly: []string{"cookie"}},
		{name: "link-retry", make: func(a *goldenApp, v *goldenValue) {
			back := a.atMicrosoft(a.begin("/a?b"))
			a.jar = map[string]string{}
			v.URL = a.get(back).page.Links[0].URL
			v.expect = []string{"400 cookies-blocked"}
		}},
	}
	for _, c := range cases {
		if c.read = readGoldenLink; strings.HasSuffix(c.name, "app-state") {
			c.config = func(a *goldenApp) {
				a.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
			}
		}
	}
	return cases
}
