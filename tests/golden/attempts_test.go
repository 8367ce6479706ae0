package golden_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// A goldenReturn is how a sign-in ends.
type goldenReturn struct {
	Asked    string `json:",omitempty"` // of Microsoft, of a link
	Bare     string `json:",omitempty"` // the callback without cookies
	Callback string
	Verifier string
	Return   string `json:",omitempty"` // by way of /auth/continue
	Again    string // the callback once more
	SignIn   *goldenHook
	Account  string            // of the session
	Entries  []string          `json:",omitempty"`
	Probes   map[string]string `json:",omitempty"`
	ended    bool
}

func (r *goldenReturn) opened() bool { return r.ended }

// readGoldenAttempt finishes a sign-in.
func readGoldenAttempt(a *goldenApp, v *goldenValue) goldenFound {
	return a.finish(v.URL, &goldenReturn{})
}

func (a *goldenApp) finish(address string, found *goldenReturn) *goldenReturn {
	a.t.Helper()
	back := a.atMicrosoft(address)
	bare := a.clone()
	bare.jar = map[string]string{}
	found.Bare = a.told(bare.get(back))
	a.ms.ResetCalls()
	got := a.get(back)
	found.Callback = a.told(got)
	if calls := a.ms.Calls(msauthtest.TokenCode); len(calls) > 0 {
		// The provider has compared it with the challenge.
		found.Verifier = calls[0].Form.Get("code_verifier")
		found.ended = true
	}
	if strings.HasSuffix(got.location, "/auth/continue") {
		found.Return = a.told(a.get(got.location))
	}
	found.SignIn = a.seen.signIn
	if s := a.clone().session(); s != nil {
		found.Account = s.Key
	}
	found.Again = a.told(a.clone().get(back))
	if a.entries != nil {
		found.Entries = slices.Sorted(maps.Keys(a.entries.entries))
	}
	found.Probes = a.probe()
	return found
}

var goldenLong = "/reports/q3?filter=" + strings.Repeat("north-east~", 80) + "&page=2"

func enteredEarlier(_ msauthtest.Kind, claims map[string]any) {
	claims["auth_time"] = time.Now().Add(-8 * time.Minute).Unix()
}

// goldenAttempts are sign-ins that are under way.
func goldenAttempts() []*goldenCase {
	at := func(page string) func(*goldenApp, *goldenValue) {
		return func(a *goldenApp, v *goldenValue) { v.URL = a.begin(page) }
	}
	connecting := func(a *goldenApp) {
		a.keep()
		a.cfg.User = func(*http.Request) string { return "zoë" }
	}
	cases := []*goldenCase{
		{name: "attempt-page", make: func(a *goldenApp, v *goldenValue) {
			at("/files/a?b=c&d=%C3%A9")(a, v)
			v.expect = []string{"/files/a?b=c\\u0026d=%C3%A9"}
		}},
		{name: "attempt-long-address", partly: []string{"-to, byte"}, make: func(a *goldenApp, v *goldenValue) {
			at(goldenLong)(a, v)
			v.expect = []string{strings.ReplaceAll(goldenLong, "&", "\\u0026")}
		}},
		{name: "attempt-personal", config: func(a *goldenApp) { a.person = msauthtest.Mia }, make: at("/")},
		{name: "attempt-plain-provider", config: goldenIssuer((*msauthtest.Server).Plain), make: at("/a")},
		{name: "attempt-return-declined", config: goldenLive, make: func(a *goldenApp, v *goldenValue) {
			v.URL = a.begin(a.auth.LoginURL(msauth.LoginOptions{ReturnTo: "/inbox", ReturnDeclined: true}))
			v.expect = []string{"/inbox"}
		}},
		{name: "attempt-app-state", make: func(a *goldenApp, v *goldenValue) {
			v.URL = a.begin(a.auth.LoginURL(msauth.LoginOptions{
				ReturnTo: "/inbox", AppState: "invitation 42 für Zoë", Scopes: []string{"Mail.Send", "Files.Read"},
			}))
			v.expect = []string{"invitation 42 für Zoë", "/inbox"}
		}},
		{name: "attempt-fresh", make: at("/fresh"), probes: []string{"/fresh"}},
		{
			// Microsoft does not say how fresh it is: the state still knows.
			name: "attempt-fresh-unproved", make: at("/fresh"),
			reader: func(a *goldenApp) { a.behave(func(b *msauthtest.Behavior) { b.OmitAuthTime = true }) },
		},
		{name: "attempt-context", make: at("/context"), probes: []string{"/context"}},
		{
			// Asked in vain, which the session remembers of the state.
			name: "attempt-context-in-vain", make: at("/context"), probes: []string{"/context"},
			reader: func(a *goldenApp) { a.behave(func(b *msauthtest.Behavior) { b.IgnoreClaims = true }) },
		},
		{
			// The code is refused with a challenge, which joins what was asked for.
			name: "attempt-context-refused", make: at("/context"),
			reader: func(a *goldenApp) {
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFAForCode, b.IgnoreClaims = true, true })
			},
		},
		{
			// For the second time, which is once too often.
			name: "attempt-challenged",
			make: func(a *goldenApp, v *goldenValue) {
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFAForCode = true })
				v.URL = a.get(a.atMicrosoft(a.begin("/a"))).location
				v.expect = []string{"403 not-enough"}
			},
			reader: func(a *goldenApp) {
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFAForCode, b.IgnoreClaims = true, true })
			},
		},
		{
			// Credentials were entered for the attempt before.
			name: "attempt-challenged-reauthenticate", config: func(a *goldenApp) { a.cfg.Reauthenticate = true },
			make: func(a *goldenApp, v *goldenValue) {
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFAForCode = true })
				back := a.atMicrosoft(a.begin("/a"))
				time.Sleep(8 * time.Minute)
				v.URL = a.get(back).location
				v.expect = []string{"303 /a"}
			},
			reader: func(a *goldenApp) {
				a.behave(func(b *msauthtest.Behavior) { b.IDToken = enteredEarlier })
			},
		},
		{
			name: "attempt-retried",
			make: func(a *goldenApp, v *goldenValue) {
				back := a.atMicrosoft(a.begin("/a"))
				a.jar = map[string]string{}
				v.URL = a.begin(a.get(back).page.Links[0].URL)
				v.expect = []string{"400 cookies-blocked"}
			},
		},
		{
			name: "attempt-other-host",
			make: func(a *goldenApp, v *goldenValue) {
				a.host = "www.app.test"
				v.URL = a.begin("/a")
				v.expect = []string{"400 wrong-host"}
			},
		},
		{
			name: "attempt-rounds", probes: []string{"/auth/login"},
			make: func(a *goldenApp, v *goldenValue) {
				for range 7 {
					a.signInAt("/auth/login")
				}
				v.URL = a.begin("/auth/login")
				v.expect = []string{"400 loop"}
				maps.DeleteFunc(a.jar, func(name, _ string) bool { return !strings.Contains(name, "-login-") })
			},
		},
		{
			name: "attempt-connect", config: connecting,
			make: func(a *goldenApp, v *goldenValue) {
				v.URL = a.do(http.MethodPost, "/connect", "", "Sec-Fetch-Site", "same-origin").location
				v.expect = []string{"zoë", "/settings?tab=accounts", `"Connecting":true`}
			},
		},
	}
	for _, c := range cases {
		c.read = readGoldenAttempt
	}
	return append(cases, &goldenCase{
		// The session and the long address, which only its own sign-in may use.
		name: "attempt-continue", partly: []string{"cookie"},
		make: func(a *goldenApp, v *goldenValue) {
			if got := a.get(a.atMicrosoft(a.begin(goldenLong))); got.location != "/auth/continue" {
				a.t.Fatalf("status %d to %q; log:\n%s", got.status, got.location, a.log)
			}
			a.get("/public")
			v.expect = []string{strings.ReplaceAll(goldenLong, "&", "\\u0026")}
		},
		read: func(a *goldenApp, _ *goldenValue) goldenFound {
			return goldenLine(a.told(a.get("/auth/continue")))
		},
	})
}

// goldenLive makes the provider Live Connect.
func goldenLive(a *goldenApp) {
	a.person, a.cfg.Authority = msauthtest.Mia, a.ms.LiveAuthority()
}
