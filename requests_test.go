package msauth_test

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
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

func TestRoutesWorkHoweverTheyAreMounted(t *testing.T) {
	t.Parallel()
	app := func(auth *msauth.Middleware) http.Handler { return auth.Require(http.HandlerFunc(hello)) }
	tests := []struct {
		name  string
		base  string // path of BaseURL
		mount func(*msauth.Middleware) http.Handler
	}{
		{"mux", "/auth", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/auth/", auth)
			mux.Handle("/", app(auth))
			return mux
		}},
		{"mux, base URL with a slash", "/auth/", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/auth/", auth)
			mux.Handle("/", app(auth))
			return mux
		}},
		{"prefix stripped", "/auth", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/auth/", http.StripPrefix("/auth", auth))
			mux.Handle("/", app(auth))
			return mux
		}},
		{"prefix stripped with its slash", "/auth", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/auth/", http.StripPrefix("/auth/", auth))
			mux.Handle("/", app(auth))
			return mux
		}},
		{"part of the prefix stripped", "/area/auth", func(auth *msauth.Middleware) http.Handler {
			inner := http.NewServeMux()
			inner.Handle("/auth/", http.StripPrefix("/auth", auth))
			inner.Handle("/", app(auth))
			mux := http.NewServeMux()
			mux.Handle("/area/", http.StripPrefix("/area", inner))
			mux.Handle("/", app(auth))
			return mux
		}},
		{"methods, by hand", "/area/sign-in", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			mux.HandleFunc("/area/sign-in/login", auth.Login)
			mux.HandleFunc("/area/sign-in/callback", auth.Callback)
			mux.HandleFunc("/area/sign-in/logout", auth.Logout)
			mux.Handle("/area/sign-in/", auth)
			mux.Handle("/", app(auth))
			return mux
		}},
		{"Require around everything", "/auth", func(auth *msauth.Middleware) http.Handler { return app(auth) }},
		{"at the root", "", func(auth *msauth.Middleware) http.Handler {
			mux := http.NewServeMux()
			for _, name := range []string{"/login", "/callback", "/logout", "/signed-out"} {
				mux.Handle(name, auth)
			}
			mux.Handle("/", app(auth))
			return mux
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t, func(c *msauth.Config) { c.BaseURL = "https://app.test" + test.base })
			s.mux = http.NewServeMux()
			s.mux.Handle("/", test.mount(s.auth))
			s.current.Store(s.mux)
			base := strings.TrimSuffix(test.base, "/")
			s.as(msauthtest.Ada)
			b := s.browser(t)
			if got := b.get("/a/b?x=1&y=%2F%20z"); got.body != helloAda || got.Request.URL.RequestURI() != "/a/b?x=1&y=%2F%20z" {
				t.Fatalf("status %d, page %q at %s, want %q", got.StatusCode, got.body, got.Request.URL, helloAda)
			}
			if got := s.ms.Calls(msauthtest.TokenCode)[0].Form.Get("redirect_uri"); got != "https://app.test"+base+"/callback" {
				t.Errorf("redirect_uri %q", got)
			}
			if got := b.get(s.auth.LoginURL(msauth.LoginOptions{ReturnTo: "/c"})); got.Request.URL.Path != "/c" {
				t.Errorf("login ends at %s, want /c", got.Request.URL)
			}
			if got := b.do("POST", s.auth.LogoutURL(), ownPage...); got.kind() != "signed-out" || got.Request.URL.Path != base+"/signed-out" {
				t.Errorf("logout ends at %s with page %q", got.Request.URL, got.kind())
			}
		})
	}
}

// A handler behind StripPrefix sees a shorter path than the browser.
func TestReturnPathIsTheOneOfTheBrowser(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.as(msauthtest.Ada)
	s.mux.Handle("/area/", http.StripPrefix("/area", s.auth.Require(http.HandlerFunc(hello))))
	for _, path := range []string{"/area/x?y=1", "/area/", "/%61rea/%2e/a%2Fb?q=%00&q=ü", "/area/a;b=c,d/@e/f+g"} {
		if got := s.browser(t).get(path).Request.URL.RequestURI(); got != strings.ReplaceAll(path, "ü", "%C3%BC") && got != path {
			t.Errorf("%s: came back to %s", path, got)
		}
	}
}

func TestWhatIsNoRouteIsNotFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser(t)
	for _, path := range []string{
		"/auth/", "/auth/x", "/auth/login/", "/auth/login/x", "/auth/Login", "/auth/LOGIN", "/auth/callback/", "/auth/logout2",
		"/auth/signed-out.html", "/auth/login%00", "/auth/%2e%2e%2flogin", "/auth/login;x=1", "/auth/token", "/auth/.well-known/x",
	} {
		for _, method := range []string{"GET", "POST", "PROPFIND"} {
			s.wantPage(t, b.do(method, path), http.StatusNotFound, "not-found", "")
		}
	}
	if res := b.do("HEAD", "/auth/x"); res.StatusCode != http.StatusNotFound || res.body != "" {
		t.Errorf("HEAD: status %d, body %q", res.StatusCode, res.body)
	}
	s.wantNoCalls(t)
}

func TestWhoIsSentToSignInAndWhoGets401(t *testing.T) {
	t.Parallel()
	const login, page = "/auth/login", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	fetch := func(mode, dest, site string, more ...string) []string {
		return append([]string{"Sec-Fetch-Mode", mode, "Sec-Fetch-Dest", dest, "Sec-Fetch-Site", site}, more...)
	}
	tests := []struct {
		name   string
		method string
		header []string
		html   bool   // the page, and not the problem document
		want   string // login_url; "" for a redirect to the provider
	}{
		{"navigation", "GET", fetch("navigate", "document", "none"), false, ""},
		{"navigation from elsewhere", "GET", fetch("navigate", "document", "cross-site", "Accept", "text/html"), false, ""},
		{"navigation that asks for JSON", "GET", fetch("navigate", "document", "none", "Accept", "application/json"), false, ""},
		{"navigation by HEAD", "HEAD", fetch("navigate", "document", "none"), false, ""},
		{"old browser", "GET", []string{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, false, ""},
		{"old browser, other case", "GET", []string{"Accept", "Text/HTML;q=0.9"}, false, ""},
		{"navigation in an Android WebView", "GET", []string{"Accept", "text/html,*/*;q=0.8", "X-Requested-With", "com.example.app"}, false, ""},
		{"navigation in an Android WebView, marked", "GET", fetch("navigate", "document", "none", "Accept", "text/html", "X-Requested-With", "com.example.app"), false, ""},
		{"passed on by a service worker", "GET", fetch("navigate", "empty", "same-origin", "Accept", page, "Upgrade-Insecure-Requests", "1"), false, ""},
		{"passed on, from elsewhere", "GET", fetch("navigate", "empty", "cross-site", "Accept", page, "Upgrade-Insecure-Requests", "1"), false, ""},
		{"made anew by a service worker", "GET", fetch("same-origin", "empty", "same-origin", "Accept", page, "Upgrade-Insecure-Requests", "1", "Referer", "https://app.test/sw.js"), false, ""},
		{"made anew, mode cors", "GET", fetch("cors", "empty", "same-origin", "Accept", page, "Upgrade-Insecure-Requests", "1", "Referer", "https://app.test/sw.js"), false, ""},

		{"form made anew by a service worker", "POST", fetch("same-origin", "empty", "same-origin", "Accept", page, "Upgrade-Insecure-Requests", "1", "Referer", "https://app.test/worker"), true, login},
		{"fetched by a service worker by its address", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "Referer", "https://app.test/sw.js"), false, login},
		{"script's request made anew by a service worker", "GET", fetch("same-origin", "empty", "same-origin", "Accept", "*/*", "Referer", "https://app.test/sw.mjs?v=2"), false, login},
		{"download", "GET", fetch("navigate", "empty", "same-origin", "Referer", "https://app.test/list"), false, login + "?return_to=%2Flist"},
		{"XMLHttpRequest in an Android WebView", "GET", []string{"Accept", "text/html, */*", "X-Requested-With", "xmlhttprequest"}, true, login},
		{"fetch", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*"), false, login},
		{"fetch that wants a page", "GET", fetch("cors", "empty", "same-origin", "Accept", "text/html"), true, login},
		{"fetch that wants JSON rather", "GET", fetch("cors", "empty", "same-origin", "Accept", "application/json, text/html;q=0.5"), false, login},
		{"fetch of an old browser", "GET", []string{"Accept", "application/json"}, false, login},
		{"XMLHttpRequest of an old browser", "GET", []string{"Accept", "text/html, */*", "X-Requested-With", "XMLHttpRequest"}, true, login},
		{"program", "GET", []string{"Accept", "*/*"}, false, login},
		{"program that does not want a page", "GET", []string{"Accept", "text/html;q=0, */*"}, false, login},
		{"htmx", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "HX-Request", "true", "HX-Current-URL", "https://app.test/list?p=2"), false, login + "?return_to=%2Flist%3Fp%3D2"},
		{"htmx of an old browser", "GET", []string{"Accept", "text/html", "HX-Request", "true"}, true, login},
		{"Turbo", "GET", fetch("cors", "empty", "same-origin", "Accept", "text/vnd.turbo-stream.html, text/html", "Referer", "https://app.test/list"), true, login + "?return_to=%2Flist"},
		{"frame", "GET", fetch("navigate", "iframe", "same-origin", "Accept", "text/html"), true, login},
		{"frame of the old kind", "GET", fetch("navigate", "frame", "same-origin", "Accept", "text/html"), true, login},
		{"fenced frame", "GET", fetch("navigate", "fencedframe", "same-origin", "Accept", "text/html"), true, login},
		{"embedded object", "GET", fetch("navigate", "object", "same-origin", "Accept", "text/html"), true, login},
		{"embedded image", "GET", fetch("navigate", "embed", "same-origin", "Accept", "*/*"), false, login},
		{"image", "GET", fetch("no-cors", "image", "same-origin", "Accept", "image/avif,image/*,*/*;q=0.8"), false, login},
		{"script", "GET", fetch("no-cors", "script", "same-origin", "Accept", "*/*"), false, login},
		{"module", "GET", fetch("cors", "script", "same-origin", "Accept", "*/*"), false, login},
		{"style", "GET", fetch("no-cors", "style", "same-origin", "Accept", "text/css,*/*;q=0.1"), false, login},
		{"video", "GET", fetch("no-cors", "video", "same-origin", "Accept", "*/*", "Range", "bytes=0-"), false, login},
		{"service worker", "GET", fetch("same-origin", "serviceworker", "same-origin", "Accept", "*/*"), false, login},
		{"beacon", "POST", fetch("no-cors", "empty", "same-origin", "Accept", "*/*"), false, login},
		{"event source", "GET", fetch("cors", "empty", "same-origin", "Accept", "text/event-stream"), false, login},
		{"WebSocket", "GET", fetch("websocket", "websocket", "same-origin", "Accept", "*/*", "Connection", "Upgrade", "Upgrade", "websocket"), false, login},
		{"WebSocket of an old browser", "GET", []string{"Accept", "text/html", "Connection", "Upgrade", "Upgrade", "websocket"}, true, login},
		{"form", "POST", fetch("navigate", "document", "same-origin", "Accept", "text/html", "Referer", "https://app.test/form?id=7"), true, login + "?return_to=%2Fform%3Fid%3D7"},
		{"form on another site", "POST", fetch("navigate", "document", "cross-site", "Accept", "text/html", "Referer", "https://evil.example/form"), true, login},
		{"PUT", "PUT", fetch("cors", "empty", "same-origin", "Accept", "application/json", "Referer", "https://app.test/page"), false, login + "?return_to=%2Fpage"},
		{"DELETE of a program", "DELETE", []string{"Accept", "*/*"}, false, login},
		{"preflight", "OPTIONS", fetch("cors", "empty", "cross-site", "Accept", "*/*", "Origin", "https://evil.example"), false, login},
		{"HEAD of a script", "HEAD", fetch("cors", "empty", "same-origin", "Accept", "*/*"), false, login},
		{"prefetch", "GET", fetch("navigate", "document", "same-origin", "Accept", "text/html", "Sec-Purpose", "prefetch"), true, login},
		{"prerendering", "GET", fetch("navigate", "document", "same-origin", "Accept", "text/html", "Sec-Purpose", "prefetch;prerender"), true, login},
		{"prefetch by a proxy", "GET", fetch("navigate", "document", "none", "Accept", "text/html", "Sec-Purpose", "prefetch;anonymous-client-ip"), true, login},
		{"prefetch of an old browser", "GET", []string{"Accept", "text/html", "Purpose", "prefetch"}, true, login},
		{"prefetch of an older browser", "GET", []string{"Accept", "text/html", "X-Moz", "prefetch"}, true, login},
		{"preview of Safari", "GET", []string{"Accept", "text/html", "X-Purpose", "x", "Purpose", "preview"}, true, login},
		{"prefetch marked by a proxy", "GET", []string{"Accept", "text/html", "X-Sec-Purpose", "prefetch"}, true, login},

		{"page of another site", "GET", fetch("cors", "empty", "cross-site", "Accept", "*/*", "Referer", "https://evil.example/page"), false, login},
		{"page of a look-alike", "GET", fetch("cors", "empty", "same-site", "Accept", "*/*", "Referer", "https://app.test.evil.example/page"), false, login},
		{"page on another port", "GET", fetch("cors", "empty", "same-site", "Accept", "*/*", "Referer", "https://app.test:8443/page"), false, login},
		{"page with a hostile path", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "Referer", "https://app.test//evil.example"), false, login},
		{"page that is a script", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "HX-Current-URL", "javascript:alert(1)"), false, login},
		{"page that is our own", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "Referer", "https://app.test/auth/logout"), false, login},
		{"origin alone", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "Referer", "https://app.test/"), false, login},
		{"htmx before Referer", "GET", fetch("cors", "empty", "same-origin", "Accept", "*/*", "HX-Current-URL", "https://app.test/one", "Referer", "https://app.test/two"), false, login + "?return_to=%2Fone"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t)
			b := s.browser(t)
			res := b.still().do(test.method, "/api/data", test.header...)
			for _, name := range []string{"Cookie", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
				if !strings.Contains(res.Header.Get("Vary"), name) {
					t.Errorf("Vary %q, want %s in it", res.Header.Get("Vary"), name)
				}
			}
			if got := res.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q, want no-store", got)
			}
			if test.want == "" {
				if res.StatusCode != http.StatusSeeOther || len(b.cookies()) != 1 {
					t.Errorf("status %d, %d cookies, want 303 to the provider and one", res.StatusCode, len(b.cookies()))
				}
				return
			}
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") != `Cookie realm="msauth"` || res.Header.Get("Location") != "" {
				t.Fatalf("status %d, headers %v, want 401", res.StatusCode, res.Header)
			}
			if len(res.Cookies()) != 0 || !strings.Contains(res.Header.Get("Vary"), "Accept") {
				t.Errorf("cookies %v, Vary %q", res.Cookies(), res.Header.Get("Vary"))
			}
			s.wantNoCalls(t)
			if got, want := res.Header.Get("HX-Redirect"), slices.Contains(test.header, "HX-Request"); want != (got == test.want) || !want && got != "" {
				t.Errorf("HX-Redirect %q", got)
			}
			switch {
			case test.method == "HEAD":
				if res.body != "" {
					t.Errorf("body %q", res.body)
				}
			case test.html:
				s.wantPage(t, res, http.StatusUnauthorized, "sign-in-required", "")
				if want := `<a href="` + test.want + `" target="_top">`; !strings.Contains(res.body, want) {
					t.Errorf("page %s, want %s", res.body, want)
				}
			default:
				var doc struct {
					Type, Title, Detail string
					Status              int
					LoginURL            string `json:"login_url"`
				}
				if err := json.Unmarshal([]byte(res.body), &doc); err != nil || res.Header.Get("Content-Type") != "application/problem+json" {
					t.Fatalf("%v: %s %q", err, res.Header.Get("Content-Type"), res.body)
				}
				if doc.Type != "about:blank" || doc.Status != 401 || doc.Title == "" || doc.LoginURL != test.want {
					t.Errorf("document %+v, want login_url %q", doc, test.want)
				}
			}
		})
	}
}

// Libraries that make requests for pages get what they follow.
func TestWhatLibrariesGetWhenNobodyIsSignedIn(t *testing.T) {
	t.Parallel()
	const html = "text/html, application/xhtml+xml"
	tests := []struct {
		name, method string
		header       []string
		status       int
		page, reload bool
		returnTo     string
	}{
		// As sent by Turbo 8.0.23.
		{"Turbo Drive", "GET", []string{"Accept", html, "X-Turbo-Request-Id", "1"}, 401, false, false, "/wanted?x=1"},
		{"Turbo Drive, hovering", "GET", []string{"Accept", html, "X-Turbo-Request-Id", "1", "X-Sec-Purpose", "prefetch"}, 401, false, false, "/wanted?x=1"},
		{"Turbo Drive, form", "POST", []string{"Accept", "text/vnd.turbo-stream.html, " + html, "X-Turbo-Request-Id", "1"}, 401, true, false, "/seen"},
		{"Turbo frame", "GET", []string{"Accept", html, "X-Turbo-Request-Id", "1", "Turbo-Frame", "messages"}, 401, true, true, "/seen"},
		{"Turbo frame, form", "POST", []string{"Accept", "text/vnd.turbo-stream.html, " + html, "X-Turbo-Request-Id", "1", "Turbo-Frame", "messages"}, 401, true, true, "/seen"},
		// @inertiajs/core 3.7.1.
		{"Inertia", "GET", []string{"Accept", html, "X-Inertia", "true", "X-Requested-With", "XMLHttpRequest"}, 409, false, false, "/wanted?x=1"},
		{"Inertia, form", "PUT", []string{"Accept", html, "X-Inertia", "true", "X-Requested-With", "XMLHttpRequest"}, 409, false, false, "/seen"},
		// Unpoly 3.14.3.
		{"Unpoly", "GET", []string{"Accept", "*/*", "X-Up-Version", "3.14.3", "X-Up-Mode", "root", "X-Up-Target", "main"}, 401, true, true, "/wanted?x=1"},
		{"Unpoly, overlay", "GET", []string{"Accept", "*/*", "X-Up-Version", "3.14.3", "X-Up-Mode", "modal", "X-Up-Target", ".content"}, 401, true, true, "/seen"},
		{"Unpoly, form", "POST", []string{"Accept", "*/*", "X-Up-Version", "3.14.3", "X-Up-Mode", "root", "X-Up-Target", "main"}, 401, true, false, "/seen"},
		// Livewire 3.
		{"Livewire", "POST", []string{"Accept", "*/*", "X-Livewire", ""}, 419, true, false, "/seen"},
		{"Livewire, wire:navigate", "GET", []string{"Accept", "*/*", "X-Livewire-Navigate", ""}, 401, true, true, "/wanted?x=1"},
		{"htmx", "GET", []string{"Accept", "*/*", "HX-Request", "true", "HX-Current-URL", "https://app.test/current"}, 401, false, false, "/current"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t)
			header := append([]string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Referer", "https://app.test/seen"}, test.header...)
			res := s.browser(t).still().do(test.method, "/wanted?x=1", header...)
			login := "/auth/login?return_to=" + url.QueryEscape(test.returnTo)
			if res.StatusCode != test.status || len(res.Cookies()) != 0 || res.Header.Get("Location") != "" {
				t.Fatalf("status %d, headers %v, want %d", res.StatusCode, res.Header, test.status)
			}
			if got := strings.HasPrefix(res.Header.Get("Content-Type"), "text/html"); got != test.page {
				t.Errorf("Content-Type %q, want a page: %t", res.Header.Get("Content-Type"), test.page)
			}
			if got := strings.Contains(res.body, `<meta name="turbo-visit-control" content="reload">`); got != test.reload {
				t.Errorf("page %s, want one that is loaded again: %t", res.body, test.reload)
			}
			if !strings.Contains(res.body, login) {
				t.Errorf("page %s, want %s", res.body, login)
			}
			want := map[string]string{"HX-Redirect": "", "X-Inertia-Location": ""}
			switch test.name {
			case "htmx":
				want["HX-Redirect"] = login
			case "Inertia", "Inertia, form":
				want["X-Inertia-Location"] = login
			}
			for name, value := range want {
				if got := res.Header.Get(name); got != value {
					t.Errorf("%s %q, want %q", name, got, value)
				}
			}
		})
	}
}

var signInLink = regexp.MustCompile(`<a href="([^"]*)" target="_top">Sign in<`)

// A frame or a script that follows a login link cannot go to Microsoft: what it
// is given in its place leads to the same sign-in.
func TestLoginLinksKeepTheirMeaningInFramesAndScripts(t *testing.T) {
	t.Parallel()
	const seen = "https://app.test/seen?x=1"
	frame := []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "same-origin", "Accept", "text/html", "Referer", seen}
	script := []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Site", "same-origin", "Accept", "application/json", "Referer", seen}
	tests := []struct {
		name   string
		header []string
		link   msauth.LoginOptions
		fresh  bool // it is the link of a page that wants a fresh sign-in
		want   map[string]string
		comes  string // back to
	}{
		{"frame", frame, msauth.LoginOptions{
			ReturnTo: "/c?y=2", Prompt: "select_account", LoginHint: msauthtest.Ada, DomainHint: "contoso.example", UILocales: "fr-CA fr",
			AppState: "state", Scopes: []string{"Mail.Read"},
		}, false, map[string]string{
			"scope": "openid profile email offline_access User.Read Mail.Read", "prompt": "select_account", "login_hint": msauthtest.Ada,
			"domain_hint": "contoso.example", "ui_locales": "fr-CA fr",
		}, "/c?y=2"},
		{"script", script, msauth.LoginOptions{
			ReturnTo: "/c?y=2", Prompt: "login", LoginHint: msauthtest.Ada, AppState: "state", Scopes: []string{"Mail.Read"},
		}, false, map[string]string{
			"scope": "openid profile email offline_access User.Read Mail.Read", "prompt": "login", "login_hint": msauthtest.Ada,
		}, "/c?y=2"},
		{"frame, to nowhere", frame, msauth.LoginOptions{AppState: "state"}, false, nil, "/seen?x=1"},
		{"script, to nowhere", script, msauth.LoginOptions{AppState: "state"}, false, nil, "/seen?x=1"},
		{"frame of a page that wants a fresh sign-in", frame, msauth.LoginOptions{}, true, map[string]string{"prompt": "login", "max_age": "300"}, "/seen?x=1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var appState string
			s := newSiteInProcess(t, func(c *msauth.Config) {
				c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
					appState = in.AppState
					return nil
				}
			})
			s.guard("/codes", s.auth.RequireFreshSignIn(5*time.Minute))
			s.as(msauthtest.Ada)
			b := s.browser(t)
			link := s.auth.LoginURL(test.link)
			if test.fresh {
				link = b.wantProblem(b.get("/codes", script...), http.StatusUnauthorized).LoginURL
			}
			res := b.still().get(link, test.header...)
			given := ""
			if slices.Contains(test.header, "iframe") {
				s.wantPage(t, res, http.StatusUnauthorized, "sign-in-required", "")
				if m := signInLink.FindStringSubmatch(res.body); m != nil {
					given = html.UnescapeString(m[1])
				}
			} else {
				given = b.wantProblem(res, http.StatusUnauthorized).LoginURL
			}
			if len(res.Cookies()) > 0 {
				t.Errorf("cookies %v", res.Cookies())
			}
			s.wantNoCalls(t)
			back := b.attempt(given)
			asked := s.asked(t)
			for name, want := range test.want {
				if got := asked.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if got := b.still().get(back).Header.Get("Location"); got != test.comes || appState != test.link.AppState {
				t.Errorf("leads to %s with AppState %q, want %s with %q", got, appState, test.comes, test.link.AppState)
			}
		})
	}
}

func TestFramesOfTheSiteMayShowThePage(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	for dest, want := range map[string]string{"iframe": "'self'", "frame": "'self'", "object": "'none'", "empty": "'none'"} {
		res := s.browser(t).get("/", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", dest, "Accept", "text/html")
		csp := res.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "frame-ancestors "+want) || (res.Header.Get("X-Frame-Options") == "DENY") != (want == "'none'") {
			t.Errorf("%s: policy %q, X-Frame-Options %q, want frame-ancestors %s", dest, csp, res.Header.Get("X-Frame-Options"), want)
		}
	}
}

func TestSessionCheckTakesNoNoteOfIdentityHeaders(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	spoofed := []string{"X-User", "ada", "X_User", "ada", "X-Ms-Client-Principal", "eyJ9", "X-Forwarded-User", "ada", "Authorization", "Bearer x", "Remote-User", "ada", "X-Remote-User", "ada"}
	b := s.browser(t)
	if got := b.get("/public/", spoofed...).body; got != helloNobody {
		t.Errorf("page %q, want %q", got, helloNobody)
	}
	b.signIn(msauthtest.Ada)
	s.mux.Handle("/echo", s.auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(spoofed); i += 2 {
			if got := r.Header.Get(spoofed[i]); got != spoofed[i+1] {
				t.Errorf("%s reaches the app as %q", spoofed[i], got)
			}
		}
		if len(r.Header) != len(spoofed)/2+4 { // three of a navigation, and Cookie
			t.Errorf("headers %v, want no others", r.Header)
		}
	})))
	b.get("/echo", append(spoofed, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html")...)
}

func TestLoadInsideLoadDoesNothingMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteInProcess(t)
		b := s.browser(t)
		b.signIn(msauthtest.Ada)
		var sessions []*msauth.Session
		note := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				session, _ := msauth.FromContext(r.Context())
				sessions = append(sessions, session)
				next.ServeHTTP(w, r)
			})
		}
		s.mux.Handle("/nested", s.auth.Load(note(s.auth.Require(note(s.auth.Load(note(http.HandlerFunc(hello))))))))
		time.Sleep(2 * time.Hour) // due
		s.ms.ResetCalls()
		res := b.get("/nested")
		if res.body != helloAda || len(sessions) != 3 || sessions[0] == nil || sessions[0] != sessions[1] || sessions[1] != sessions[2] {
			t.Errorf("page %q, sessions %v", res.body, sessions)
		}
		s.wantCalls(t, msauthtest.TokenRefresh, 1)
		if n := len(res.Header["Set-Cookie"]); n != 1 || res.Header.Get("Vary") != "Cookie" {
			t.Errorf("%d Set-Cookie lines, Vary %q", n, res.Header.Get("Vary"))
		}
	})
}

func TestRequireTrustsOnlyWhatItReadItself(t *testing.T) {
	t.Parallel()
	s, other := newSiteInProcess(t), newSiteInProcess(t)
	injected := msauth.NewSession(msauth.User{Name: "Mallory", TenantID: msauthtest.TenantContoso, ObjectID: "1"}, nil)
	ask := func(h http.Handler, change func(*http.Request) *http.Request) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "https://app.test/", nil)
		r.Header.Set("Accept", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, change(r))
		return w
	}
	inject := func(r *http.Request) *http.Request { return r.WithContext(msauth.NewContext(r.Context(), injected)) }
	if got := ask(s.auth.Require(http.HandlerFunc(hello)), inject).Code; got != http.StatusUnauthorized {
		t.Errorf("status %d for an injected session, want 401", got)
	}
	if got := ask(s.auth.Load(http.HandlerFunc(hello)), inject).Body.String(); got != helloNobody {
		t.Errorf("Load shows %q for an injected session, want %q", got, helloNobody)
	}
	if got := ask(http.HandlerFunc(hello), inject).Body.String(); got != "hello Mallory" {
		t.Errorf("a handler under test sees %q", got)
	}
	// A session of another Middleware is no session of this one.
	b := other.browser(t)
	b.signIn(msauthtest.Ada)
	carry := func(r *http.Request) *http.Request {
		for _, c := range b.cookies() {
			r.AddCookie(c)
		}
		return r
	}
	nested := other.auth.Load(s.auth.Require(http.HandlerFunc(hello)))
	if got := ask(nested, carry).Code; got != http.StatusUnauthorized {
		t.Errorf("status %d for a session of another Middleware, want 401", got)
	}
}

func TestFromContextOfNothing(t *testing.T) {
	t.Parallel()
	if session, ok := msauth.FromContext(t.Context()); ok || session != nil {
		t.Errorf("a session %v in an empty context", session)
	}
	if session, ok := msauth.FromContext(msauth.NewContext(t.Context(), nil)); ok || session != nil {
		t.Errorf("a nil session counts as one: %v", session)
	}
	r := httptest.NewRequest("GET", "/", nil)
	newSiteInProcess(t).auth.Load(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session, ok := msauth.FromContext(r.Context())
		if ok || session != nil {
			t.Errorf("a session %v of nobody", session)
		}
		if _, err := session.Token(r.Context()); err != msauth.ErrNoSession {
			t.Errorf("Token of nobody returns %v", err)
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
}

// The ResponseWriter that a handler gets is the server's own, so that flushing,
// hijacking, deadlines and the like work.
func TestResponseWriterIsNotWrapped(t *testing.T) {
	t.Parallel()
	s := newSiteInProcess(t)
	b := s.browser(t)
	b.signIn(msauthtest.Ada)
	r := httptest.NewRequest("GET", "https://app.test/", nil)
	for _, c := range b.cookies() {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	reached := false
	s.auth.Require(s.auth.Load(http.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) {
		if reached = true; got != http.ResponseWriter(w) {
			t.Errorf("the handler gets a %T", got)
		}
	}))).ServeHTTP(w, r)
	if !reached {
		t.Error("the handler was not reached")
	}
}

func TestCachesKeepNothing(t *testing.T) {
	t.Parallel()
	cacheable := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("do") {
		case "set":
			w.Header().Set("Cache-Control", "public, max-age=3600")
			w.Header().Set("Vary", "Accept-Encoding")
		case "delete":
			w.Header().Del("Cache-Control")
		}
		io.WriteString(w, "page")
	})
	tests := []struct {
		name string
		path string
		due  bool   // a cookie is written
		want string // Cache-Control
	}{
		{"protected", "/private", false, "no-store"},
		{"protected, said otherwise", "/private?do=set", false, "public, max-age=3600"},
		{"protected, with a cookie", "/private", true, "no-store, no-store"},
		{"protected, said otherwise with a cookie", "/private?do=set", true, "no-store, public, max-age=3600"},
		{"protected, deleted with a cookie", "/private?do=delete", true, "no-store"},
		{"public", "/open", false, ""},
		{"public, with a cookie", "/open", true, "no-store"},
		{"public, said otherwise with a cookie", "/open?do=set", true, "no-store, public, max-age=3600"},
		{"public, deleted with a cookie", "/open?do=delete", true, "no-store"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t) // the wire decides
			if test.due {
				s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = time.Second })
			}
			s.mux.Handle("/private", s.auth.Require(cacheable))
			s.mux.Handle("/open", s.auth.Load(cacheable))
			b := s.browser(t)
			b.signIn(msauthtest.Ada)
			if test.due {
				time.Sleep(1100 * time.Millisecond)
			}
			res := b.get(test.path)
			lines := slices.Sorted(slices.Values(res.Header["Cache-Control"]))
			if got := strings.Join(lines, ", "); res.body != "page" || got != test.want {
				t.Errorf("page %q, Cache-Control %q, want %q", res.body, got, test.want)
			}
			if got := len(res.Cookies()) > 0; got != test.due {
				t.Errorf("cookies %v", res.Cookies())
			}
			if !strings.Contains(test.path, "do=set") && !strings.Contains(res.Header.Get("Vary"), "Cookie") {
				t.Errorf("Vary %q", res.Header.Get("Vary"))
			}
		})
	}
}

func TestGarbageIsClearedOnNavigationsOnly(t *testing.T) {
	t.Parallel()
	const name = "__Host-msauth-fixed1"
	script := []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "*/*"}
	tests := []struct {
		name   string
		path   string
		header []string
		status int
		want   int // lines at level Info
	}{
		{"navigation", "/", nil, 303, 1},
		{"navigation to a public page", "/public/", nil, 200, 1},
		{"script", "/", script, 401, 0},
		{"script on a public page", "/public/", script, 200, 0},
		{"prefetch", "/", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Purpose", "prefetch"}, 401, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSiteInProcess(t, func(c *msauth.Config) { c.CookieName = "msauth-fixed1" })
			b := s.browser(t)
			b.keep(name, "1"+strings.Repeat("garbage", 20))
			b.keep(name+"-3", "stale")
			b.keep("theirs", "x")
			res := b.still().get(test.path, test.header...)
			if res.StatusCode != test.status {
				t.Errorf("status %d, want %d", res.StatusCode, test.status)
			}
			if got := len(s.log.with("level=INFO msg=\"msauth: session")); got != test.want {
				t.Errorf("%d lines at level Info, want %d:\n%s", got, test.want, s.log)
			}
			if got := len(b.session()) == 0; got != (test.want == 1) {
				t.Errorf("cookies left: %v", b.session())
			}
			if test.want == 1 && len(s.log.with("reason=unreadable")) != 1 {
				t.Errorf("log %s, want the reason", s.log)
			}
		})
	}
}

func TestLoopIsBrokenByAPage(t *testing.T) {
	t.Parallel()
	lose := func(s *site, b *browser) { // a proxy that drops the session's cookie
		for _, c := range b.session() {
			b.keep(c.Name, "")
		}
	}
	tests := []struct {
		name   string
		before func(*testing.T, *site, *browser)
		header []string
		want   int
	}{
		{"cookie lost", func(_ *testing.T, s *site, b *browser) { lose(s, b) }, nil, 400},
		{"cookie cut", func(_ *testing.T, s *site, b *browser) {
			for _, c := range b.session() {
				b.keep(c.Name, c.Value[:len(c.Value)/2])
			}
		}, nil, 400},
		{"another instance with other keys", func(t *testing.T, s *site, b *browser) {
			s.restart(t, func(c *msauth.Config) { c.Keys = [][]byte{newKey()} })
		}, nil, 400},
		{"cookie lost, 19 seconds later", func(_ *testing.T, s *site, b *browser) { lose(s, b); time.Sleep(19 * time.Second) }, nil, 400},
		{"cookie lost, 21 seconds later", func(_ *testing.T, s *site, b *browser) { lose(s, b); time.Sleep(21 * time.Second) }, nil, 303},
		{"script", func(_ *testing.T, s *site, b *browser) { lose(s, b) }, []string{"Sec-Fetch-Mode", "cors", "Accept", "*/*"}, 401},
		{"a good page first", func(_ *testing.T, s *site, b *browser) { b.get("/"); lose(s, b) }, nil, 303},
		{"a good public page first", func(_ *testing.T, s *site, b *browser) { b.wantGreeting(helloAda); lose(s, b) }, nil, 303},
		{"signed out first", func(_ *testing.T, s *site, b *browser) { b.still().do("POST", "/auth/logout", ownPage...) }, nil, 303},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSiteInProcess(t)
				s.as(msauthtest.Ada)
				b := s.browser(t)
				res := b.still().get(b.attempt("/page"))
				marker := slices.IndexFunc(res.Cookies(), func(c *http.Cookie) bool { return strings.HasSuffix(c.Name, "-ok") })
				if marker < 0 || res.Cookies()[marker].Value != "1" || res.Cookies()[marker].MaxAge != 20 {
					t.Fatalf("the callback sets %v, want a marker for 20 seconds", res.Cookies())
				}
				test.before(t, s, b)
				res = b.still().get("/page?x=1", test.header...)
				if res.StatusCode != test.want {
					t.Fatalf("status %d, want %d; log:\n%s", res.StatusCode, test.want, s.log)
				}
				if test.want != 400 {
					return
				}
				s.wantPage(t, res, 400, "loop", "no session came back")
				if line := s.log.with("page=loop")[0]; !strings.Contains(line, "level=ERROR") || !strings.Contains(line, "base_url="+s.cfg.BaseURL) {
					t.Errorf("log line %s", line)
				}
				// Asking again is the person's choice, and not braked.
				if !strings.Contains(res.body, `href="/auth/login?return_to=%2Fpage%3Fx%3D1"`) {
					t.Fatalf("page %s, want a way to try again", res.body)
				}
				if got := b.get("/auth/login?return_to=/page%3Fx%3D1"); got.body != helloAda || got.Request.URL.RequestURI() != "/page?x=1" {
					t.Errorf("trying again leads to %q at %s", got.body, got.Request.URL)
				}
			})
		})
	}
}

func TestProviderThatSignsInWithoutAPageDoesNotLoop(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.as(msauthtest.Ada)
	b := s.browser(t)
	hops := 0
	b.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if hops++; hops > 20 {
			return fmt.Errorf("loop at %s", r.URL)
		}
		// Something on the way drops every session.
		for _, c := range b.session() {
			b.keep(c.Name, "")
		}
		for _, c := range b.session() {
			r.Header.Del("Cookie")
			t.Errorf("%s was not dropped", c.Name)
		}
		return nil
	}
	res := b.get("/page")
	s.wantPage(t, res, 400, "loop", "no session came back")
	s.wantCalls(t, msauthtest.Authorize, 1)
}

// Nor is their time up any later.
func TestLoginLinksDoNotLiveLongerByWayOfScripts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := ""
		s := newSiteInProcess(t, func(c *msauth.Config) {
			c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
				state = in.AppState
				return nil
			}
		})
		link := s.auth.LoginURL(msauth.LoginOptions{AppState: "an invitation"})
		b := s.browser(t)
		for range 3 {
			time.Sleep(24 * time.Hour)
			res := b.fetch(link)
			if res.StatusCode == http.StatusBadRequest {
				break
			}
			link = b.wantProblem(res, http.StatusUnauthorized).LoginURL
		}
		s.as(msauthtest.Ada)
		if res := b.get(link); res.StatusCode != http.StatusBadRequest || state != "" {
			t.Errorf("after three days: status %d, and the sign-in has the state %q", res.StatusCode, state)
		}
	})
}

// A page that is open to everybody may send people to sign in by itself.
func TestPageThatSendsEverybodyToSignInEndsInAPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.as(msauthtest.Ada)
	s.mux.Handle("/own", s.auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := msauth.FromContext(r.Context()); !ok {
			http.Redirect(w, r, s.auth.LoginURL(msauth.LoginOptions{ReturnTo: "/own"}), http.StatusSeeOther)
			return
		}
		hello(w, r)
	})))
	b := s.browser(t)
	b.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > 20 {
			return fmt.Errorf("loop at %s", r.URL)
		}
		for _, c := range b.session() { // something drops every session
			b.keep(c.Name, "")
		}
		return nil
	}
	res := b.get("/own")
	s.wantPage(t, res, 400, "loop", "no session came back")
	s.wantCalls(t, msauthtest.Authorize, 1)

	// Trying again is a click, also where the marker cannot be deleted.
	_, session := adaSession(t, s)
	b.keep(session.Name+"-ok", "1")
	b.CheckRedirect = nil
	if got := b.get(linksOf(res)[0]); got.body != helloAda || got.Request.URL.Path != "/own" {
		t.Errorf("trying again leads to %q at %s", got.body, got.Request.URL)
	}
	b.do("POST", "/auth/logout", ownPage...)
	if got := b.get("/own"); got.body != helloAda {
		t.Errorf("after a sign-out: %q", got.body)
	}
}
