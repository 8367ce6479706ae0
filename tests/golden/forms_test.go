package golden_test

import (
	"net/http"
	"net/url"
	"strings"
)

// A goldenLine is an answer.
type goldenLine string

func (l goldenLine) opened() bool {
	return strings.HasPrefix(string(l), "303 ") || strings.HasPrefix(string(l), "307 ")
}

// goldenForms are the tokens of forms that ask, and the address of one that is kept.
func goldenForms() []*goldenCase {
	post := func(page string, header ...string) func(*goldenApp, *goldenValue) goldenFound {
		return func(a *goldenApp, v *goldenValue) goldenFound {
			return goldenLine(a.told(a.do(http.MethodPost, page, url.Values{"msauth_token": {v.Form}}.Encode(), header...)))
		}
	}
	ask := func(page string, header ...string) func(*goldenApp, *goldenValue) {
		return func(a *goldenApp, v *goldenValue) {
			got := a.do(http.MethodPost, page, "", header...)
			if len(got.page.Links) == 0 || got.page.Links[0].Token == "" {
				a.t.Fatalf("status %d, %s; log:\n%s", got.status, got.page.Kind, a.log)
			}
			v.Form = got.page.Links[0].Token
		}
	}
	sameSite := []string{"Sec-Fetch-Site", "same-site"}
	worker := []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "document", "Upgrade-Insecure-Requests", "1"}
	own := []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}
	return []*goldenCase{
		{
			name: "form-kept",
			make: func(a *goldenApp, v *goldenValue) {
				a.signInAt("/")
				got := a.do(http.MethodPost, "/scopes?x=%20y", "note=1", own...)
				if len(got.page.Links) < 2 {
					a.t.Fatalf("status %d, %s; log:\n%s", got.status, got.page.Kind, a.log)
				}
				_, v.Form, _ = strings.Cut(got.page.Links[1].URL, "?form=")
				v.expect = []string{"307 /scopes?x=%20y"}
			},
			read: func(a *goldenApp, v *goldenValue) goldenFound {
				return goldenLine(a.told(a.do(http.MethodPost, "/auth/again?form="+v.Form, "note=1", own...)))
			},
		},
		{
			name: "form-sign-out", read: post("/auth/logout", sameSite...),
			make: func(a *goldenApp, v *goldenValue) {
				a.signInAt("/")
				ask("/auth/logout", sameSite...)(a, v)
			},
		},
		{
			// Of a browser whose session cannot be read.
			name: "form-sign-out-unreadable", read: post("/auth/logout", sameSite...),
			make: func(a *goldenApp, v *goldenValue) {
				a.signInAt("/")
				for name := range a.jar {
					a.jar[name] = name + "=1AAAAAAAAunreadable; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"
				}
				ask("/auth/logout", sameSite...)(a, v)
			},
		},
		{
			name: "form-connect", read: post("/connect", worker...), make: ask("/connect", worker...),
			config: func(a *goldenApp) {
				a.keep()
				a.cfg.User = func(*http.Request) string { return "zoë" }
			},
		},
	}
}
